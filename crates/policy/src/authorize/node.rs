//! The Node authorizer: a node agent may read what the pods bound to its node refer to, and nothing else.
//!
//! Answers to upstream's `node` authorizer. Upstream keeps a graph; here the pods of the namespace in question
//! are looked through when a node asks, which it does once for each object it then watches.

use super::{Decision, Rule, bootstrap, rbac};
use crate::{Attributes, Lookup};
use gifee_base::{FieldSelector, Object, ObjectKey};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";

/// The name of the node that a user is the agent of.
pub fn node_of<'a>(name: &'a str, groups: &[String]) -> Option<&'a str> {
    let node = name.strip_prefix(USER_PREFIX).filter(|node| !node.is_empty())?;
    groups.iter().any(|group| group == GROUP).then_some(node)
}

/// What every node may do, wherever it is: the rules of `system:node`.
static NODE_RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| bootstrap::rules_of("system:node"));

/// Decides what nodes ask; has no opinion on others.
pub fn authorize(attributes: &Attributes, lookup: &dyn Lookup) -> Decision {
    let Some(node) = node_of(&attributes.user.name, &attributes.user.groups) else {
        return Decision::NoOpinion(Arc::default());
    };
    if attributes.is_resource
        && let Some(decision) = own_resource(node, attributes, lookup)
    {
        return decision;
    }
    if NODE_RULES.iter().any(|rule| rbac::covers(rule, attributes)) {
        return Decision::Allow(Arc::default());
    }
    Decision::NoOpinion(Arc::default())
}

/// Decisions on resources of which a node sees only a part; None where the common rules hold.
fn own_resource(node: &str, attributes: &Attributes, lookup: &dyn Lookup) -> Option<Decision> {
    let refused = |why: &str| Some(Decision::NoOpinion(why.into()));
    let reads = matches!(attributes.verb.as_str(), "get" | "list" | "watch");
    match (attributes.group.as_str(), attributes.resource.as_str(), attributes.subresource.as_str()) {
        ("", "secrets" | "configmaps", "") => {
            if !reads {
                return refused("can only read resources of this type");
            }
            referenced(node, attributes, lookup)
        }
        ("", "persistentvolumeclaims", "" | "status") if !attributes.name.is_empty() => {
            referenced(node, attributes, lookup)
        }
        ("", "persistentvolumes", "") => {
            if attributes.verb != "get" {
                return refused("can only get individual resources of this type");
            }
            let volume = lookup.get("", "persistentvolumes", &ObjectKey::cluster(&attributes.name))?;
            let claim = &volume.to_value().ok()?["spec"]["claimRef"];
            let (namespace, name) = (claim["namespace"].as_str()?, claim["name"].as_str()?);
            let mut of_claim = attributes.clone();
            (of_claim.resource, of_claim.namespace, of_claim.name) =
                ("persistentvolumeclaims".into(), namespace.into(), name.into());
            referenced(node, &of_claim, lookup)
        }
        ("", "serviceaccounts", "token") => referenced(node, attributes, lookup),
        ("", "nodes", "") if reads => own_by_name(node, attributes, "metadata.name"),
        ("", "pods", "") if matches!(attributes.verb.as_str(), "list" | "watch") => {
            let selector = FieldSelector::parse(&attributes.field_selector).ok()?;
            if selector.pinned("spec.nodeName") == Some(node) || own_pod(node, attributes, &selector, lookup)
            {
                None
            } else {
                refused("can only list/watch pods with spec.nodeName field selector")
            }
        }
        ("", "pods", "") if attributes.verb == "get" => {
            let pod = lookup.get("", "pods", &ObjectKey::new(&attributes.namespace, &attributes.name));
            match pod {
                Some(pod) if !bound_to(&pod, node) => {
                    refused("no relationship found between node and this object")
                }
                _ => None,
            }
        }
        ("coordination.k8s.io", "leases", "") => {
            if attributes.namespace != "kube-node-lease" {
                return refused("can only access leases in the \"kube-node-lease\" system namespace");
            }
            if attributes.verb != "create" && attributes.name != node {
                return refused("can only access node lease with the same name as the requesting node");
            }
            None
        }
        ("storage.k8s.io", "csinodes", "") if attributes.verb != "create" && attributes.name != node => {
            refused("can only access CSINode with the same name as the requesting node")
        }
        _ => None,
    }
}

fn own_by_name(node: &str, attributes: &Attributes, field: &str) -> Option<Decision> {
    let selector = FieldSelector::parse(&attributes.field_selector).ok()?;
    if attributes.name == node || selector.pinned(field) == Some(node) {
        return None;
    }
    Some(Decision::NoOpinion("node can only read its own Node object".into()))
}

fn own_pod(node: &str, attributes: &Attributes, selector: &FieldSelector, lookup: &dyn Lookup) -> bool {
    let Some(name) = selector.pinned("metadata.name") else { return false };
    lookup
        .get("", "pods", &ObjectKey::new(&attributes.namespace, name))
        .is_some_and(|pod| bound_to(&pod, node))
}

fn bound_to(pod: &Arc<Object>, node: &str) -> bool {
    pod.to_value().is_ok_and(|pod| pod["spec"]["nodeName"] == node)
}

/// Whether a pod on the node refers to the object that is asked for.
fn referenced(node: &str, attributes: &Attributes, lookup: &dyn Lookup) -> Option<Decision> {
    let selector = FieldSelector::parse(&attributes.field_selector).unwrap_or_default();
    let name = if attributes.name.is_empty() {
        selector.pinned("metadata.name").unwrap_or_default()
    } else {
        &attributes.name
    };
    if name.is_empty() || attributes.namespace.is_empty() {
        return Some(Decision::NoOpinion("No Object name found".into()));
    }
    for pod in lookup.list("", "pods", &attributes.namespace) {
        // Most pods do not mention the name at all: look before decoding.
        if memchr::memmem::find(pod.raw(), name.as_bytes()).is_none() {
            continue;
        }
        let Ok(value) = pod.to_value() else { continue };
        if value["spec"]["nodeName"] == node && refers(&value, &attributes.resource, name) {
            return Some(Decision::Allow(Arc::default()));
        }
    }
    let why = format!("no relationship found between node '{node}' and this object");
    Some(Decision::NoOpinion(why.into()))
}

fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "persistentvolumeclaims" => volumes(spec).any(|volume| {
            volume["persistentVolumeClaim"]["claimName"] == name
                || (volume["ephemeral"].is_object()
                    && format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"])) == name)
        }),
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
    let by_driver = ["csi", "flexVolume", "cephfs", "rbd", "scaleIO", "iscsi", "storageos", "azureFile"];
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
