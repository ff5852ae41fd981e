//! What a claim that asks for a folder of a node gets, and what becomes of the folder. Pure.

use crate::persistentvolume::object::{PROVISIONED_BY, SELECTED_NODE, STORAGE_PROVISIONER};
use gifee_base::Object;
use serde_json::{Value, json};
use std::sync::Arc;

/// The provisioner's name, in classes, claims and volumes, and as a finalizer.
pub const PROVISIONER: &str = "gifee.io/local-path";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What to do for a claim.
#[derive(Debug, PartialEq)]
pub enum Wish {
    /// Nothing, or nothing yet.
    Nothing,
    /// A folder on a node, and the volume that says so, which lacks the folder's path.
    Make {
        /// The node.
        node: String,
        /// Name of folder and volume.
        name: String,
        /// The volume.
        volume: Box<Value>,
    },
    /// The node that was chosen is not there: another one is to be chosen.
    Elsewhere,
    /// It cannot be had.
    Refuse(String),
}

/// Plans for a claim, with its class and the nodes.
pub fn claim(claim: &Value, class: Option<&Value>, nodes: &[Arc<Object>]) -> Wish {
    let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
    let annotation = |key: &str| metadata["annotations"][key].as_str();
    let ours = STORAGE_PROVISIONER.iter().any(|key| annotation(key) == Some(PROVISIONER));
    let bound = spec["volumeName"].as_str().is_some_and(|name| !name.is_empty());
    let Some(class) = class.filter(|class| ours && !bound && class["provisioner"] == PROVISIONER) else {
        return Wish::Nothing;
    };
    if metadata["deletionTimestamp"].is_string() {
        return Wish::Nothing;
    }
    let selected = annotation(SELECTED_NODE);
    let node = match selected {
        Some(name) => nodes.iter().find(|node| node.name() == name),
        None if class["volumeBindingMode"] == "WaitForFirstConsumer" => return Wish::Nothing,
        // Whoever does not wait gets the first node that takes pods.
        None => nodes.iter().filter(|node| usable(node)).min_by_key(|node| node.name().to_owned()),
    };
    let Some(node) = node else {
        return if selected.is_some() {
            Wish::Elsewhere
        } else {
            Wish::Refuse("no node is ready".to_owned())
        };
    };
    if spec["volumeMode"] == "Block" {
        return Wish::Refuse("volumes of this class are folders: volumeMode Block cannot be had".to_owned());
    }
    if spec["dataSourceRef"].is_object() || spec["dataSource"].is_object() {
        return Wish::Refuse("volumes of this class begin empty: a data source cannot be had".to_owned());
    }
    let name = format!("pvc-{}", metadata["uid"].as_str().unwrap_or_default());
    let volume = Box::new(volume_for(claim, class, node, &name));
    Wish::Make { node: node.name().to_owned(), name, volume }
}

fn hostname(node: &Object) -> &str {
    node.labels().find(|(key, _)| *key == HOSTNAME).map_or(node.name(), |(_, value)| value)
}

fn usable(node: &Object) -> bool {
    let Ok(tree) = node.to_value() else { return false };
    let mut conditions = tree["status"]["conditions"].as_array().into_iter().flatten();
    tree["spec"]["unschedulable"] != true
        && conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn volume_for(claim: &Value, class: &Value, node: &Object, name: &str) -> Value {
    let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
    let hostname = hostname(node);
    let here = json!([{ "matchExpressions": [{ "key": HOSTNAME, "operator": "In", "values": [hostname] }] }]);
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": name, "finalizers": [PROVISIONER], "annotations": { PROVISIONED_BY: PROVISIONER }
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": { "storage": spec["resources"]["requests"]["storage"] },
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": metadata["namespace"],
                "name": metadata["name"], "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]
            },
            "nodeAffinity": { "required": { "nodeSelectorTerms": here } },
            "persistentVolumeReclaimPolicy": class["reclaimPolicy"].as_str().unwrap_or("Delete"),
            "storageClassName": class["metadata"]["name"],
            "volumeMode": "Filesystem"
        }
    })
}

/// What to do for a volume.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Stays,
    /// Its folder goes, and then the volume; without a node, nobody has the folder any more.
    Deleted(Option<String>),
    /// Somebody deletes it who wants to keep the folder.
    Forgotten,
}

/// Plans for a volume.
pub fn volume(volume: &Value, nodes: &[Arc<Object>]) -> Fate {
    let (metadata, spec) = (&volume["metadata"], &volume["spec"]);
    if metadata["annotations"][PROVISIONED_BY] != PROVISIONER {
        return Fate::Stays;
    }
    let deleting = metadata["deletionTimestamp"].is_string();
    let ours = metadata["finalizers"].as_array().into_iter().flatten().any(|one| one == PROVISIONER);
    let free = matches!(volume["status"]["phase"].as_str(), Some("Released" | "Failed" | "Available"));
    if spec["persistentVolumeReclaimPolicy"] != "Delete" {
        return if deleting && ours && free { Fate::Forgotten } else { Fate::Stays };
    }
    let released = volume["status"]["phase"] == "Released";
    if !(released && ours || deleting && ours && free) {
        return Fate::Stays;
    }
    let terms = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"];
    let hostname = terms[0]["matchExpressions"][0]["values"][0].as_str().unwrap_or_default();
    let node = nodes.iter().find(|node| self::hostname(node) == hostname);
    Fate::Deleted(node.map(|node| node.name().to_owned()))
}
