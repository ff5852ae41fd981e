//! What is special about CertificateSigningRequests, ClusterTrustBundles and PodCertificateRequests.
//!
//! Invariant: who asked for a certificate is written down by the server, and who approves does not sign. Answers to
//! upstream's `pkg/apis/certificates/validation` and the strategies of the group.

use crate::kind::Context;
use crate::rule::{Errors, METADATA, SPEC, STATUS, declared, immutable, required, required_one_of, x509};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, remove, restore, same, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const BUNDLE_MAXIMUM: usize = 1024 * 1024;
const SUBDOMAIN_MAXIMUM: usize = 253;
const SIGNER_NAME_MAXIMUM: usize = 253 + 1 + 253 + 63 + 1;
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const EXPIRATION_MINIMUM: i64 = 600;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// A name of a signer: a domain and a path of up to six parts.
pub(crate) fn signer_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if required(errors, value, path) {
        return;
    }
    let given = text(value);
    let Some((domain, rest)) = given.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid(path, given, why));
    };
    if domain.len() > SUBDOMAIN_MAXIMUM {
        errors.push(FieldError::too_long(path, SUBDOMAIN_MAXIMUM));
    }
    labels(errors, domain, path, name::dns_label);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, why));
    }
    labels(errors, rest, path, name::dns_subdomain);
    if given.len() > SIGNER_NAME_MAXIMUM {
        errors.push(FieldError::too_long(path, SIGNER_NAME_MAXIMUM));
    }
}

/// Parts between dots; of several wrong ones the first is named.
fn labels(errors: &mut Errors, whole: &str, path: &Path<'_>, rule: fn(&str) -> Vec<String>) {
    for label in whole.split('.') {
        let wrong = rule(label);
        if wrong.is_empty() {
            continue;
        }
        for one in wrong {
            let why = format!("validating label {label:?}: {one}");
            errors.push(FieldError::invalid(path, whole, &why));
        }
        return;
    }
}

/// Rules of CertificateSigningRequests.
pub(crate) const REQUEST: Rules = Rules {
    create: |request, context| {
        let spec = &mut request["spec"];
        for field in ["username", "uid", "groups", "extra"] {
            remove(spec, field);
        }
        requester(spec, context);
    },
    update: |request, old, part, context| {
        restore(request, old, "spec");
        match part {
            "" => {}
            "approval" => {
                let conditions = request["status"]["conditions"].clone();
                restore(request, old, "status");
                if !conditions.is_null() {
                    request["status"]["conditions"] = conditions;
                }
                stamp(request, old, context);
            }
            _ => {
                keep_decision(request, old);
                stamp(request, old, context);
            }
        }
    },
    validate: |errors, request| {
        let spec = &request["spec"];
        pem_request(errors, &spec["request"]);
        required(errors, &spec["usages"], &SPEC.child("usages"));
        let at = SPEC.child("usages");
        let mut seen = Vec::new();
        for (index, one) in items(&spec["usages"]).iter().enumerate() {
            let one = text(one);
            if !USAGES.contains(&one) {
                errors.push(FieldError::not_supported(&at.index(index), one, &USAGES));
            }
            crate::rule::unique(errors, &mut seen, one, &at.index(index));
        }
        if spec["signerName"] == LEGACY_SIGNER {
            let why = "the legacy signerName is not allowed via this API version";
            errors.push(FieldError::invalid(&SPEC.child("signerName"), LEGACY_SIGNER, why));
        } else {
            signer_name(errors, &spec["signerName"], &SPEC.child("signerName"));
        }
        if spec["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < EXPIRATION_MINIMUM) {
            let given = int(&spec["expirationSeconds"]);
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid(&SPEC.child("expirationSeconds"), given, why));
        }
    },
    validate_part: |errors, request, old, _| decision(errors, request, old),
    ..RULES
};

fn requester(spec: &mut Value, context: &Context<'_>) {
    spec["username"] = context.user.into();
    if !context.user_uid.is_empty() {
        spec["uid"] = context.user_uid.into();
    }
    if !context.groups.is_empty() {
        spec["groups"] = context.groups.into();
    }
    if !context.extra.is_empty() {
        spec["extra"] = context.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
    }
}

fn is_decision(condition: &Value) -> bool {
    matches!(text(&condition["type"]), "Approved" | "Denied")
}

/// Whoever signs does not approve.
fn keep_decision(request: &mut Value, old: &Value) {
    let mut kept: Vec<Value> =
        items(&old["status"]["conditions"]).iter().filter(|one| is_decision(one)).cloned().collect();
    kept.extend(items(&request["status"]["conditions"]).iter().filter(|one| !is_decision(one)).cloned());
    if !kept.is_empty() {
        request["status"]["conditions"] = kept.into();
    }
}

fn stamp(request: &mut Value, old: &Value, context: &Context<'_>) {
    let list = request["status"].get_mut("conditions").and_then(Value::as_array_mut);
    for one in list.into_iter().flatten().filter(|one| one.is_object()) {
        if one["lastUpdateTime"].is_null() {
            one["lastUpdateTime"] = context.now.into();
        }
        if one["lastTransitionTime"].is_null() {
            let before = items(&old["status"]["conditions"]);
            let same_state =
                before.iter().find(|old| old["type"] == one["type"] && old["status"] == one["status"]);
            let at = same_state.map(|old| old["lastTransitionTime"].clone()).filter(|at| !at.is_null());
            one["lastTransitionTime"] = at.unwrap_or_else(|| context.now.into());
        }
    }
}

fn pem_request(errors: &mut Errors, value: &Value) {
    let bytes = STANDARD.decode(text(value)).unwrap_or_default();
    let first = x509::blocks(&String::from_utf8_lossy(&bytes)).next();
    let read = match &first {
        Some(block) if block.tag() == x509::REQUEST => x509::request(block.contents()).map(drop),
        _ => Err("PEM block type must be CERTIFICATE REQUEST".to_owned()),
    };
    if let Err(why) = read {
        errors.push(FieldError::invalid(&SPEC.child("request"), value.clone(), &why));
    }
}

fn decision(errors: &mut Errors, request: &Value, old: &Value) {
    let at = STATUS.child("conditions");
    conditions(errors, request, old, &at);
    let (new, before) = (&request["status"]["certificate"], &old["status"]["certificate"]);
    let changed = !same(new, before);
    let decoded =
        |one: &Value| String::from_utf8_lossy(&STANDARD.decode(text(one)).unwrap_or_default()).into_owned();
    // What is there already may stay, whatever it is.
    let was_wrong = !is_empty(before) && x509::chain_error(&decoded(before)).is_some();
    if changed
        && !is_empty(new)
        && !was_wrong
        && let Some(why) = x509::chain_error(&decoded(new))
    {
        errors.push(FieldError::invalid(&STATUS.child("certificate"), "<certificate data>", &why));
    }
    let count = |one: &Value, kind: &str| {
        items(&one["status"]["conditions"]).iter().filter(|one| one["type"] == *kind).count()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if count(request, kind) < count(old, kind) {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.push(FieldError::forbidden(&at, &why));
        }
    }
    if !is_empty(before) && changed {
        let why = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden(&STATUS.child("certificate"), why));
    }
}

fn conditions(errors: &mut Errors, request: &Value, old: &Value, path: &Path<'_>) {
    let is = |one: &Value, kind: &str| {
        items(&one["status"]["conditions"]).iter().any(|condition| condition["type"] == *kind)
    };
    let mut seen = Vec::new();
    for (index, one) in items(&request["status"]["conditions"]).iter().enumerate() {
        let at = path.index(index);
        required(errors, &one["type"], &at.child("type"));
        let state = &one["status"];
        if is_decision(one) || one["type"] == "Failed" {
            if !required(errors, state, &at.child("status")) && state != "True" {
                errors.push(FieldError::not_supported(&at.child("status"), text(state), &["True"]));
            }
        } else {
            required_one_of(errors, state, &at.child("status"), &["False", "True", "Unknown"]);
        }
        crate::rule::unique(errors, &mut seen, text(&one["type"]), &at.child("type"));
    }
    let both = |one: &Value| is(one, "Approved") && is(one, "Denied");
    if both(request) && !both(old) {
        let names = ["Approved", "Denied"].map(|kind| format!("conditions[{{\"type\": {kind:?}}}]"));
        let why = format!("must specify at most one of: `{}`", names.join("`, `"));
        let shown = format!("{{{}}}", names.join(", "));
        declared(errors, |errors| errors.push(FieldError::invalid(path, shown, &why)));
    }
}

/// Rules of ClusterTrustBundles: the name begins with the signer's, if there is one.
pub(crate) const TRUST_BUNDLE: Rules = Rules {
    validate: |errors, bundle| {
        let (spec, own) = (&bundle["spec"], text(&bundle["metadata"]["name"]));
        let signer = text(&spec["signerName"]);
        let at = METADATA.child("name");
        let rest = if signer.is_empty() {
            if own.contains(':') {
                let why = "ClusterTrustBundle without signer name must not have \":\" in its name";
                errors.push(FieldError::invalid(&at, own, why));
                return;
            }
            own
        } else {
            signer_name(errors, &spec["signerName"], &SPEC.child("signerName"));
            let prefix = format!("{}:", signer.replace('/', ":"));
            match own.strip_prefix(&prefix) {
                Some(rest) => rest,
                None => {
                    let why = format!(
                        "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
                    );
                    return errors.push(FieldError::invalid(&at, own, &why));
                }
            }
        };
        crate::rule::named_text(errors, rest, &at, name::dns_subdomain);
    },
    validate_create: |errors, bundle| trust_anchors(errors, text(&bundle["spec"]["trustBundle"])),
    validate_update: |errors, bundle, old| {
        if bundle["spec"]["trustBundle"] != old["spec"]["trustBundle"] {
            trust_anchors(errors, text(&bundle["spec"]["trustBundle"]));
        }
        let signer = |one: &Value| one["spec"]["signerName"].clone();
        immutable(errors, &signer(bundle), &signer(old), &SPEC.child("signerName"));
    },
    ..RULES
};

/// Authorities, each once, and nothing else.
fn trust_anchors(errors: &mut Errors, bundle: &str) {
    let at = SPEC.child("trustBundle");
    if bundle.len() > BUNDLE_MAXIMUM {
        return errors.push(FieldError::too_long(&at, BUNDLE_MAXIMUM));
    }
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&at, "<value omitted>", why));
    let (mut seen, mut sound) = (BTreeMap::<Vec<u8>, Vec<String>>::new(), true);
    for (index, block) in x509::blocks(bundle).enumerate() {
        let certificate = x509::certificate(block.contents());
        let basic = certificate.as_ref().map(|one| one.basic_constraints());
        let why = match basic {
            _ if block.tag() != x509::CERTIFICATE => format!("has bad block type: {}", block.tag()),
            _ if x509::has_headers(&block) => "has PEM block headers".into(),
            Err(_) => "does not parse as X.509".into(),
            Ok(Ok(Some(basic))) if basic.value.ca => {
                let places = seen.entry(block.into_contents()).or_default();
                places.push(index.to_string());
                continue;
            }
            Ok(_) => "does not have the CA bit set".into(),
        };
        sound = false;
        wrong(&format!("entry {index} {why}"));
    }
    if sound && seen.is_empty() {
        wrong("at least one trust anchor must be provided");
    }
    for places in seen.values().filter(|places| sound && places.len() > 1) {
        wrong(&format!("duplicate trust anchor (indices [{}])", places.join(" ")));
    }
}
