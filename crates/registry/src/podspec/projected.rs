//! Rules for volumes that show objects as files: ConfigMaps, Secrets, the pod's own fields, tokens, certificates.
//!
//! Answers to `validateProjectedVolumeSource` and the rules of single sources of upstream's core validation.

use super::env;
use super::security::file_mode;
use crate::certificates::signer_name;
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, label, non_reserved_path, required, required_because};
use crate::value::{entries, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
/// The shortest that a certificate may be asked for.
const CERTIFICATE_SECONDS_MINIMUM: i64 = 3_600;
/// 91 days, and a day for Kubernetes' own signers.
const CERTIFICATE_SECONDS_MAXIMUM: [i64; 2] = [7_862_400, 86_400];

/// A ConfigMap or Secret as a volume of its own.
pub(super) fn key_files(errors: &mut Errors, kind: &str, body: &Value, path: &Path<'_>) {
    let field = if kind == "secret" { "secretName" } else { "name" };
    required(errors, &body[field], &path.child(field));
    file_mode(errors, &body["defaultMode"], &path.child("defaultMode"));
    let at = path.child("items");
    for (index, item) in items(&body["items"]).iter().enumerate() {
        key_to_path(errors, item, &at.index(index));
    }
}

fn key_to_path(errors: &mut Errors, item: &Value, path: &Path<'_>) {
    required(errors, &item["key"], &path.child("key"));
    required(errors, &item["path"], &path.child("path"));
    non_reserved_path(errors, &item["path"], &path.child("path"));
    file_mode(errors, &item["mode"], &path.child("mode"));
}

/// The pod's own fields as a volume.
pub(super) fn downward(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    file_mode(errors, &body["defaultMode"], &path.child("defaultMode"));
    for file in items(&body["items"]) {
        downward_file(errors, file, path);
    }
}

fn downward_file(errors: &mut Errors, file: &Value, path: &Path<'_>) {
    required(errors, &file["path"], &path.child("path"));
    non_reserved_path(errors, &file["path"], &path.child("path"));
    let (field, amount) = (&file["fieldRef"], &file["resourceFieldRef"]);
    if !field.is_null() {
        env::field_reference(errors, field, &env::FILE_FIELD_PATHS, &path.child("fieldRef"));
        if !amount.is_null() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", why));
        }
    } else if !amount.is_null() {
        env::resource_reference(errors, amount, true, &path.child("resourceFieldRef"));
    } else {
        errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    file_mode(errors, &file["mode"], &path.child("mode"));
}

/// Paths that are taken, and the path of the volume at which another use of one is reported.
struct Taken<'a, 'p> {
    seen: Vec<&'a str>,
    volume: &'p Path<'p>,
}

impl<'a> Taken<'a, '_> {
    fn take(&mut self, errors: &mut Errors, file: &'a str, shown: &str) {
        if self.seen.contains(&file) {
            errors.push(FieldError::invalid(self.volume, shown, "conflicting duplicate paths"));
        } else {
            self.seen.push(file);
        }
    }
}

/// Several sources in one volume.
pub(super) fn projected(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    file_mode(errors, &body["defaultMode"], &path.child("defaultMode"));
    let mut taken = Taken { seen: Vec::new(), volume: path };
    let at = path.child("sources");
    for (index, source) in items(&body["sources"]).iter().enumerate() {
        let at = at.index(index);
        let mut count = 0;
        for (kind, body) in entries(source).filter(|(_, body)| !body.is_null()) {
            count += 1;
            projection(errors, kind, body, &mut taken, &at.child(kind));
        }
        if count > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(&at, why));
        }
    }
}

fn projection<'a>(
    errors: &mut Errors,
    kind: &str,
    body: &'a Value,
    taken: &mut Taken<'a, '_>,
    path: &Path<'_>,
) {
    match kind {
        "secret" | "configMap" => {
            required(errors, &body["name"], &path.child("name"));
            let at = path.child("items");
            for (index, item) in items(&body["items"]).iter().enumerate() {
                key_to_path(errors, item, &at.index(index));
                if !text(&item["path"]).is_empty() {
                    taken.take(errors, text(&item["path"]), text(&body["name"]));
                }
            }
        }
        "downwardAPI" => {
            for file in items(&body["items"]) {
                downward_file(errors, file, path);
                if !text(&file["path"]).is_empty() {
                    taken.take(errors, text(&file["path"]), text(&file["path"]));
                }
            }
        }
        "serviceAccountToken" => token(errors, body, taken.volume, path),
        "clusterTrustBundle" => trust_bundle(errors, body, taken, path),
        "podCertificate" => certificate(errors, body, taken, path),
        _ => {}
    }
}

fn token(errors: &mut Errors, body: &Value, volume: &Path<'_>, path: &Path<'_>) {
    let at = path.child("expirationSeconds");
    match body["expirationSeconds"].as_i64() {
        None => errors.push(FieldError::required(&at, "")),
        Some(seconds) if seconds < 600 => {
            let why = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(&at, seconds, why));
        }
        Some(seconds) if seconds > 1 << 32 => {
            let why = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(&at, seconds, why));
        }
        Some(_) => {}
    }
    if !required(errors, &body["path"], &volume.child("path")) {
        non_reserved_path(errors, &body["path"], &volume.child("path"));
    }
}

fn trust_bundle<'a>(errors: &mut Errors, body: &'a Value, taken: &mut Taken<'a, '_>, path: &Path<'_>) {
    match (body["name"].is_null(), body["signerName"].is_null()) {
        (false, false) => {
            let why = "only one of name and signerName may be used";
            errors.push(showing(FieldError::invalid(path, "", why), body, shown::TRUST_BUNDLE));
        }
        (false, true) => {
            let (own, at) = (text(&body["name"]), path.child("name"));
            required_because(errors, &body["name"], &at, "must be a valid object name");
            // What stands before the last colon names a signer.
            for wrong in name::dns_subdomain(own.rsplit(':').next().unwrap_or(own)) {
                let why = format!("not a valid clustertrustbundlename: {wrong}");
                errors.push(FieldError::invalid(&at, own, &why));
            }
            if !body["labelSelector"].is_null() {
                let why = "labelSelector must be unset if name is specified";
                let given = body["labelSelector"].clone();
                errors.push(FieldError::invalid(&path.child("labelSelector"), given, why));
            }
        }
        (true, false) => {
            let at = path.child("signerName");
            required_because(errors, &body["signerName"], &at, "must be a valid signer name");
            signer_name(errors, &body["signerName"], &at);
            label::selector(errors, &body["labelSelector"], &path.child("labelSelector"));
        }
        (true, true) => {
            errors.push(FieldError::required(path, "either name or signerName must be specified"));
        }
    }
    required(errors, &body["path"], &path.child("path"));
    non_reserved_path(errors, &body["path"], &path.child("path"));
    taken.take(errors, text(&body["path"]), text(&body["path"]));
}

fn certificate<'a>(errors: &mut Errors, body: &'a Value, taken: &mut Taken<'a, '_>, path: &Path<'_>) {
    signer_name(errors, &body["signerName"], &path.child("signerName"));
    label::annotations(errors, &body["userAnnotations"], &path.child("userAnnotations"));
    let key = text(&body["keyType"]);
    if !KEY_TYPES.contains(&key) {
        errors.push(FieldError::not_supported(&path.child("keyType"), key, &KEY_TYPES));
    }
    if let Some(seconds) = body["maxExpirationSeconds"].as_i64() {
        let at = path.child("maxExpirationSeconds");
        let domain = text(&body["signerName"]).split('/').next().unwrap_or_default();
        let kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
        let maximum = CERTIFICATE_SECONDS_MAXIMUM[usize::from(kubernetes)];
        if seconds < CERTIFICATE_SECONDS_MINIMUM {
            let why = format!("if provided, maxExpirationSeconds must be >= {CERTIFICATE_SECONDS_MINIMUM}");
            errors.push(FieldError::invalid(&at, seconds, &why));
        }
        if seconds > maximum {
            let why = format!("if provided, maxExpirationSeconds must be <= {maximum}");
            errors.push(FieldError::invalid(&at, seconds, &why));
        }
    }
    let mut none = true;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(&body[field]);
        if !file.is_empty() {
            none = false;
            non_reserved_path(errors, &body[field], &path.child(field));
            taken.take(errors, file, file);
        }
    }
    if none {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(path, why));
    }
}
