//! A node agent changes only its own Node, the pods bound to it, and its own lease.
//!
//! Answers to upstream's `NodeRestriction`.

use super::{Operation, Request, Rule};
use crate::Lookup;
use crate::authorize::node::node_of;
use gifee_base::{ObjectKey, Status};
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
const RESERVED: &str = "node-restriction.kubernetes.io/";
/// Labels in Kubernetes' own domains that a node may set on itself.
const OWN_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "kubernetes.io/instance-type",
];

/// The rule.
pub struct NodeRestriction;

impl Rule for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let Some(node) = node_of(&request.user.name, &request.user.groups) else { return Ok(()) };
        match (&*request.gvk.group, request.resource, request.subresource) {
            ("", "pods", "") => pods(node, request, object),
            ("", "pods", "status") if request.old.is_none_or(|old| old["spec"]["nodeName"] != node) => {
                Err(request.forbidden(&format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                )))
            }
            ("", "pods", "eviction") => {
                let pod = lookup.get("", "pods", &ObjectKey::new(request.namespace, request.name));
                let own =
                    pod.and_then(|pod| pod.to_value().ok()).is_none_or(|pod| pod["spec"]["nodeName"] == node);
                if own {
                    Ok(())
                } else {
                    Err(request.forbidden(&format!(
                        "node {node:?} can only evict pods with spec.nodeName set to itself"
                    )))
                }
            }
            ("", "nodes", _) => nodes(node, request, object),
            ("", "serviceaccounts", "token") => token(node, request, object, lookup),
            ("coordination.k8s.io", "leases", "") => {
                let name = object["metadata"]["name"].as_str().unwrap_or(request.name);
                if request.namespace == "kube-node-lease" && name == node {
                    return Ok(());
                }
                Err(request.forbidden("can only access node lease with the same name as the requesting node"))
            }
            _ => Ok(()),
        }
    }
}

fn pods(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    match request.operation {
        Operation::Create => {
            if object["metadata"]["annotations"][MIRROR].is_null() {
                return Err(request.forbidden(&format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                )));
            }
            if object["spec"]["nodeName"] != node {
                return Err(request.forbidden(&format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                )));
            }
            if object["spec"]["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
                return Err(request.forbidden(&format!(
                    "node {node:?} can not create pods that reference a service account"
                )));
            }
            Ok(())
        }
        Operation::Delete if request.old.is_some_and(|old| old["spec"]["nodeName"] != node) => Err(request
            .forbidden(&format!("node {node:?} can only delete pods with spec.nodeName set to itself"))),
        _ => Ok(()),
    }
}

fn nodes(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or(request.name);
    if name != node {
        return Err(request.forbidden(&format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let none = Value::Null;
    let old = request.old.unwrap_or(&none);
    if request.operation == Operation::Update && object["spec"]["taints"] != old["spec"]["taints"] {
        return Err(request.forbidden(&format!("node {node:?} is not allowed to modify taints")));
    }
    let mut refused: Vec<&str> = Vec::new();
    for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        if old["metadata"]["labels"].get(key) != Some(value) && !may_label(key) {
            refused.push(key);
        }
    }
    for key in old["metadata"]["labels"].as_object().into_iter().flat_map(|labels| labels.keys()) {
        let gone = object["metadata"]["labels"].get(key).is_none();
        if request.operation == Operation::Update && gone && !may_label(key) {
            refused.push(key);
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    refused.sort_unstable();
    Err(request.forbidden(&format!("is not allowed to modify labels: {}", refused.join(", "))))
}

fn may_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    if key.starts_with(RESERVED) || domain.ends_with(".node-restriction.kubernetes.io") {
        return false;
    }
    let kubernetes =
        ["kubernetes.io", "k8s.io"].iter().any(|one| domain == *one || domain.ends_with(&format!(".{one}")));
    let kubelet = ["kubelet.kubernetes.io", "node.kubernetes.io"]
        .iter()
        .any(|one| domain == *one || domain.ends_with(&format!(".{one}")));
    !kubernetes || kubelet || OWN_LABELS.contains(&key)
}

fn token(node: &str, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let bound = &object["spec"]["boundObjectRef"];
    if bound["kind"] != "Pod" {
        return Err(request.forbidden(&format!("node requested token not bound to a pod, got {bound}")));
    }
    let name = bound["name"].as_str().unwrap_or_default();
    let Some(pod) = lookup.get("", "pods", &ObjectKey::new(request.namespace, name)) else {
        return Err(Status::not_found("", "pods", name));
    };
    if bound["uid"].as_str().is_some_and(|uid| uid != pod.uid()) {
        return Err(
            request.forbidden("the UID in the bound object reference does not match the UID in record")
        );
    }
    if pod.to_value().is_ok_and(|pod| pod["spec"]["nodeName"] != node) {
        return Err(request.forbidden("node requested token bound to a pod scheduled on a different node"));
    }
    Ok(())
}
