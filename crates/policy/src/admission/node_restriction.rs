//! A node agent changes only its own Node, the pods bound to it, and what else is its own.
//!
//! Answers to upstream's `NodeRestriction`.

mod pods;

use super::{Operation, Request, Rule, certificates};
use crate::Lookup;
use crate::authorize::node::node_of;
use gifee_base::{ObjectKey, Status};
use serde_json::Value;
use std::collections::BTreeSet;

const RESTRICTED: &str = "node-restriction.kubernetes.io";
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
            ("", "pods", "") => pods::whole(node, request, object, lookup),
            ("", "pods", "status") => pods::status(node, request, object),
            ("", "pods", "eviction") => pods::eviction(node, request, lookup),
            ("", "pods", other) => Err(request.forbidden(&format!("unexpected pod subresource {other:?}"))),
            ("", "nodes", _) => nodes(node, request, object),
            ("", "persistentvolumeclaims", "status") => claim(node, request, object),
            ("", "persistentvolumeclaims", _) => Err(request.forbidden("may only update PVC status")),
            ("", "serviceaccounts", "token") => token(node, request, object, lookup),
            ("coordination.k8s.io", "leases", _) => lease(node, request, object),
            ("storage.k8s.io", "csinodes", _) if named(request, object) != node => {
                Err(request.forbidden("can only access CSINode with the same name as the requesting node"))
            }
            ("resource.k8s.io", "resourceslices", _) => slice(node, request, object),
            ("certificates.k8s.io", "certificatesigningrequests", "") => certificate(node, request, object),
            _ => Ok(()),
        }
    }
}

/// The name of the object: that of the request, or on creation that in the object.
fn named<'a>(request: &Request<'a>, object: &'a Value) -> &'a str {
    match request.operation {
        Operation::Create => object["metadata"]["name"].as_str().unwrap_or(request.name),
        _ => request.name,
    }
}

fn nodes(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let name = named(request, object);
    if name != node {
        return Err(request.forbidden(&format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let none = Value::Null;
    let old = request.old.unwrap_or(&none);
    let source = |node: &Value| node["spec"]["configSource"].clone();
    let forbidden = forbidden_labels(object, old);
    match request.operation {
        Operation::Create => {
            if !source(object).is_null() {
                let why = format!("node {node:?} is not allowed to create pods with a non-nil configSource");
                return Err(request.forbidden(&why));
            }
            if !forbidden.is_empty() {
                let why = format!(
                    "node {node:?} is not allowed to set the following labels: {}",
                    forbidden.join(", ")
                );
                return Err(request.forbidden(&why));
            }
        }
        Operation::Update => {
            if !source(object).is_null() && source(object) != source(old) {
                let why = format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                );
                return Err(request.forbidden(&why));
            }
            if object["spec"]["taints"] != old["spec"]["taints"] {
                return Err(request.forbidden(&format!("node {node:?} is not allowed to modify taints")));
            }
            if !forbidden.is_empty() {
                let why = format!("is not allowed to modify labels: {}", forbidden.join(", "));
                return Err(request.forbidden(&why));
            }
        }
        Operation::Delete | Operation::Connect => {}
    }
    Ok(())
}

/// Labels that changed and are not the node's to change.
fn forbidden_labels(object: &Value, old: &Value) -> Vec<String> {
    let (new, old) = (&object["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys = [new, old].into_iter().flat_map(|labels| labels.as_object().into_iter().flatten());
    let changed: BTreeSet<&String> =
        keys.map(|(key, _)| key).filter(|key| new.get(key.as_str()) != old.get(key.as_str())).collect();
    changed.into_iter().filter(|key| !may_label(key)).cloned().collect()
}

fn may_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |one: &str| domain == one || domain.ends_with(&format!(".{one}"));
    if within(RESTRICTED) {
        return false;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
        || OWN_LABELS.contains(&key)
}

fn claim(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        if let Some(metadata) = claim["metadata"].as_object_mut() {
            metadata.retain(|field, _| !matches!(field.as_str(), "resourceVersion" | "managedFields"));
        }
        if let Some(status) = claim["status"].as_object_mut() {
            let own = ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];
            status.retain(|field, _| !own.contains(&field.as_str()));
        }
        claim
    };
    if request.operation != Operation::Update || request.old.is_none_or(|old| rest(old) != rest(object)) {
        return Err(request.forbidden(&format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        )));
    }
    Ok(())
}

fn token(node: &str, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let bound = &object["spec"]["boundObjectRef"];
    let text = |field: &str| bound[field].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") || text("name").is_empty() {
        return Err(request.forbidden("node requested token not bound to a pod"));
    }
    if text("uid").is_empty() {
        return Err(request.forbidden("node requested token with a pod binding without a uid"));
    }
    let Some(pod) = lookup.get("", "pods", &ObjectKey::new(request.namespace, text("name"))) else {
        return Err(Status::not_found("", "pods", text("name")));
    };
    if text("uid") != pod.uid() {
        return Err(request.forbidden(&format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            text("uid")
        )));
    }
    if pod.to_value().is_ok_and(|pod| pod["spec"]["nodeName"] != node) {
        return Err(request.forbidden("node requested token bound to a pod scheduled on a different node"));
    }
    Ok(())
}

fn lease(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    const NAMESPACE: &str = "kube-node-lease";
    if request.namespace != NAMESPACE {
        return Err(
            request.forbidden(&format!("can only access leases in the {NAMESPACE:?} system namespace"))
        );
    }
    if named(request, object) != node {
        return Err(request.forbidden("can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

fn slice(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let (slice, word) = match request.operation {
        Operation::Create => (Some(object), "create"),
        Operation::Delete => (request.old, "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if slice.is_some_and(|slice| slice["spec"]["nodeName"] == node) {
        return Ok(());
    }
    Err(request
        .forbidden(&format!("can only {word} ResourceSlice with the same NodeName as the requesting node")))
}

fn certificate(node: &str, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let spec = &object["spec"];
    let own = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if request.operation != Operation::Create || !own.iter().any(|signer| spec["signerName"] == *signer) {
        return Ok(());
    }
    let subject = certificates::subject(spec["request"].as_str().unwrap_or_default())
        .map_err(|why| request.forbidden(&format!("unable to parse csr: {why}")))?;
    if subject.name == format!("system:node:{node}") {
        return Ok(());
    }
    Err(request.forbidden(&format!("can only create a node CSR with CN=system:node:{node}")))
}
