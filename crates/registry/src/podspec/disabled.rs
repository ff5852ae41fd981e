//! Fields that the API knows and that do nothing yet: they are dropped before an object is judged.
//!
//! Answers to `dropDisabledFields` of upstream's `pkg/api/pod/util.go`, with the features that version 1.37 leaves off;
//! but for GenericWorkload, since the scheduler knows groups of pods.

use crate::value::{items, remove};
use serde_json::Value;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// A field of the spec itself.
const SPEC: &str = "evictionResponders";
/// Fields of sources of volumes.
const SOURCE: [(&str, &str); 5] = [
    ("emptyDir", "mode"),
    ("secret", "defaultUser"),
    ("configMap", "defaultUser"),
    ("downwardAPI", "defaultUser"),
    ("projected", "defaultUser"),
];

/// Drops them from the spec of a pod or template.
pub(crate) fn drop_disabled(spec: &mut Value) {
    remove(spec, SPEC);
    if items(&spec["volumes"]).iter().any(volume_uses) {
        for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
            clean_volume(volume);
        }
    }
    for list in CONTAINERS {
        if !items(&spec[list]).iter().any(container_uses) {
            continue;
        }
        for container in spec[list].as_array_mut().into_iter().flatten() {
            clean_container(container);
        }
    }
}

fn volume_uses(volume: &Value) -> bool {
    let files = |source: &Value| items(&source["items"]).iter().any(|item| !item["user"].is_null());
    let projected = |source: &Value| {
        source.as_object().into_iter().flatten().any(|(_, body)| !body["user"].is_null() || files(body))
    };
    SOURCE.iter().any(|(kind, field)| {
        let source = &volume[*kind];
        !source.is_null() && (!source[*field].is_null() || files(source))
    }) || items(&volume["projected"]["sources"]).iter().any(projected)
}

fn clean_files(source: &mut Value) {
    remove(source, "user");
    for item in source.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        remove(item, "user");
    }
}

fn clean_volume(volume: &mut Value) {
    for (kind, field) in SOURCE {
        if let Some(source) = volume.get_mut(kind) {
            remove(source, field);
            clean_files(source);
        }
    }
    let sources = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        for (_, body) in source.as_object_mut().into_iter().flatten() {
            clean_files(body);
        }
    }
}

fn container_uses(container: &Value) -> bool {
    let action = |action: &Value| {
        let fields = [&action["httpGet"]["protocol"], &action["grpc"]["mode"]];
        fields.into_iter().any(|field| !field.is_null())
    };
    let lifecycle = &container["lifecycle"];
    PROBES.iter().any(|probe| action(&container[*probe]))
        || !lifecycle["stopSignal"].is_null()
        || ["postStart", "preStop"].iter().any(|hook| action(&lifecycle[*hook]))
        || items(&container["volumeMounts"]).iter().any(|mount| !mount["bindMountOptions"].is_null())
}

fn clean_action(action: &mut Value) {
    if let Some(get) = action.get_mut("httpGet") {
        remove(get, "protocol");
    }
    if let Some(call) = action.get_mut("grpc") {
        remove(call, "mode");
    }
}

fn clean_container(container: &mut Value) {
    for probe in PROBES {
        if let Some(probe) = container.get_mut(probe) {
            clean_action(probe);
        }
    }
    for mount in container.get_mut("volumeMounts").and_then(Value::as_array_mut).into_iter().flatten() {
        remove(mount, "bindMountOptions");
    }
    let Some(lifecycle) = container.get_mut("lifecycle") else { return };
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.get_mut(hook) {
            clean_action(hook);
        }
    }
    let dropped = remove(lifecycle, "stopSignal").is_some();
    if dropped && crate::value::is_empty(lifecycle) {
        remove(container, "lifecycle");
    }
}
