//! Where a webhook is reached and which reviews it takes, of admission and of conversion alike.
//!
//! Answers to apiserver's `util/webhook/validation.go`.

use crate::rule::{Errors, required};
use crate::value::{int, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const FORM: &str = "; desired format: https://host[/path]";

/// Where a webhook is reached.
pub(crate) fn client_config(errors: &mut Errors, config: &Value, path: &Path<'_>) {
    let (given, service) = (&config["url"], &config["service"]);
    if given.is_null() == service.is_null() {
        errors.push(FieldError::required(path, "exactly one of url or service is required"));
    } else if given.is_null() {
        self::service(errors, service, &path.child("service"));
    } else {
        url(errors, text(given), &path.child("url"));
    }
}

fn url(errors: &mut Errors, given: &str, path: &Path<'_>) {
    let mut wrong = |part: &str, why: &str| errors.push(FieldError::invalid(path, part, why));
    let (plain, fragment) = given.split_once('#').unwrap_or((given, ""));
    let (plain, query) = plain.split_once('?').unwrap_or((plain, ""));
    let (scheme, rest) = plain.split_once(':').unwrap_or(("", plain));
    if scheme != "https" {
        wrong(scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        wrong(host, &format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        wrong(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        wrong(query, "query parameters are not permitted in the URL");
    }
}

fn service(errors: &mut Errors, service: &Value, path: &Path<'_>) {
    // Upstream's callers hand the two over in the other order.
    required(errors, &service["namespace"], &path.child("name"));
    required(errors, &service["name"], &path.child("namespace"));
    let port = &service["port"];
    if !port.is_null() && !(1..=65_535).contains(&int(port)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(&path.child("port"), port.clone(), why));
    }
    let given = text(&service["path"]);
    if given.is_empty() || given == "/" {
        return;
    }
    let at = path.child("path");
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&at, given, why));
    if given == "//" {
        return wrong("segment[0] may not be empty");
    }
    if !given.starts_with('/') {
        wrong("must start with a '/'");
    }
    let mut letters = given.chars();
    letters.next();
    let inner = letters.as_str();
    for (index, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        if step.is_empty() {
            wrong(&format!("segment[{index}] may not be empty"));
        } else {
            name::dns_subdomain(step).iter().for_each(|why| wrong(&format!("segment[{index}]: {why}")));
        }
    }
}

/// Versions of reviews, of which one of `accepted` must be among them.
pub(crate) fn review_versions(
    errors: &mut Errors,
    versions: &Value,
    path: &Path<'_>,
    accepted: &[&str],
    absent: &str,
) {
    let list = items(versions);
    if list.is_empty() {
        return errors.push(FieldError::required(path, absent));
    }
    let mut seen = Vec::new();
    for (index, version) in list.iter().enumerate() {
        let (version, at) = (text(version), path.index(index));
        if seen.contains(&version) {
            errors.push(FieldError::invalid(&at, version, "duplicate version"));
            continue;
        }
        seen.push(version);
        for why in name::dns1035_label(version) {
            errors.push(FieldError::invalid(&at, version, &why));
        }
    }
    if !accepted.iter().any(|one| seen.contains(one)) {
        let why = format!("must include at least one of {}", accepted.join(", "));
        errors.push(FieldError::invalid(path, versions.clone(), &why));
    }
}
