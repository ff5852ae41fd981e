//! Rules for environment variables and where their values come from.

use super::Scope;
use crate::rule::{Errors, named, named_text, required, required_name, resource};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const FIELD_PATHS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
pub(super) const FILE_FIELD_PATHS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Every field that the downward API knows, whatever it is used for.
const KNOWN_PATHS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];
const VARIABLE_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const NO_SOURCE: &str =
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A name of a variable: nearly any printable text.
fn variable_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.is_empty() {
        wrong.push("environment variable name must be non-empty".to_owned());
    }
    if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        wrong.push(VARIABLE_NAME.to_owned());
    }
    wrong
}

/// The variables of a container.
pub(super) fn variables(errors: &mut Errors, list: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    for (index, variable) in items(list).iter().enumerate() {
        let at = path.index(index);
        required_name(errors, &variable["name"], &at.child("name"), variable_name);
        if !variable["valueFrom"].is_null() {
            value_from(errors, variable, scope, &at.child("valueFrom"));
        }
    }
}

fn value_from(errors: &mut Errors, variable: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let from = &variable["valueFrom"];
    let mut sources = 0;
    let mut source = |field: &str| {
        let given = !from[field].is_null();
        sources += i32::from(given);
        given
    };
    if source("fieldRef") {
        field_reference(errors, &from["fieldRef"], &FIELD_PATHS, &path.child("fieldRef"));
    }
    if source("resourceFieldRef") {
        resource_reference(errors, &from["resourceFieldRef"], false, &path.child("resourceFieldRef"));
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if source(field) {
            let at = path.child(field);
            named(errors, &from[field]["name"], &at.child("name"), name::dns_subdomain);
            required_name(errors, &from[field]["key"], &at.child("key"), name::config_map_key);
        }
    }
    if source("fileKeyRef") {
        scope.files.set(true);
        file_reference(errors, &from["fileKeyRef"], &path.child("fileKeyRef"));
    }
    let why = if sources == 0 {
        NO_SOURCE
    } else if !is_empty(&variable["value"]) {
        "may not be specified when `value` is not empty"
    } else if sources > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.push(FieldError::invalid(path, "", why));
}

fn file_reference(errors: &mut Errors, reference: &Value, path: &Path<'_>) {
    required_name(errors, &reference["key"], &path.child("key"), variable_name);
    required_name(errors, &reference["volumeName"], &path.child("volumeName"), name::dns_label);
    if !required(errors, &reference["path"], &path.child("path")) {
        crate::rule::no_backsteps(errors, &reference["path"], &path.child("path"));
    }
}

/// The volumes that files of variables stand in.
pub(super) fn file_volumes(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    super::each_container(spec, path, |container, path| {
        let at = path.child("env");
        for (index, variable) in items(&container["env"]).iter().enumerate() {
            let reference = &variable["valueFrom"]["fileKeyRef"];
            if reference.is_null() {
                continue;
            }
            let own = text(&reference["volumeName"]);
            let at = at.index(index);
            let at = at.child("valueFrom");
            let at = at.child("fileKeyRef");
            let at = at.child("volumeName");
            match items(&spec["volumes"]).iter().find(|volume| text(&volume["name"]) == own) {
                None => errors.push(FieldError::not_found(&at, own)),
                Some(volume) if volume["emptyDir"].is_null() => {
                    let why = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid(&at, own, why));
                }
                Some(_) => {}
            }
        }
    });
}

/// A reference to a field of the pod.
pub(super) fn field_reference(errors: &mut Errors, reference: &Value, allowed: &[&str], path: &Path<'_>) {
    if required(errors, &reference["apiVersion"], &path.child("apiVersion"))
        || required(errors, &reference["fieldPath"], &path.child("fieldPath"))
    {
        return;
    }
    let field = text(&reference["fieldPath"]);
    let at = path.child("fieldPath");
    let subscripted = field.strip_suffix("']").and_then(|field| field.split_once("['"));
    let (base, key) = subscripted.map_or((field, None), |(base, key)| (base, Some(key)));
    let known =
        FIELD_PATHS.contains(&base) || FILE_FIELD_PATHS.contains(&base) || KNOWN_PATHS.contains(&base);
    let version = text(&reference["apiVersion"]);
    let why = if version != "v1" {
        format!("unsupported pod version: {version}")
    } else if key.is_some() && !matches!(base, "metadata.annotations" | "metadata.labels") {
        format!("field label does not support subscript: {field}")
    } else if !known && base != "spec.host" {
        format!("field label not supported: {field}")
    } else {
        String::new()
    };
    if !why.is_empty() {
        errors.push(FieldError::invalid(&at, field, &format!("error converting fieldPath: {why}")));
        return;
    }
    // An old name of it.
    let base = if base == "spec.host" { "spec.nodeName" } else { base };
    match (base, key) {
        ("metadata.annotations", Some(key)) => named_text(errors, &key.to_lowercase(), path, name::qualified),
        ("metadata.labels", Some(key)) => named_text(errors, key, path, name::qualified),
        (_, None) if !allowed.contains(&base) => {
            errors.push(FieldError::not_supported(&at, base, allowed));
        }
        _ => {}
    }
}

/// A reference to a request or limit of a container.
pub(super) fn resource_reference(errors: &mut Errors, reference: &Value, in_volume: bool, path: &Path<'_>) {
    let wanted = text(&reference["resource"]);
    let huge = wanted.starts_with("requests.hugepages-") || wanted.starts_with("limits.hugepages-");
    if in_volume && is_empty(&reference["containerName"]) {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if wanted.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&wanted) && !huge {
        errors.push(FieldError::not_supported(&path.child("resource"), wanted, &RESOURCES));
    }
    let divisor = resource::quantity(&reference["divisor"]);
    if reference["divisor"].is_null() || divisor.is_zero() {
        return;
    }
    let shown = divisor.to_string();
    let why = match wanted {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(shown.as_str(), "1m" | "1") {
                let why = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.push(FieldError::invalid(&path.child("divisor"), wanted, why));
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !DIVISORS.contains(&shown.as_str()) {
        let why =
            format!("only divisor's values {} are supported with the {why} resource", DIVISORS.join(", "));
        errors.push(FieldError::invalid(&path.child("divisor"), wanted, &why));
    }
}

/// Whole ConfigMaps and Secrets that variables come from.
pub(super) fn sources(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, source) in items(list).iter().enumerate() {
        let at = path.index(index);
        if !is_empty(&source["prefix"]) {
            named(errors, &source["prefix"], &at.child("prefix"), variable_name);
        }
        let mut given = 0;
        for field in ["configMapRef", "secretRef"] {
            if !source[field].is_null() {
                given += 1;
                let at = at.child(field);
                required_name(errors, &source[field]["name"], &at.child("name"), name::dns_subdomain);
            }
        }
        if given == 0 {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid(path, "", why));
        } else if given > 1 {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(path, "", why));
        }
    }
}
