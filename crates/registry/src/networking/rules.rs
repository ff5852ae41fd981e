//! What is special about Ingresses and IngressClasses.
//!
//! Answers to upstream's `pkg/apis/networking/validation`.

use crate::kind::Order;
use crate::rule::address::{ip_unless_old, port, port_name};
use crate::rule::{
    Errors, SPEC, STATUS, collect, declared_required, domain_path, immutable, named, named_text, one_of,
};
use crate::rule::{optional_name, required, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;
use std::net::IpAddr;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_MAXIMUM: usize = 250;
const SUBDOMAIN_MAXIMUM: usize = 253;
const NO_ADDRESS: &str = "must be a DNS name, not an IP address";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Rules of Ingresses.
pub(crate) const INGRESS: Rules = Rules {
    warnings: |warnings, ingress, old| {
        let annotated = !ingress["metadata"]["annotations"][CLASS_ANNOTATION].is_null();
        if old.is_none() && annotated && ingress["spec"]["ingressClassName"].is_null() {
            warnings.push(format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
    },
    status: r#"{"loadBalancer":{}}"#,
    validate_create: |errors, ingress| {
        ingress_spec(errors, &ingress["spec"], Leniency::default());
        let annotation = &ingress["metadata"]["annotations"][CLASS_ANNOTATION];
        let class = &ingress["spec"]["ingressClassName"];
        if !annotation.is_null() && !class.is_null() && annotation != class {
            let at = Path::root("annotations");
            let why = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&at.child(CLASS_ANNOTATION), annotation.clone(), why));
        }
    },
    validate_update: |errors, ingress, old| {
        ingress_spec(errors, &ingress["spec"], Leniency::of(&old["spec"]));
    },
    validate_part: ingress_status,
    ..RULES
};

/// What an Ingress may keep that a new one may not have.
#[derive(Clone, Copy, Default)]
struct Leniency {
    secret_names: bool,
    wildcard_rules: bool,
}

impl Leniency {
    fn of(old: &Value) -> Self {
        let secret = |one: &Value| {
            !is_empty(&one["secretName"]) && !name::dns_subdomain(text(&one["secretName"])).is_empty()
        };
        let wildcard = |rule: &Value| {
            text(&rule["host"]).contains('*') && !collect(|errors| rule_value(errors, rule, &SPEC)).is_empty()
        };
        Self {
            secret_names: items(&old["tls"]).iter().any(secret),
            wildcard_rules: items(&old["rules"]).iter().any(wildcard),
        }
    }
}

fn ingress_spec(errors: &mut Errors, spec: &Value, leniency: Leniency) {
    if is_empty(&spec["rules"]) && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&SPEC, spec["rules"].clone(), why));
    }
    if !spec["defaultBackend"].is_null() {
        backend(errors, &spec["defaultBackend"], &SPEC.child("defaultBackend"));
    }
    let at = SPEC.child("rules");
    for (index, rule) in items(&spec["rules"]).iter().enumerate() {
        ingress_rule(errors, rule, leniency, &at.index(index));
    }
    let at = SPEC.child("tls");
    for (index, one) in items(&spec["tls"]).iter().enumerate() {
        let at = at.index(index);
        let hosts = at.child("hosts");
        for (index, host) in items(&one["hosts"]).iter().enumerate() {
            host_name(errors, host, &hosts.index(index));
        }
        if !leniency.secret_names {
            optional_name(errors, &one["secretName"], &at.child("secretName"), name::dns_subdomain);
        }
    }
    if !spec["ingressClassName"].is_null() {
        named(errors, &spec["ingressClassName"], &SPEC.child("ingressClassName"), name::dns_subdomain);
    }
}

fn ingress_status(errors: &mut Errors, ingress: &Value, old: &Value, _: &str) {
    let before = items(&old["status"]["loadBalancer"]["ingress"]);
    let known: Vec<&str> = before.iter().map(|one| text(&one["ip"])).collect();
    let at = STATUS.child("loadBalancer");
    let at = at.child("ingress");
    for (index, one) in items(&ingress["status"]["loadBalancer"]["ingress"]).iter().enumerate() {
        let at = at.index(index);
        if !is_empty(&one["ip"]) {
            ip_unless_old(errors, &one["ip"], &known, &at.child("ip"));
        }
        let host = text(&one["hostname"]);
        if !host.is_empty() {
            let at = at.child("hostname");
            named_text(errors, host, &at, name::dns_subdomain);
            if host.parse::<IpAddr>().is_ok() {
                errors.push(FieldError::invalid(&at, host, NO_ADDRESS));
            }
        }
    }
}

fn host_name(errors: &mut Errors, host: &Value, path: &Path<'_>) {
    let given = text(host);
    if !given.contains('*') {
        return named(errors, host, path, name::dns_subdomain);
    }
    if given.len() > SUBDOMAIN_MAXIMUM {
        let why = format!("must be no more than {SUBDOMAIN_MAXIMUM} bytes");
        errors.push(FieldError::invalid(path, given, &why));
    }
    let rest = given.strip_prefix("*.").map(|rest| rest.get(..SUBDOMAIN_MAXIMUM).unwrap_or(rest));
    if rest.is_none_or(|rest| !name::dns_subdomain(rest).is_empty()) {
        errors.push(FieldError::invalid(path, given, WILDCARD));
    }
}

fn ingress_rule(errors: &mut Errors, rule: &Value, leniency: Leniency, path: &Path<'_>) {
    let host = text(&rule["host"]);
    if !host.is_empty() {
        let at = path.child("host");
        if host.parse::<IpAddr>().is_ok() {
            errors.push(FieldError::invalid(&at, host, NO_ADDRESS));
        }
        host_name(errors, &rule["host"], &at);
    }
    if !host.contains('*') || !leniency.wildcard_rules {
        rule_value(errors, rule, path);
    }
}

fn rule_value(errors: &mut Errors, rule: &Value, path: &Path<'_>) {
    if rule["http"].is_null() {
        return;
    }
    let at = path.child("http");
    let at = at.child("paths");
    required(errors, &rule["http"]["paths"], &at);
    for (index, one) in items(&rule["http"]["paths"]).iter().enumerate() {
        let at = at.index(index);
        if url_path(errors, one, &at) {
            backend(errors, &one["backend"], &at.child("backend"));
        }
    }
}

/// The path; false if it does not say of which type it is.
fn url_path(errors: &mut Errors, one: &Value, path: &Path<'_>) -> bool {
    let (kind, given, at) = (&one["pathType"], text(&one["path"]), path.child("path"));
    if kind.is_null() {
        errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
        return false;
    }
    match text(kind) {
        "Exact" | "Prefix" => {
            if !given.starts_with('/') {
                errors.push(FieldError::invalid(&at, given, "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if given.contains(part) {
                    errors.push(FieldError::invalid(&at, given, &format!("must not contain '{part}'")));
                }
            }
            for end in ["/..", "/."] {
                if given.ends_with(end) {
                    errors.push(FieldError::invalid(&at, given, &format!("cannot end with '{end}'")));
                }
            }
        }
        "ImplementationSpecific" => {
            if !given.is_empty() && !given.starts_with('/') {
                errors.push(FieldError::invalid(&at, given, "must be an absolute path"));
            }
        }
        other => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&path.child("pathType"), other, &supported));
        }
    }
    true
}

fn backend(errors: &mut Errors, backend: &Value, path: &Path<'_>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_null(), resource.is_null()) {
        (false, false) => {
            errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends"));
        }
        (true, true) => {
            errors.push(FieldError::invalid(path, "", "resource or service backend is required"));
        }
        (true, false) => reference(errors, resource, &path.child("resource")),
        (false, true) => {
            let at = path.child("service");
            required_name(errors, &service["name"], &at.child("name"), name::dns_label);
            let (number, label) = (int(&service["port"]["number"]), text(&service["port"]["name"]));
            let at = at.child("port");
            match (number != 0, !label.is_empty()) {
                (true, true) => {
                    errors.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
                }
                (false, false) => errors.push(FieldError::required(path, "port name or number is required")),
                (true, false) => port(errors, &service["port"]["number"], &at.child("number")),
                (false, true) => named_text(errors, label, &at.child("name"), port_name),
            }
        }
    }
}

/// Group, kind and name of another object.
fn reference(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    if !one["apiGroup"].is_null() {
        named(errors, &one["apiGroup"], &path.child("apiGroup"), name::dns_subdomain);
    }
    for field in ["kind", "name"] {
        required_name(errors, &one[field], &path.child(field), name::path_segment);
    }
}

/// Rules of IngressClasses.
pub(crate) const INGRESS_CLASS: Rules = Rules {
    validate: |errors, class| {
        let (spec, at) = (&class["spec"], SPEC.child("controller"));
        let controller = text(&spec["controller"]);
        if controller.len() > CONTROLLER_MAXIMUM {
            errors.push(FieldError::too_long(&at, CONTROLLER_MAXIMUM));
        }
        domain_path(errors, controller, &at);
        let parameters = &spec["parameters"];
        if parameters.is_null() {
            return;
        }
        let at = SPEC.child("parameters");
        for field in ["kind", "name"] {
            declared_required(errors, &parameters[field], &at.child(field));
        }
        if !parameters["apiGroup"].is_null() {
            named(errors, &parameters["apiGroup"], &at.child("apiGroup"), name::dns_subdomain);
        }
        for field in ["kind", "name"] {
            optional_name(errors, &parameters[field], &at.child(field), name::path_segment);
        }
        let scope = &parameters["scope"];
        if scope.is_null() {
            return errors.push(FieldError::required(&at.child("scope"), ""));
        }
        one_of(errors, scope, &at.child("scope"), &["Cluster", "Namespace"]);
        let namespace = &parameters["namespace"];
        if scope == "Namespace" {
            if namespace.is_null() {
                let why = "`parameters.scope` is set to 'Namespace'";
                errors.push(FieldError::required(&at.child("namespace"), why));
            } else {
                named(errors, namespace, &at.child("namespace"), name::dns_label);
            }
        } else if scope == "Cluster" && !namespace.is_null() {
            let why = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(&at.child("namespace"), why));
        }
    },
    order: Order::ChangeFirst,
    validate_update: |errors, class, old| {
        let controller = |one: &Value| one["spec"]["controller"].clone();
        immutable(errors, &controller(class), &controller(old), &SPEC.child("controller"));
    },
    ..RULES
};
