//! Whether a private key belongs to a certificate.
//!
//! Invariant: a key that does not say its public part, and cannot be asked for it here, counts as the right one. Answers
//! to `X509KeyPair` of Go's `crypto/tls`, texts included.

use super::x509::{CERTIFICATE, blocks, certificate};
use ring::signature::{Ed25519KeyPair, KeyPair};
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::public_key::PublicKey;

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
/// The tag of the public part in the key of a curve.
const PUBLIC_PART: u32 = 1;

/// The public part of a private key.
enum Public {
    Rsa(Vec<u8>),
    /// None: the key does not say it.
    Curve(Option<Vec<u8>>),
    Edwards(Vec<u8>),
}

/// What is wrong with a certificate and its key, if anything is.
pub(crate) fn mismatch(certificate_text: &str, key_text: &str) -> Option<String> {
    let leaf = match first(certificate_text, |tag| tag == CERTIFICATE) {
        Ok(leaf) => leaf,
        Err(skipped) => return Some(no_certificate(&skipped)),
    };
    let is_key = |tag: &str| tag == "PRIVATE KEY" || tag.ends_with(" PRIVATE KEY");
    let key = match first(key_text, is_key) {
        Ok(key) => key,
        Err(skipped) => return Some(no_key(&skipped)),
    };
    let leaf = match certificate(&leaf) {
        Ok(leaf) => leaf,
        Err(why) if why.starts_with("x509: malformed certificate") => {
            return Some("x509: malformed certificate".into());
        }
        Err(why) => return Some(why),
    };
    let Some(key) = public_part(&key) else { return Some("tls: failed to parse private key".into()) };
    let info = leaf.public_key();
    let matches = match (info.parsed(), &key) {
        (Ok(PublicKey::RSA(own)), Public::Rsa(modulus)) => bare(own.modulus) == bare(modulus),
        (Ok(PublicKey::EC(own)), Public::Curve(point)) => {
            point.as_ref().is_none_or(|point| point == own.data())
        }
        (Ok(PublicKey::Unknown(own)), Public::Edwards(point)) => own == point,
        (Ok(PublicKey::RSA(_) | PublicKey::EC(_)), _) => {
            return Some("tls: private key type does not match public key type".into());
        }
        (Ok(PublicKey::Unknown(_)), _) if info.algorithm.algorithm.to_id_string() == ED25519 => {
            return Some("tls: private key type does not match public key type".into());
        }
        _ => return Some("tls: unknown public key algorithm".into()),
    };
    (!matches).then(|| "tls: private key does not match public key".to_owned())
}

/// The contents of the first block that is wanted, or what blocks there are instead.
fn first(text: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, Vec<String>> {
    let mut skipped = Vec::new();
    for block in blocks(text) {
        if wanted(block.tag()) {
            return Ok(block.into_contents());
        }
        skipped.push(block.tag().to_owned());
    }
    Err(skipped)
}

fn no_certificate(skipped: &[String]) -> String {
    match skipped {
        [] => "tls: failed to find any PEM data in certificate input".into(),
        [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".into(),
        _ => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]", skipped.join(" ")),
    }
}

fn no_key(skipped: &[String]) -> String {
    match skipped {
        [] => "tls: failed to find any PEM data in key input".into(),
        [one] if one == CERTIFICATE => {
            "tls: found a certificate rather than a key in the PEM for the private key".into()
        }
        _ => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            skipped.join(" ")
        ),
    }
}

/// A number without the zeros before it.
fn bare(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// What stands in one sequence, which is all that there is.
fn sequence(bytes: &[u8]) -> Option<Vec<Any<'_>>> {
    let (rest, whole) = Any::from_der(bytes).ok()?;
    if !rest.is_empty() || whole.tag().0 != 16 {
        return None;
    }
    let (mut parts, mut inside) = (Vec::new(), whole.data);
    while !inside.is_empty() {
        let (rest, part) = Any::from_der(inside).ok()?;
        parts.push(part);
        inside = rest;
    }
    Some(parts)
}

/// Of a key in any of the three forms that Go reads: PKCS #1, PKCS #8, SEC 1.
fn public_part(key: &[u8]) -> Option<Public> {
    let parts = sequence(key)?;
    // The version, then of PKCS #8 the algorithm, of PKCS #1 the modulus, of SEC 1 the secret.
    match parts.get(1)?.tag().0 {
        16 => {
            let (_, kind) = Any::from_der(parts[1].data).ok()?;
            let inner = parts.get(2)?.data;
            match kind.oid().ok()?.to_id_string().as_str() {
                RSA => rsa(inner),
                EC => curve(inner),
                ED25519 => {
                    let (_, seed) = Any::from_der(inner).ok()?;
                    let pair = Ed25519KeyPair::from_seed_unchecked(seed.data).ok()?;
                    Some(Public::Edwards(pair.public_key().as_ref().to_vec()))
                }
                _ => None,
            }
        }
        2 => rsa(key),
        4 => curve(key),
        _ => None,
    }
}

fn rsa(key: &[u8]) -> Option<Public> {
    let parts = sequence(key)?;
    (parts.len() >= 9).then(|| Public::Rsa(parts[1].data.to_vec()))
}

fn curve(key: &[u8]) -> Option<Public> {
    let parts = sequence(key)?;
    parts.get(1).filter(|secret| secret.tag().0 == 4)?;
    let tagged = parts.iter().skip(2).find(|part| part.tag().0 == PUBLIC_PART);
    let point = tagged.and_then(|tagged| Any::from_der(tagged.data).ok());
    // The first byte of a string of bits says how many bits of the last one do not count: none.
    Some(Public::Curve(point.and_then(|(_, bits)| bits.data.get(1..).map(<[u8]>::to_vec))))
}
