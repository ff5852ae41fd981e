//! Rules for certificates, requests for them, and bundles of them.
//!
//! Invariant: what stands between the blocks of a text is skipped, and so is a block that is none. Answers to what
//! upstream's validations use of Go's `encoding/pem` and `crypto/x509`, and to client-go's `util/cert`.

use p521::ecdsa::signature::Verifier;
use pem::Pem;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const BEGIN: &str = "-----BEGIN ";
/// What a block of a certificate is called.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// What a block of a request is called.
pub(crate) const REQUEST: &str = "CERTIFICATE REQUEST";

/// Blocks of a text, in order.
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = Pem> {
    text.match_indices(BEGIN).filter_map(|(at, _)| {
        let rest = &text[at..];
        let end = rest[BEGIN.len()..].find(BEGIN).map_or(rest.len(), |end| end + BEGIN.len());
        pem::parse(&rest[..end]).ok()
    })
}

/// Whether a block has headers of its own.
pub(crate) fn has_headers(block: &Pem) -> bool {
    block.headers().iter().next().is_some()
}

/// Reads one certificate, with nothing after it.
///
/// # Errors
/// Why it is none.
pub(crate) fn certificate(bytes: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(bytes) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("x509: trailing data".into()),
        Err(error) => Err(format!("x509: malformed certificate: {error}")),
    }
}

/// Reads a request for a certificate and checks that whoever made it holds the key.
///
/// # Errors
/// Why it is none.
pub(crate) fn request(bytes: &[u8]) -> Result<X509CertificationRequest<'_>, String> {
    let (rest, request) = X509CertificationRequest::from_der(bytes)
        .map_err(|error| format!("asn1: structure error: {error}"))?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data".into());
    }
    let proven = match request.verify_signature() {
        Err(X509Error::SignatureUnsupportedAlgorithm) => on_p521(&request),
        other => other.is_ok(),
    };
    if proven { Ok(request) } else { Err("x509: signature verification failure".into()) }
}

/// The one curve of upstream's that the library does not know; with it goes SHA-512.
fn on_p521(request: &X509CertificationRequest<'_>) -> bool {
    let key = &request.certification_request_info.subject_pki;
    let parts = (
        p521::ecdsa::VerifyingKey::from_sec1_bytes(&key.subject_public_key.data),
        p521::ecdsa::DerSignature::try_from(&*request.signature_value.data),
    );
    let (Ok(key), Ok(signature)) = parts else { return false };
    let Ok(signature) = p521::ecdsa::Signature::try_from(signature) else { return false };
    key.verify(request.certification_request_info.raw, &signature).is_ok()
}

/// Why a key is not among those that pods may have, if it is not.
pub(crate) fn weak_key(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    match key.parsed() {
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            let known = [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521];
            let allowed = curve.is_some_and(|curve| known.contains(&curve));
            (!allowed).then(|| "elliptic public keys must use curve P256 or P384".to_owned())
        }
        Ok(PublicKey::RSA(key)) => {
            let allowed = matches!(key.key_size(), 3072 | 4096);
            (!allowed).then(|| "RSA keys must have modulus size 3072 or 4096".to_owned())
        }
        Ok(PublicKey::Unknown(_)) if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => None,
        _ => Some("unknown public key type; supported types are Ed25519, ECDSA, and RSA".to_owned()),
    }
}

/// Why a text is not what a signer may answer with, if it is not: certificates and nothing else.
pub(crate) fn chain_error(text: &str) -> Option<String> {
    let mut any = false;
    for block in blocks(text) {
        if block.tag() != CERTIFICATE {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.tag()));
        }
        if has_headers(&block) {
            return Some("no PEM block headers are permitted".into());
        }
        if let Err(error) = certificate(block.contents()) {
            return Some(error);
        }
        any = true;
    }
    (!any).then(|| "must contain one or more CERTIFICATE PEM blocks".to_owned())
}

/// Why a text is no bundle of authorities that a client can trust, if it is none.
pub(crate) fn bundle_error(text: &str) -> Option<String> {
    let mut any = false;
    for block in blocks(text).filter(|block| block.tag() == CERTIFICATE && !has_headers(block)) {
        if let Err(error) = certificate(block.contents()) {
            return Some(format!("unable to load root certificates: {error}"));
        }
        any = true;
    }
    (!any).then(|| "unable to load root certificates: unable to parse bytes as PEM block".to_owned())
}
