//! Tables of nodes, namespaces, configuration, rights and storage.

use super::{age, condition, count, items, joined, length, name, scalar, table, text, text_or};
use crate::kind::Table;
use serde_json::Value;
use std::collections::BTreeSet;

fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => text(value),
            None => "",
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    if roles.is_empty() { "<none>".into() } else { joined(roles, ",") }
}

fn node_state(node: &Value) -> String {
    let mut state = match condition(&node["status"]["conditions"], "Ready") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    state
}

/// Table of Nodes.
pub fn table_of_nodes() -> Table {
    let columns = &[
        "Name",
        "Status",
        "Roles",
        "Age",
        "Version",
        "+Internal-IP",
        "+External-IP",
        "+OS-Image",
        "+Kernel-Version",
        "+Container-Runtime",
    ];
    table(columns, |object, now| {
        let status = &object["status"];
        let info = &status["nodeInfo"];
        let address = |kind: &str| -> Value {
            let found = items(&status["addresses"]).iter().find(|one| one["type"] == kind);
            found.map_or("<none>", |one| text(&one["address"])).into()
        };
        vec![
            name(object),
            node_state(object).into(),
            roles(object).into(),
            super::age(object, now),
            text(&info["kubeletVersion"]).into(),
            address("InternalIP"),
            address("ExternalIP"),
            text_or(&info["osImage"], "<unknown>").into(),
            text_or(&info["kernelVersion"], "<unknown>").into(),
            text_or(&info["containerRuntimeVersion"], "<unknown>").into(),
        ]
    })
}

/// Table of Namespaces.
pub fn table_of_namespaces() -> Table {
    table(&["Name", "Status", "Age"], |object, now| {
        vec![name(object), text(&object["status"]["phase"]).into(), super::age(object, now)]
    })
}

/// Table of Secrets.
pub fn table_of_secrets() -> Table {
    table(&["Name", "Type", "Data", "Age"], |object, now| {
        let data = length(&object["data"]);
        vec![name(object), text(&object["type"]).into(), data.into(), super::age(object, now)]
    })
}

/// Table of ConfigMaps.
pub fn table_of_config_maps() -> Table {
    table(&["Name", "Data", "Age"], |object, now| {
        let data = length(&object["data"]) + length(&object["binaryData"]);
        vec![name(object), data.into(), super::age(object, now)]
    })
}

/// Table of ServiceAccounts.
pub fn table_of_service_accounts() -> Table {
    table(&["Name", "Secrets", "Age"], |object, now| {
        vec![name(object), length(&object["secrets"]).into(), super::age(object, now)]
    })
}

/// Table of ComponentStatuses.
pub fn table_of_component_statuses() -> Table {
    table(&["Name", "Status", "Message", "Error"], |object, _| {
        let healthy = items(&object["conditions"]).iter().find(|one| one["type"] == "Healthy");
        let state = match healthy.map(|one| one["status"] == "True") {
            Some(true) => "Healthy",
            Some(false) => "Unhealthy",
            None => "Unknown",
        };
        let [message, error] =
            ["message", "error"].map(|field| healthy.map_or("", |one| text(&one[field])).into());
        vec![name(object), state.into(), message, error]
    })
}

fn event_source(event: &Value) -> String {
    let component = text_or(&event["source"]["component"], text(&event["reportingComponent"]));
    match text_or(&event["source"]["host"], text(&event["reportingInstance"])) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}

/// Table of Events, in the form of the core group.
pub fn table_of_events() -> Table {
    let columns = &[
        "Last Seen",
        "Type",
        "Reason",
        "Object",
        "+Subobject",
        "+Source",
        "Message",
        "+First Seen",
        "+Count",
        "+Name",
    ];
    table(columns, |event, now| {
        let first = match &event["firstTimestamp"] {
            Value::Null => age::since(&event["eventTime"], now),
            at => age::since(at, now),
        };
        let series = &event["series"];
        let last = match (&series["lastObservedTime"], &event["lastTimestamp"]) {
            (Value::Null, Value::Null) => first.clone(),
            (Value::Null, at) | (at, _) => age::since(at, now),
        };
        let counted = if series.is_null() { &event["count"] } else { &series["count"] };
        let counted = counted.as_i64().filter(|count| *count != 0 || !series.is_null()).unwrap_or(1);
        let involved = &event["involvedObject"];
        let mut target = text(&involved["kind"]).to_lowercase();
        if !text(&involved["name"]).is_empty() {
            target = format!("{target}/{}", text(&involved["name"]));
        }
        vec![
            last.into(),
            text(&event["type"]).into(),
            text(&event["reason"]).into(),
            target.into(),
            text(&involved["fieldPath"]).into(),
            event_source(event).into(),
            text(&event["message"]).trim().into(),
            first.into(),
            counted.into(),
            name(event),
        ]
    })
}

/// Table of ResourceQuotas.
pub fn table_of_resource_quotas() -> Table {
    table(&["Name", "Request", "Limit", "Age"], |object, now| {
        let status = &object["status"];
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
            let used = text_or(&status["used"][resource], "0");
            let shown = format!("{resource}: {used}/{}", text(hard));
            if resource.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
        }
        vec![name(object), requests.join(", ").into(), limits.join(", ").into(), super::age(object, now)]
    })
}

const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

fn access_modes(modes: &Value) -> Value {
    let list = items(modes);
    joined(MODES.iter().filter(|(mode, _)| list.iter().any(|one| one == mode)).map(|(_, short)| *short), ",")
        .into()
}

fn phase(object: &Value) -> Value {
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    if deleting { "Terminating".into() } else { text(&object["status"]["phase"]).into() }
}

/// The class of a claim or volume: the old annotation wins over the field.
fn storage_class(object: &Value) -> Value {
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    annotation.as_str().unwrap_or_else(|| text(&object["spec"]["storageClassName"])).into()
}

/// Table of PersistentVolumes.
pub fn table_of_persistent_volumes() -> Table {
    let columns = &[
        "Name",
        "Capacity",
        "Access Modes",
        "Reclaim Policy",
        "Status",
        "Claim",
        "StorageClass",
        "VolumeAttributesClass",
        "Reason",
        "Age",
        "+VolumeMode",
    ];
    table(columns, |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        let claim = &spec["claimRef"];
        let claim = if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
        };
        vec![
            name(object),
            text_or(&spec["capacity"]["storage"], "0").into(),
            access_modes(&spec["accessModes"]),
            text(&spec["persistentVolumeReclaimPolicy"]).into(),
            phase(object),
            claim.into(),
            storage_class(object),
            text_or(&spec["volumeAttributesClassName"], "<unset>").into(),
            text(&status["reason"]).into(),
            super::age(object, now),
            text_or(&spec["volumeMode"], "<unset>").into(),
        ]
    })
}

/// Table of PersistentVolumeClaims.
pub fn table_of_persistent_volume_claims() -> Table {
    let columns = &[
        "Name",
        "Status",
        "Volume",
        "Capacity",
        "Access Modes",
        "StorageClass",
        "VolumeAttributesClass",
        "Age",
        "+VolumeMode",
    ];
    table(columns, |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        let bound = !text(&spec["volumeName"]).is_empty();
        let capacity = if bound { text_or(&status["capacity"]["storage"], "0") } else { "" };
        let modes = if bound { access_modes(&status["accessModes"]) } else { "".into() };
        vec![
            name(object),
            phase(object),
            text(&spec["volumeName"]).into(),
            capacity.into(),
            modes,
            storage_class(object),
            text_or(&spec["volumeAttributesClassName"], "<unset>").into(),
            super::age(object, now),
            text_or(&spec["volumeMode"], "<unset>").into(),
        ]
    })
}

/// The name of a class, marked if it is the default one.
fn class_name(object: &Value, annotations: &[&str]) -> Value {
    let marked = |one: &&str| object["metadata"]["annotations"][*one] == "true";
    let default = if annotations.iter().any(marked) { " (default)" } else { "" };
    format!("{}{default}", text(&object["metadata"]["name"])).into()
}

/// Table of StorageClasses.
pub fn table_of_storage_classes() -> Table {
    let columns =
        &["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"];
    table(columns, |object, now| {
        let defaults = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        vec![
            class_name(object, &defaults),
            text(&object["provisioner"]).into(),
            text_or(&object["reclaimPolicy"], "Delete").into(),
            text_or(&object["volumeBindingMode"], "Immediate").into(),
            (object["allowVolumeExpansion"] == true).into(),
            super::age(object, now),
        ]
    })
}

/// Table of VolumeAttributesClasses.
pub fn table_of_volume_attributes_classes() -> Table {
    table(&["Name", "DriverName", "Age"], |object, now| {
        let default = ["volumeattributesclass.kubernetes.io/is-default-class"];
        vec![class_name(object, &default), text(&object["driverName"]).into(), super::age(object, now)]
    })
}

/// Table of VolumeAttachments.
pub fn table_of_volume_attachments() -> Table {
    table(&["Name", "Attacher", "PV", "Node", "Attached:boolean", "Age"], |object, now| {
        let spec = &object["spec"];
        vec![
            name(object),
            text(&spec["attacher"]).into(),
            text(&spec["source"]["persistentVolumeName"]).into(),
            text(&spec["nodeName"]).into(),
            (object["status"]["attached"] == true).into(),
            super::age(object, now),
        ]
    })
}

/// Table of CSINodes.
pub fn table_of_csi_nodes() -> Table {
    table(&["Name", "Drivers:integer", "Age"], |object, now| {
        vec![name(object), length(&object["spec"]["drivers"]).into(), super::age(object, now)]
    })
}

/// Table of CSIDrivers.
pub fn table_of_csi_drivers() -> Table {
    let columns = &[
        "Name",
        "AttachRequired:boolean",
        "PodInfoOnMount:boolean",
        "StorageCapacity:boolean",
        "TokenRequests",
        "RequiresRepublish:boolean",
        "Modes",
        "Age",
    ];
    table(columns, |object, now| {
        let spec = &object["spec"];
        let requests = match spec["tokenRequests"].as_array() {
            None => "<unset>".to_owned(),
            Some(list) => joined(list.iter().map(|one| text(&one["audience"])), ","),
        };
        let modes = joined(items(&spec["volumeLifecycleModes"]).iter().map(text), ",");
        vec![
            name(object),
            (spec["attachRequired"] != false).into(),
            (spec["podInfoOnMount"] == true).into(),
            (spec["storageCapacity"] == true).into(),
            requests.into(),
            (spec["requiresRepublish"] == true).into(),
            text_or(&modes.into(), "<none>").into(),
            super::age(object, now),
        ]
    })
}

/// Table of CSIStorageCapacities.
pub fn table_of_csi_storage_capacities() -> Table {
    table(&["Name", "StorageClassName", "Capacity"], |object, _| {
        let capacity =
            if object["capacity"].is_null() { "<unset>".into() } else { scalar(&object["capacity"]) };
        vec![name(object), text(&object["storageClassName"]).into(), capacity.into()]
    })
}

/// Table of PriorityClasses.
pub fn table_of_priority_classes() -> Table {
    let columns = &["Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"];
    table(columns, |object, now| {
        vec![
            name(object),
            count(&object["value"]),
            (object["globalDefault"] == true).into(),
            super::age(object, now),
            text(&object["preemptionPolicy"]).into(),
        ]
    })
}

/// Table of RuntimeClasses.
pub fn table_of_runtime_classes() -> Table {
    table(&["Name", "Handler", "Age"], |object, now| {
        vec![name(object), text(&object["handler"]).into(), super::age(object, now)]
    })
}

/// Table of Leases.
pub fn table_of_leases() -> Table {
    table(&["Name", "Holder", "Age"], |object, now| {
        vec![name(object), text(&object["spec"]["holderIdentity"]).into(), super::age(object, now)]
    })
}
