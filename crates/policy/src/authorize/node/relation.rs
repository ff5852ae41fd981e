//! What leads from a node to an object: pods, and what they refer to.
//!
//! Invariant: a mirror pod, which the node itself has made, leads to nothing but itself. Answers to the edges of
//! upstream's graph.

use crate::Lookup;
use gifee_base::{Object, ObjectKey};
use serde_json::Value;
use std::sync::Arc;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// A node and the objects around it.
pub struct Related<'a> {
    /// The node.
    pub node: &'a str,
    /// The objects.
    pub lookup: &'a dyn Lookup,
}

impl Related<'_> {
    /// Whether there is a way to an object.
    pub fn to(&self, resource: &str, namespace: &str, name: &str) -> bool {
        match resource {
            "pods" => self.bound("", "pods", namespace, name, "/spec/nodeName"),
            "volumeattachments" => {
                self.bound("storage.k8s.io", "volumeattachments", "", name, "/spec/nodeName")
            }
            "resourceslices" => self.bound("resource.k8s.io", "resourceslices", "", name, "/spec/nodeName"),
            "podcertificaterequests" => {
                self.bound("certificates.k8s.io", "podcertificaterequests", namespace, name, "/spec/nodeName")
            }
            "persistentvolumes" => self.volume(name),
            "secrets" => self.referred("secrets", namespace, name) || self.secret_of_volume(namespace, name),
            resource => self.referred(resource, namespace, name),
        }
    }

    /// Whether an object names the node itself.
    fn bound(&self, group: &str, resource: &str, namespace: &str, name: &str, pointer: &str) -> bool {
        let object = self.lookup.get(group, resource, &ObjectKey::new(namespace, name));
        let value = object.and_then(|object| object.to_value().ok());
        value.is_some_and(|value| value.pointer(pointer).is_some_and(|found| found == self.node))
    }

    /// Whether a pod on the node refers to an object of its namespace.
    fn referred(&self, resource: &str, namespace: &str, name: &str) -> bool {
        if namespace.is_empty() {
            return false;
        }
        self.lookup.list("", "pods", namespace).iter().any(|pod| self.refers(pod, resource, name))
    }

    fn refers(&self, pod: &Arc<Object>, resource: &str, name: &str) -> bool {
        // Most pods do not mention the name at all: look before decoding. A claim that is made for a volume of a pod
        // is named after both.
        let mentions = memchr::memmem::find(pod.raw(), name.as_bytes()).is_some()
            || (resource == "persistentvolumeclaims" && name.starts_with(pod.name()));
        if !mentions {
            return false;
        }
        let Ok(value) = pod.to_value() else { return false };
        value["spec"]["nodeName"] == self.node
            && value["metadata"]["annotations"][MIRROR].is_null()
            && names(&value, resource, name)
    }

    /// Whether a pod on the node uses the claim of a volume.
    fn volume(&self, name: &str) -> bool {
        let volume = self.lookup.get("", "persistentvolumes", &ObjectKey::cluster(name));
        volume.and_then(|volume| volume.to_value().ok()).is_some_and(|volume| self.claim_of(&volume))
    }

    fn claim_of(&self, volume: &Value) -> bool {
        let claim = &volume["spec"]["claimRef"];
        let (Some(namespace), Some(name)) = (claim["namespace"].as_str(), claim["name"].as_str()) else {
            return false;
        };
        self.referred("persistentvolumeclaims", namespace, name)
    }

    /// Whether a volume that a pod on the node uses needs a Secret.
    fn secret_of_volume(&self, namespace: &str, name: &str) -> bool {
        self.lookup.list("", "persistentvolumes", "").iter().any(|volume| {
            if memchr::memmem::find(volume.raw(), name.as_bytes()).is_none() {
                return false;
            }
            let Ok(value) = volume.to_value() else { return false };
            volume_secrets(&value).any(|found| found == (namespace, name)) && self.claim_of(&value)
        })
    }
}

/// Namespace and name of the Secrets that a node agent needs for a volume.
fn volume_secrets(volume: &Value) -> impl Iterator<Item = (&str, &str)> {
    const REFERENCES: [(&str, &str); 10] = [
        ("cephfs", "secretRef"),
        ("cinder", "secretRef"),
        ("flexVolume", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
        ("iscsi", "secretRef"),
        ("storageos", "secretRef"),
        ("csi", "nodePublishSecretRef"),
        ("csi", "nodeStageSecretRef"),
        ("csi", "nodeExpandSecretRef"),
    ];
    let spec = &volume["spec"];
    let own = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    let references = REFERENCES.iter().filter_map(move |(source, field)| {
        let reference = &spec[*source][*field];
        Some((reference["namespace"].as_str().unwrap_or(own), reference["name"].as_str()?))
    });
    let azure = &spec["azureFile"];
    let azure =
        azure["secretName"].as_str().map(|name| (azure["secretNamespace"].as_str().unwrap_or(own), name));
    references.chain(azure)
}

/// Whether a pod refers to an object.
fn names(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "persistentvolumeclaims" => volumes(spec).any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == name
                || (volume["ephemeral"].is_object()
                    && format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"])) == name)
        }),
        "resourceclaims" => {
            let status = &pod["status"];
            list(&spec["resourceClaims"]).any(|claim| claim["resourceClaimName"] == name)
                || list(&status["resourceClaimStatuses"]).any(|claim| claim["resourceClaimName"] == name)
                || status["extendedResourceClaimStatus"]["resourceClaimName"] == name
        }
        "configmaps" => {
            volumes(spec).any(|volume| {
                volume["configMap"]["name"] == name
                    || sources(volume).any(|source| source["configMap"]["name"] == name)
            }) || environment(spec, "configMapKeyRef", "configMapRef", name)
        }
        "secrets" => {
            list(&spec["imagePullSecrets"]).any(|secret| secret["name"] == name)
                || volumes(spec).any(|volume| volume_secret(volume, name))
                || environment(spec, "secretKeyRef", "secretRef", name)
        }
        _ => false,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn volumes(spec: &Value) -> impl Iterator<Item = &Value> {
    list(&spec["volumes"])
}

fn sources(volume: &Value) -> impl Iterator<Item = &Value> {
    list(&volume["projected"]["sources"])
}

fn volume_secret(volume: &Value, name: &str) -> bool {
    let by_driver =
        ["csi", "flexVolume", "cephfs", "cinder", "rbd", "scaleIO", "iscsi", "storageos", "azureFile"];
    volume["secret"]["secretName"] == name
        || sources(volume).any(|source| source["secret"]["name"] == name)
        || by_driver.iter().any(|driver| {
            let driver = &volume[*driver];
            driver["secretRef"]["name"] == name
                || driver["nodePublishSecretRef"]["name"] == name
                || driver["secretName"] == name
        })
}

fn environment(spec: &Value, key: &str, whole: &str, name: &str) -> bool {
    ["initContainers", "containers", "ephemeralContainers"].iter().any(|containers| {
        list(&spec[*containers]).any(|container| {
            list(&container["env"]).any(|one| one["valueFrom"][key]["name"] == name)
                || list(&container["envFrom"]).any(|one| one[whole]["name"] == name)
        })
    })
}
