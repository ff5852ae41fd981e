//! Tables of rights, certificates, extensions of the API, fairness and devices.

use super::{age, condition, count, items, joined, length, name, scalar, table, text, text_or};
use crate::kind::Table;
use serde_json::Value;

fn subjects(object: &Value, kind: &str) -> Value {
    let names: Vec<String> = items(&object["subjects"])
        .iter()
        .filter(|one| one["kind"] == kind)
        .map(|one| match (kind, text(&one["namespace"])) {
            ("ServiceAccount", namespace) => format!("{namespace}/{}", text(&one["name"])),
            _ => text(&one["name"]).to_owned(),
        })
        .collect();
    names.join(", ").into()
}

/// Table of RoleBindings and ClusterRoleBindings.
pub fn table_of_role_bindings() -> Table {
    table(&["Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"], |object, now| {
        let role = &object["roleRef"];
        let [users, groups, accounts] =
            ["User", "Group", "ServiceAccount"].map(|kind| subjects(object, kind));
        let role = format!("{}/{}", text(&role["kind"]), text(&role["name"]));
        vec![name(object), role.into(), super::age(object, now), users, groups, accounts]
    })
}

fn request_state(status: &Value) -> String {
    let has = |kind: &str| items(&status["conditions"]).iter().any(|one| one["type"] == kind);
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(&status["certificate"]).is_empty() {
        state.push_str(",Issued");
    }
    state
}

/// Table of CertificateSigningRequests.
pub fn table_of_signing_requests() -> Table {
    let columns = &["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"];
    table(columns, |object, now| {
        let spec = &object["spec"];
        let duration = spec["expirationSeconds"].as_i64().map_or_else(|| "<none>".into(), age::human);
        vec![
            name(object),
            super::age(object, now),
            text_or(&spec["signerName"], "<none>").into(),
            text(&spec["username"]).into(),
            duration.into(),
            request_state(&object["status"]).into(),
        ]
    })
}

/// Table of ClusterTrustBundles.
pub fn table_of_trust_bundles() -> Table {
    table(&["Name", "SignerName"], |object, _| {
        vec![name(object), text_or(&object["spec"]["signerName"], "<none>").into()]
    })
}

/// Table of PodCertificateRequests.
pub fn table_of_pod_certificate_requests() -> Table {
    let columns = &["Name", "PodName", "ServiceAccountName", "NodeName", "SignerName", "State"];
    table(columns, |object, _| {
        let spec = &object["spec"];
        let is = |kind| condition(&object["status"]["conditions"], kind) == Some(true);
        let state = ["Issued", "Denied", "Failed"].into_iter().find(|kind| is(kind)).unwrap_or("Pending");
        let mut cells = vec![name(object)];
        let fields = ["podName", "serviceAccountName", "nodeName", "signerName"];
        cells.extend(fields.map(|field| text(&spec[field]).into()));
        cells.push(state.into());
        cells
    })
}

/// Table of webhook configurations.
pub fn table_of_webhooks() -> Table {
    table(&["Name", "Webhooks:integer", "Age"], |object, now| {
        vec![name(object), length(&object["webhooks"]).into(), super::age(object, now)]
    })
}

fn policy_row(object: &Value, now: i64, rules: &str) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = match &spec["paramKind"] {
        Value::Null => "<unset>".to_owned(),
        kind => format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"])),
    };
    vec![name(object), length(&spec[rules]).into(), kind.into(), super::age(object, now)]
}

/// Table of ValidatingAdmissionPolicies.
pub fn table_of_validating_policies() -> Table {
    table(&["Name", "Validations:integer", "ParamKind", "Age"], |object, now| {
        policy_row(object, now, "validations")
    })
}

/// Table of MutatingAdmissionPolicies.
pub fn table_of_mutating_policies() -> Table {
    table(&["Name", "Mutations:integer", "ParamKind", "Age"], |object, now| {
        policy_row(object, now, "mutations")
    })
}

/// Table of bindings of admission policies.
pub fn table_of_policy_bindings() -> Table {
    table(&["Name", "PolicyName", "ParamRef", "Age"], |object, now| {
        let spec = &object["spec"];
        let reference = &spec["paramRef"];
        let shown = match (text(&reference["name"]), text(&reference["namespace"])) {
            ("", _) if reference["selector"].is_null() => "<unset>".to_owned(),
            ("", _) => super::selector(&reference["selector"]),
            (name, "") => format!("*/{name}"),
            (name, namespace) => format!("{namespace}/{name}"),
        };
        vec![name(object), text(&spec["policyName"]).into(), shown.into(), super::age(object, now)]
    })
}

/// Table of APIServices.
pub fn table_of_api_services() -> Table {
    table(&["Name", "Service", "Available", "Age"], |object, now| {
        let service = match &object["spec"]["service"] {
            Value::Null => "Local".to_owned(),
            one => format!("{}/{}", text(&one["namespace"]), text(&one["name"])),
        };
        let available = items(&object["status"]["conditions"]).iter().find(|one| one["type"] == "Available");
        let shown = match available {
            None => "Unknown".to_owned(),
            Some(one) if one["status"] == "True" => "True".to_owned(),
            Some(one) => match text(&one["reason"]) {
                "" => text(&one["status"]).to_owned(),
                reason => format!("{} ({reason})", text(&one["status"])),
            },
        };
        vec![name(object), service.into(), shown.into(), super::age(object, now)]
    })
}

/// Table of FlowSchemas.
pub fn table_of_flow_schemas() -> Table {
    let columns = &["Name", "PriorityLevel", "MatchingPrecedence", "DistinguisherMethod", "Age", "MissingPL"];
    table(columns, |object, now| {
        let spec = &object["spec"];
        let dangling = items(&object["status"]["conditions"]).iter().find(|one| one["type"] == "Dangling");
        vec![
            name(object),
            text(&spec["priorityLevelConfiguration"]["name"]).into(),
            count(&spec["matchingPrecedence"]),
            text_or(&spec["distinguisherMethod"]["type"], "<none>").into(),
            super::age(object, now),
            dangling.map_or("?", |one| text(&one["status"])).into(),
        ]
    })
}

/// Table of PriorityLevelConfigurations.
pub fn table_of_priority_levels() -> Table {
    let columns =
        &["Name", "Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age"];
    table(columns, |object, now| {
        let spec = &object["spec"];
        let limited = &spec["limited"];
        let queuing = &limited["limitResponse"]["queuing"];
        let or_none = |parent: &Value, field: &str| -> Value {
            if parent.is_null() { "<none>".into() } else { count(&parent[field]) }
        };
        vec![
            name(object),
            text(&spec["type"]).into(),
            or_none(limited, "nominalConcurrencyShares"),
            or_none(queuing, "queues"),
            or_none(queuing, "handSize"),
            or_none(queuing, "queueLengthLimit"),
            super::age(object, now),
        ]
    })
}

/// Table of ResourceClaims.
pub fn table_of_resource_claims() -> Table {
    table(&["Name", "State", "Age"], |object, now| {
        let (deleted, status) = (!object["metadata"]["deletionTimestamp"].is_null(), &object["status"]);
        let allocated = !status["allocation"].is_null();
        let states = [
            (deleted, "deleted"),
            (!allocated && !deleted, "pending"),
            (allocated, "allocated"),
            (allocated && length(&status["reservedFor"]) > 0, "reserved"),
        ];
        let shown = joined(states.iter().filter(|(is, _)| *is).map(|(_, state)| *state), ",");
        vec![name(object), shown.into(), super::age(object, now)]
    })
}

/// Table of ResourceSlices.
pub fn table_of_resource_slices() -> Table {
    table(&["Name", "Node", "Driver", "Pool", "Age"], |object, now| {
        let spec = &object["spec"];
        vec![
            name(object),
            text(&spec["nodeName"]).into(),
            text(&spec["driver"]).into(),
            text(&spec["pool"]["name"]).into(),
            super::age(object, now),
        ]
    })
}

/// Table of StorageVersionMigrations.
pub fn table_of_storage_version_migrations() -> Table {
    table(&["Name", "Resource"], |object, _| {
        let resource = &object["spec"]["resource"];
        let parts = ["resource", "version", "group"].map(|field| scalar(&resource[field]));
        let shown = joined(parts.iter().map(String::as_str).filter(|part| !part.is_empty()), ".");
        vec![name(object), shown.into()]
    })
}
