//! What is special about PodCertificateRequests.
//!
//! Invariant: once issued, denied or failed, the status stays as it is. Answers to upstream's
//! `pkg/apis/certificates/validation`.

use super::issued;
use super::rules::signer_name;
use crate::kind::Context;
use crate::rule::{Errors, IMMUTABLE, SPEC, STATUS, condition, label, named, required, x509};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, same, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::{FieldError, name};
use serde_json::Value;

const UID_MAXIMUM: usize = 128;
const STUB_MAXIMUM: usize = 10 * 1024;
const SECONDS_MINIMUM: i64 = 3_600;
/// A day for Kubernetes' own signers, 91 days for others.
const SECONDS_MAXIMUM: [i64; 2] = [86_400, 7_862_400];
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];

/// Rules of PodCertificateRequests.
pub(crate) const POD_REQUEST: Rules = Rules {
    status_only: true,
    validate_create: |errors, request| spec(errors, &request["spec"]),
    validate_update: |errors, request, old| {
        if !same(&request["spec"], &old["spec"]) {
            errors.push(FieldError::invalid(&SPEC, request["spec"].clone(), IMMUTABLE));
        }
    },
    validate_part_at: |errors, request, old, _, context| status(errors, request, old, context),
    ..RULES
};

fn spec(errors: &mut Errors, spec: &Value) {
    signer_name(errors, &spec["signerName"], &SPEC.child("signerName"));
    let annotations = &spec["unverifiedUserAnnotations"];
    label::annotations(errors, annotations, &SPEC.child("unverifiedUserAnnotations"));
    for (own, uid) in
        [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")]
    {
        named(errors, &spec[own], &SPEC.child(own), name::dns_subdomain);
        if is_empty(&spec[uid]) {
            errors.push(FieldError::invalid(&SPEC.child(uid), "", "must not be empty"));
        }
        if text(&spec[uid]).len() > UID_MAXIMUM {
            errors.push(FieldError::too_long(&SPEC.child(uid), UID_MAXIMUM));
        }
    }
    let at = SPEC.child("maxExpirationSeconds");
    let Some(seconds) = spec["maxExpirationSeconds"].as_i64() else {
        return errors.push(FieldError::required(&at, "must be set"));
    };
    let domain = text(&spec["signerName"]).split('/').next().unwrap_or_default();
    let kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let maximum = SECONDS_MAXIMUM[usize::from(!kubernetes)];
    if !(SECONDS_MINIMUM..=maximum).contains(&seconds) {
        let why = format!("must be in the range [{SECONDS_MINIMUM}, {maximum}]");
        errors.push(FieldError::invalid(&at, seconds, &why));
    }
    stub(errors, &spec["stubPKCS10Request"]);
}

/// The key, and that whoever asks holds it.
fn stub(errors: &mut Errors, value: &Value) {
    let at = SPEC.child("stubPKCS10Request");
    if required(errors, value, &at) {
        return;
    }
    let bytes = STANDARD.decode(text(value)).unwrap_or_default();
    if bytes.len() > STUB_MAXIMUM {
        return errors.push(FieldError::too_long(&at, STUB_MAXIMUM));
    }
    let weak = match x509::request(&bytes) {
        Ok(request) => x509::weak_key(&request.certification_request_info.subject_pki),
        Err(error) => Some(format!("must be a valid PKCS#10 certificate signing request: {error}")),
    };
    if let Some(why) = weak {
        errors.push(FieldError::omitted(&at, &why));
    }
}

fn status(errors: &mut Errors, request: &Value, old: &Value, context: &Context<'_>) {
    let (status, before) = (&request["status"], &old["status"]);
    let mut ended = 0;
    let found = errors.len();
    for (index, one) in items(&status["conditions"]).iter().enumerate() {
        let at = STATUS.child("conditions");
        let at = at.index(index);
        let kind = text(&one["type"]);
        if !ENDS.contains(&kind) {
            errors.push(FieldError::not_supported(&at.child("type"), kind, &ENDS));
            continue;
        }
        ended += 1;
        if ended > 1 {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid(&at.child("type"), kind, why));
        }
        if one["status"] != "True" {
            errors.push(FieldError::not_supported(&at.child("status"), text(&one["status"]), &["True"]));
        }
    }
    condition::conditions(errors, &status["conditions"], &STATUS.child("conditions"));
    if errors.len() > found {
        return;
    }
    let is = |status: &Value, kind: &str| items(&status["conditions"]).iter().any(|one| one["type"] == kind);
    if ENDS.iter().any(|kind| is(before, kind)) {
        if !same(status, before) {
            let why = "immutable after PodCertificateRequest is issued, denied, or failed";
            errors.push(FieldError::omitted(&STATUS, why));
        }
    } else if is(status, "Denied") || is(status, "Failed") {
        let others = status.as_object().into_iter().flatten().filter(|(field, _)| *field != "conditions");
        if others.into_iter().any(|(_, value)| !is_empty(value)) {
            let why =
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            errors.push(FieldError::omitted(&STATUS, why));
        }
    } else if is(status, "Issued") {
        issued::check(errors, &request["spec"], status, context.now);
    } else if !same(status, before) {
        let why = "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
        errors.push(FieldError::omitted(&STATUS, why));
    }
}
