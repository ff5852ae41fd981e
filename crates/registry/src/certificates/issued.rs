//! What a signer may put into a PodCertificateRequest: a chain for the key that was asked for, and times that agree with it.
//!
//! Answers to the second half of `ValidatePodCertificateRequestStatusUpdate` of upstream's
//! `pkg/apis/certificates/validation`.

use crate::rule::{Errors, STATUS, x509};
use crate::value::{int, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::{FieldError, Path};
use jiff::Timestamp;
use pem::Pem;
use serde_json::Value;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

const CHAIN_MAXIMUM: usize = 100 * 1024;
const CHAIN: Path<'static> = STATUS.child("certificateChain");
const NOT_BEFORE: Path<'static> = STATUS.child("notBefore");
const NOT_AFTER: Path<'static> = STATUS.child("notAfter");
const REFRESH: Path<'static> = STATUS.child("beginRefreshAt");
/// How far the clock of a signer may be off, in seconds.
const SKEW_SECONDS: i64 = 300;
const LIFETIME_SECONDS_MINIMUM: i64 = 3_600;
/// What must be left of a certificate on either side of the time of its renewal, in seconds.
const REFRESH_SECONDS: i64 = 600;

/// What is wrong with an issued certificate; `now` is the server's time.
pub(super) fn check(errors: &mut Errors, spec: &Value, status: &Value, now: &str) {
    let chain = text(&status["certificateChain"]);
    if chain.len() > CHAIN_MAXIMUM {
        return errors.push(FieldError::too_long(&CHAIN, CHAIN_MAXIMUM));
    }
    let blocks: Vec<Pem> = x509::blocks(chain).collect();
    let wrong = |why: &str| FieldError::invalid(&CHAIN, chain, why);
    let Some(leaf) = blocks.first() else {
        return errors.push(wrong("issued certificate chain must contain at least one certificate"));
    };
    if leaf.tag() != x509::CERTIFICATE {
        let why = "issued certificate chain must consist entirely of CERTIFICATE PEM blocks";
        return errors.push(wrong(why));
    }
    let Ok(leaf) = x509::certificate(leaf.contents()) else {
        return errors.push(wrong("leaf certificate does not parse as valid X.509"));
    };
    names(errors, &leaf);
    let stub = STANDARD.decode(text(&spec["stubPKCS10Request"])).unwrap_or_default();
    let same_key = x509::request(&stub)
        .is_ok_and(|stub| stub.certification_request_info.subject_pki.raw == leaf.public_key().raw);
    if !same_key {
        return errors.push(wrong("leaf certificate was not issued to the requested public key"));
    }
    if let Err(error) = times(errors, spec, status, &leaf, now) {
        return errors.extend(error);
    }
    for block in &blocks[1..] {
        if block.tag() != x509::CERTIFICATE {
            // Upstream's own spelling.
            let why = "issued certificate chain must consist entirely of CERTFICATE PEM blocks";
            return errors.push(wrong(why));
        }
        if x509::certificate(block.contents()).is_err() {
            return errors.push(wrong("intermediate certificate does not parse as valid X.509"));
        }
    }
}

fn names(errors: &mut Errors, leaf: &X509Certificate<'_>) {
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return };
    for one in &names.value.general_names {
        let mut wrong = |name: &str, why: &str| errors.push(FieldError::invalid(&CHAIN, name, why));
        match one {
            GeneralName::DNSName(name) => {
                if name.is_empty() {
                    wrong(name, "leaf certificate should not contain empty DNSName");
                }
                if name.contains("..") {
                    wrong(name, "leaf certificate's DNSName should not contain '..'");
                }
                if name.starts_with('.') || name.ends_with('.') {
                    wrong(name, "leaf certificate's DNSName should not start or end with '.'");
                }
            }
            GeneralName::RFC822Name(name) => {
                let sound = name.split_once('@').is_some_and(|(own, domain)| {
                    !own.is_empty() && !domain.is_empty() && !name.contains(char::is_whitespace)
                });
                if !sound {
                    wrong(name, "leaf certificate should not contain invalid EmailAddress");
                }
            }
            _ => {}
        }
    }
}

/// The first thing that is wrong with the times; None of it is a missing time, which is reported here.
fn times(
    errors: &mut Errors,
    spec: &Value,
    status: &Value,
    leaf: &X509Certificate<'_>,
    now: &str,
) -> Result<(), Option<FieldError>> {
    let consistent = "must be present and consistent with the issued certificate";
    let refreshing = "must be present and in the range [notbefore+10min, notafter-10min]";
    let before = errors.len();
    for (at, why) in [(&NOT_BEFORE, consistent), (&NOT_AFTER, consistent), (&REFRESH, refreshing)] {
        let field = at.to_string();
        if status[field.trim_start_matches("status.")].is_null() {
            errors.push(FieldError::required(at, why));
        }
    }
    if errors.len() > before {
        return Err(None);
    }
    let second = |value: &Value| text(value).parse::<Timestamp>().map_or(0, Timestamp::as_second);
    let wrong = |at: &Path<'_>, shown: &Value, why: &str| {
        let shown = text(shown).replace('T', " ").replace('Z', " +0000 UTC");
        Err(Some(FieldError::invalid(at, "", why).showing(&shown)))
    };
    let (first, last) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let (not_before, not_after) = (second(&status["notBefore"]), second(&status["notAfter"]));
    if not_before != first {
        let why = "must be set to the NotBefore time encoded in the leaf certificate";
        return wrong(&NOT_BEFORE, &status["notBefore"], why);
    }
    let now = now.parse::<Timestamp>().map_or(first, Timestamp::as_second);
    if (first - now).abs() >= SKEW_SECONDS {
        let why = "must be set to within 5 minutes of kube-apiserver's current time";
        return wrong(&NOT_BEFORE, &status["notBefore"], why);
    }
    if not_after != last {
        let why = "must be set to the NotAfter time encoded in the leaf certificate";
        return wrong(&NOT_AFTER, &status["notAfter"], why);
    }
    let (life, maximum) = (last - first, int(&spec["maxExpirationSeconds"]));
    let shown = format!("{}h{}m{}s", life / 3_600, life / 60 % 60, life % 60);
    let lived = |why: &str| Err(Some(FieldError::invalid(&CHAIN, "", why).showing(&shown)));
    if life < LIFETIME_SECONDS_MINIMUM {
        return lived("leaf certificate lifetime must be >= 1 hour");
    }
    if life > maximum {
        return lived(&format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({maximum})"));
    }
    let refresh = second(&status["beginRefreshAt"]);
    if refresh < first + REFRESH_SECONDS {
        return wrong(
            &REFRESH,
            &status["beginRefreshAt"],
            "must be at least 10 minutes after status.notBefore",
        );
    }
    if refresh > last - REFRESH_SECONDS {
        return wrong(
            &REFRESH,
            &status["beginRefreshAt"],
            "must be at least 10 minutes before status.notAfter",
        );
    }
    Ok(())
}
