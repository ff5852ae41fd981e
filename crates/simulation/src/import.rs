//! A cluster's objects taken into a simulation: from a live cluster, or from a file that `kubectl get -o yaml` wrote.
//!
//! Invariant: what is read is only read. Objects come in an order in which nothing refers to what is not there yet,
//! and owners are found again under the UIDs that they have here.

use crate::error::{Error, Result, While};
use crate::workload::documents;
use gifee_base::ObjectKey;
use gifee_base::{Gvr, Reason};
use gifee_client::{Client, ListOptions, PatchKind};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// What is taken in, in this order: API version, kind, resource, whether it lives in namespaces.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("v1", "Namespace", "namespaces", false),
    ("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", false),
    ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", false),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses", false),
    ("storage.k8s.io/v1", "CSIDriver", "csidrivers", false),
    ("v1", "Node", "nodes", false),
    ("storage.k8s.io/v1", "CSINode", "csinodes", false),
    ("v1", "PersistentVolume", "persistentvolumes", false),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "LimitRange", "limitranges", true),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "Service", "services", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "ReplicaSet", "replicasets", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("apps/v1", "ControllerRevision", "controllerrevisions", true),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("v1", "ReplicationController", "replicationcontrollers", true),
    ("batch/v1", "CronJob", "cronjobs", true),
    ("batch/v1", "Job", "jobs", true),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    ("scheduling.k8s.io/v1beta1", "PodGroup", "podgroups", true),
    ("v1", "Pod", "pods", true),
];
/// Kinds whose status is part of what they are.
const STATEFUL: &[&str] =
    &["Node", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "ReplicaSet", "Job"];

/// What was taken in.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// How many objects.
    pub count: usize,
    /// Nodes, which are to be simulated from now on.
    pub nodes: Vec<String>,
    /// Objects that this server did not take, and why.
    pub refused: Vec<String>,
}

fn gvr(api_version: &str, resource: &str) -> Gvr {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Gvr::new(group, version, resource)
}

/// Reads a live cluster's objects.
///
/// # Errors
/// If it does not give them.
pub async fn live(client: &Client) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for (api_version, kind, resource, _) in KINDS {
        let gvr = gvr(api_version, resource);
        let page = match client.list_all(&gvr, "", &ListOptions::default()).await {
            Ok(page) => page,
            Err(error) if error.is_not_found() => continue,
            Err(source) => return Err(Error::Call { what: format!("reading {gvr} of the cluster"), source }),
        };
        for object in page.items {
            let mut value =
                object.to_value().map_err(|error| Error::field(object.key().to_string(), error))?;
            value["apiVersion"] = (*api_version).into();
            value["kind"] = (*kind).into();
            found.push(value);
        }
    }
    Ok(found)
}

/// Reads objects out of a file.
///
/// # Errors
/// If it is wrong.
pub fn file(path: &Path) -> Result<Vec<Value>> {
    let objects = documents(path)?;
    for (index, object) in objects.iter().enumerate() {
        for field in ["apiVersion", "kind"] {
            if !object[field].is_string() {
                return Err(Error::field(format!("{}: items[{index}].{field}", path.display()), "required"));
            }
        }
    }
    Ok(objects)
}

/// Writes objects into an empty cluster whose controllers do not run yet.
///
/// # Errors
/// If the server does not answer. What it refuses is told of instead.
pub async fn write(client: &Client, objects: &[Value]) -> Result<Imported> {
    let mut imported = Imported::default();
    let mut uids: HashMap<String, String> = HashMap::new();
    for (api_version, kind, resource, namespaced) in KINDS {
        let gvr = gvr(api_version, resource);
        for object in objects.iter().filter(|one| one["kind"] == *kind && one["apiVersion"] == *api_version) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let namespace = match namespaced {
                true => object["metadata"]["namespace"].as_str().unwrap_or("default"),
                false => "",
            };
            // What has ended takes no room, and a Job would run again.
            if has_ended(object) {
                continue;
            }
            let key = ObjectKey::new(namespace, &name);
            let made = match client.create(&gvr, namespace, cleaned(object, &uids)).await {
                Ok(made) => made,
                Err(error) if error.is(Reason::AlreadyExists) => {
                    client.get(&gvr, &key).await.while_doing(|| format!("reading {gvr} {key}"))?
                }
                Err(error @ gifee_client::Error::Status(_)) => {
                    imported.refused.push(format!("{kind} {key}: {error}"));
                    continue;
                }
                Err(source) => return Err(Error::Call { what: format!("writing {gvr} {key}"), source }),
            };
            if let Some(uid) = object["metadata"]["uid"].as_str() {
                uids.insert(uid.to_owned(), made.uid().to_owned());
            }
            if STATEFUL.contains(kind) && object["status"].is_object() {
                let patch = json!({ "status": object["status"] });
                if let Err(error) = client.patch_status(&gvr, &key, PatchKind::Merge, patch).await {
                    imported.refused.push(format!("status of {kind} {key}: {error}"));
                }
            }
            imported.count += 1;
            if *kind == "Node" {
                imported.nodes.push(name);
            }
        }
    }
    Ok(imported)
}

/// Whether an object is a pod or a Job that has ended.
fn has_ended(object: &Value) -> bool {
    let status = &object["status"];
    match object["kind"].as_str() {
        Some("Pod") => matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")),
        Some("Job") => status["conditions"].as_array().into_iter().flatten().any(|one| {
            matches!(one["type"].as_str(), Some("Complete" | "Failed")) && one["status"] == "True"
        }),
        _ => false,
    }
}

/// An object without what only its old server knew, its owners under their new UIDs.
fn cleaned(object: &Value, uids: &HashMap<String, String>) -> Value {
    let mut object = object.clone();
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "selfLink",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            metadata.remove(field);
        }
        // Nobody is here who would take away others; by this one a Job counts its pods.
        if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|one| one == "batch.kubernetes.io/job-tracking");
        }
        if let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
            // An owner that is not here, a custom resource perhaps, would have the object collected.
            owners.retain_mut(|owner| {
                let new = owner["uid"].as_str().and_then(|uid| uids.get(uid));
                let known = new.is_some();
                if let Some(new) = new {
                    owner["uid"] = new.as_str().into();
                }
                known
            });
        }
    }
    if kind == "Service"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            if spec.get(field).is_some_and(|value| *value != "None" && *value != json!(["None"])) {
                spec.remove(field);
            }
        }
    }
    if kind == "Job" && object["spec"]["selector"].is_object() {
        // Its pods bear the UID that it had.
        object["spec"]["manualSelector"] = true.into();
    }
    if kind != "Node"
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
    object
}
