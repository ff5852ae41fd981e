//! What is special about Endpoints, Events and ReplicationControllers.
//!
//! Answers to upstream's rules of the three.

use crate::podspec;
use crate::rule::address::{ordinary_ip, port};
use crate::rule::{Errors, ROOT, SPEC, STATUS, named, named_text, non_negative_fields, optional_name};
use crate::rule::{required, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{entries, int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

/// Protocols of ports, sorted.
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Rules of Endpoints.
pub(crate) const ENDPOINTS: Rules = Rules {
    validate: |errors, endpoints| {
        let path = Path::root("subsets");
        for (index, subset) in items(&endpoints["subsets"]).iter().enumerate() {
            let at = path.index(index);
            if is_empty(&subset["addresses"]) && is_empty(&subset["notReadyAddresses"]) {
                let why = "must specify `addresses` or `notReadyAddresses`";
                errors.push(FieldError::required(&at, why));
            }
            for list in ["addresses", "notReadyAddresses"] {
                let at = at.child(list);
                for (index, one) in items(&subset[list]).iter().enumerate() {
                    endpoint_address(errors, one, &at.index(index));
                }
            }
            let ports = items(&subset["ports"]);
            let at = at.child("ports");
            for (index, one) in ports.iter().enumerate() {
                endpoint_port(errors, one, ports.len() > 1, &at.index(index));
            }
        }
    },
    ..RULES
};

fn endpoint_address(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    ordinary_ip(errors, &one["ip"], &path.child("ip"));
    optional_name(errors, &one["hostname"], &path.child("hostname"), name::dns_label);
    optional_name(errors, &one["nodeName"], &path.child("nodeName"), name::dns_subdomain);
}

fn endpoint_port(errors: &mut Errors, one: &Value, named: bool, path: &Path<'_>) {
    if named && is_empty(&one["name"]) {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    optional_name(errors, &one["name"], &path.child("name"), name::dns_label);
    port(errors, &one["port"], &path.child("port"));
    required_one_of(errors, &one["protocol"], &path.child("protocol"), &PROTOCOLS);
    optional_name(errors, &one["appProtocol"], &path.child("appProtocol"), name::qualified);
}

const EVENT_TEXT_MAXIMUM: usize = 128;
const EVENT_NOTE_MAXIMUM: usize = 1024;

/// The names of an event's fields in one of its two forms.
struct EventForm {
    object: &'static str,
    controller: &'static str,
    note: &'static str,
}

/// Rules of core Events.
pub(crate) const EVENT: Rules = Rules {
    validate_create: |errors, event| {
        let form = EventForm { object: "involvedObject", controller: "reportingComponent", note: "message" };
        validate_event(errors, event, &form);
    },
    ..RULES
};

/// Rules of events.k8s.io Events.
pub(crate) const NEW_EVENT: Rules = Rules {
    validate_create: |errors, event| {
        let form = EventForm { object: "regarding", controller: "reportingController", note: "note" };
        required(errors, &event["eventTime"], &Path::root("eventTime"));
        let kind = text(&event["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            errors.push(FieldError::invalid(&Path::root("type"), "", "has invalid value: "));
        }
        for field in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount"] {
            if !is_empty(&event[field]) && event[field] != 0 {
                let given = event[field].clone();
                errors.push(FieldError::invalid(&Path::root(field), given, "needs to be unset"));
            }
        }
        validate_event(errors, event, &form);
    },
    ..RULES
};

fn validate_event(errors: &mut Errors, event: &Value, form: &EventForm) {
    let namespace = text(&event["metadata"]["namespace"]);
    let object = text(&event[form.object]["namespace"]);
    let new = !is_empty(&event["eventTime"]);
    let apart = match (object, new) {
        ("", false) => !matches!(namespace, "" | "default"),
        ("", true) => !matches!(namespace, "default" | "kube-system"),
        (object, false) => object != namespace,
        (_, true) => false,
    };
    if apart {
        let at = Path::root(form.object);
        errors.push(FieldError::invalid(&at.child("namespace"), object, "does not match event.namespace"));
    }
    if new {
        let controller = ROOT.child(form.controller);
        if !required(errors, &event[form.controller], &controller) {
            named(errors, &event[form.controller], &controller, name::qualified);
        }
        for field in ["reportingInstance", "action", "reason"] {
            required(errors, &event[field], &Path::root(field));
            if text(&event[field]).len() > EVENT_TEXT_MAXIMUM {
                let why = format!("can have at most {EVENT_TEXT_MAXIMUM} characters");
                errors.push(FieldError::invalid(&Path::root(field), "", &why));
            }
        }
        if text(&event[form.note]).len() > EVENT_NOTE_MAXIMUM {
            let why = format!("can have at most {EVENT_NOTE_MAXIMUM} characters");
            errors.push(FieldError::invalid(&Path::root(form.note), "", &why));
        }
    }
    named_text(errors, namespace, &Path::root("namespace"), name::dns_subdomain);
}

/// Rules of ReplicationControllers.
pub(crate) const REPLICATION_CONTROLLER: Rules = Rules {
    warnings: |warnings, object, old| {
        if old.is_none() {
            crate::podspec::warning::pod_names(warnings, object);
        }
        crate::podspec::warning::template(warnings, object, old);
    },
    default: |controller| {
        if let Some(spec) = controller.pointer_mut("/spec/template/spec") {
            podspec::default_spec(spec);
        }
    },
    status: r#"{"replicas":0}"#,
    validate: |errors, controller| {
        let spec = &controller["spec"];
        non_negative_fields(errors, spec, &SPEC, &["minReadySeconds"]);
        required(errors, &spec["selector"], &SPEC.child("selector"));
        non_negative_fields(errors, spec, &SPEC, &["replicas"]);
        let (template, at) = (&spec["template"], SPEC.child("template"));
        if template.is_null() {
            errors.push(FieldError::required(&at, ""));
            return;
        }
        let labels = &template["metadata"]["labels"];
        if entries(&spec["selector"]).any(|(key, value)| labels.get(key) != Some(value)) {
            let why = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid(&at.child("metadata").child("labels"), labels.clone(), why));
        }
        podspec::template(errors, template, &at);
        crate::apps::runs_forever(errors, &template["spec"], "ReplicationController", &at.child("spec"));
    },
    validate_part: |errors, controller, _, _| replica_status(errors, &controller["status"]),
    orphans: true,
    ..RULES
};

/// Numbers of replicas in a status.
pub(crate) fn replica_status(errors: &mut Errors, status: &Value) {
    let fields =
        ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    non_negative_fields(errors, status, &STATUS, &fields);
    for field in &fields[1..4] {
        if int(&status[*field]) > int(&status["replicas"]) {
            let why = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(&STATUS.child(field), int(&status[*field]), why));
        }
    }
    if int(&status["availableReplicas"]) > int(&status["readyReplicas"]) {
        let given = int(&status["availableReplicas"]);
        let why = "cannot be greater than readyReplicas";
        errors.push(FieldError::invalid(&STATUS.child("availableReplicas"), given, why));
    }
}
