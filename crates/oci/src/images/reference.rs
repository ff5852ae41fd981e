//! Names of images.
//!
//! Invariant: two names of the same image are the same string once normalised. Answers to Docker's `reference`.

use oci_client::Reference;

use crate::error::{Error, Result};

/// `nginx` to `docker.io/library/nginx:latest`; a digest wins over a tag.
pub(super) fn normalise(name: &str) -> Result<String> {
    let parsed = parse(name)?;
    Ok(match parsed.digest() {
        Some(digest) => with_digest(&parsed, digest),
        None => {
            let tag = parsed.tag().unwrap_or("latest");
            format!("{}/{}:{tag}", parsed.registry(), parsed.repository())
        }
    })
}

/// The name of exactly this content in the reference's repository.
pub(super) fn with_digest(reference: &Reference, digest: &str) -> String {
    format!("{}/{}@{digest}", reference.registry(), reference.repository())
}

/// Reads a name.
pub(super) fn parse(name: &str) -> Result<Reference> {
    name.parse().map_err(|error: oci_client::ParseError| Error::Reference {
        reference: name.to_owned(),
        reason: error.to_string(),
    })
}

/// The digest, if the name is one: `sha256:…`, or its 64 digits alone.
pub(super) fn id(name: &str) -> Option<String> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let plain = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| format!("sha256:{digits}"))
}

/// This machine's architecture in the words of images.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
