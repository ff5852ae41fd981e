//! What is special about Endpoints and ReplicationControllers.
//!
//! Answers to upstream's rules of the two.

pub(crate) use crate::events::rules::EVENT;
use crate::kind::Order;
use crate::podspec;
use crate::rule::address::{ip, ip_form, no_special_ip, port};
use crate::rule::{Errors, SPEC, STATUS, declared, given_name, non_negative_fields, optional_name};
use crate::rule::{required, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{entries, int, is_empty, items};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";
/// Protocols of ports, sorted.
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Rules of Endpoints.
pub(crate) const ENDPOINTS: Rules = Rules {
    warnings: |warnings, endpoints, _| {
        // What the controller writes is in order.
        if endpoints["metadata"]["labels"][MANAGED_BY] == CONTROLLER {
            return;
        }
        let path = Path::root("subsets");
        for (index, subset) in items(&endpoints["subsets"]).iter().enumerate() {
            let at = path.index(index);
            for list in ["addresses", "notReadyAddresses"] {
                let at = at.child(list);
                for (index, one) in items(&subset[list]).iter().enumerate() {
                    ip_form(warnings, &one["ip"], &at.index(index).child("ip"));
                }
            }
        }
    },
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
    ip(errors, &one["ip"], &path.child("ip"));
    optional_name(errors, &one["hostname"], &path.child("hostname"), name::dns_label);
    given_name(errors, &one["nodeName"], &path.child("nodeName"), name::dns_subdomain);
    no_special_ip(errors, &one["ip"], &path.child("ip"));
}

fn endpoint_port(errors: &mut Errors, one: &Value, named: bool, path: &Path<'_>) {
    if named && is_empty(&one["name"]) {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    optional_name(errors, &one["name"], &path.child("name"), name::dns_label);
    port(errors, &one["port"], &path.child("port"));
    required_one_of(errors, &one["protocol"], &path.child("protocol"), &PROTOCOLS);
    given_name(errors, &one["appProtocol"], &path.child("appProtocol"), name::qualified);
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
        declared(errors, |errors| {
            non_negative_fields(errors, spec, &SPEC, &["replicas", "minReadySeconds"]);
        });
        required(errors, &spec["selector"], &SPEC.child("selector"));
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
    order: Order::ObjectTwice,
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
