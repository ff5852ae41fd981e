//! Rules for probes and life cycle hooks.

use crate::rule::{Errors, address, non_negative_fields, one_of, required};
use crate::value::{int, items, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// A probe; `kind` is the field it stands in.
pub(super) fn probe(errors: &mut Errors, probe: &Value, kind: &str, path: &Path<'_>) {
    action(errors, probe, None, false, path);
    let fields =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    non_negative_fields(errors, probe, path, &fields);
    let grace = &probe["terminationGracePeriodSeconds"];
    let at = path.child("terminationGracePeriodSeconds");
    if grace.as_i64().is_some_and(|grace| grace <= 0) {
        errors.push(FieldError::invalid(&at, grace.clone(), "must be greater than 0"));
    }
    if kind == "readinessProbe" {
        if !grace.is_null() {
            errors.push(FieldError::invalid(&at, grace.clone(), "must not be set for readinessProbes"));
        }
    } else if int(&probe["successThreshold"]) != 1 {
        let given = int(&probe["successThreshold"]);
        errors.push(FieldError::invalid(&path.child("successThreshold"), given, "must be 1"));
    }
}

/// What is done: exactly one of several actions, of which hooks have `sleep` and probes `grpc`.
pub(super) fn action(errors: &mut Errors, action: &Value, grace: Option<i64>, hook: bool, path: &Path<'_>) {
    let kinds: [&str; 4] = ["exec", "httpGet", "tcpSocket", if hook { "sleep" } else { "grpc" }];
    let mut given = 0;
    for kind in kinds {
        let body = &action[kind];
        if body.is_null() {
            continue;
        }
        given += 1;
        let at = path.child(kind);
        if given > 1 {
            errors.push(FieldError::forbidden(&at, "may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" => {
                required(errors, &body["command"], &at.child("command"));
            }
            "httpGet" => http(errors, body, &at),
            "sleep" => sleep(errors, body, grace, &at),
            _ => address::port_or_name(errors, &body["port"], &at.child("port")),
        }
    }
    if given == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn http(errors: &mut Errors, get: &Value, path: &Path<'_>) {
    required(errors, &get["path"], &path.child("path"));
    address::port_or_name(errors, &get["port"], &path.child("port"));
    one_of(errors, &get["scheme"], &path.child("scheme"), &["HTTP", "HTTPS"]);
    for header in items(&get["httpHeaders"]) {
        let name = text(&header["name"]);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            errors.push(FieldError::invalid(&path.child("httpHeaders"), name, HEADER));
        }
    }
}

fn sleep(errors: &mut Errors, body: &Value, grace: Option<i64>, path: &Path<'_>) {
    let seconds = int(&body["seconds"]);
    // A pod without a grace period has been reported for that.
    let Some(grace) = grace else { return };
    if seconds < 0 || seconds > grace {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(path, seconds, &why));
    }
}
