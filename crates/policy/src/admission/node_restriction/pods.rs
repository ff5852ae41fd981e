//! What a node agent may do to pods: mirror its static ones, tell the state of its own, and evict them.

use super::super::{Operation, Request};
use crate::Lookup;
use gifee_base::{ObjectKey, Status};
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Creation and deletion.
pub fn whole(node: &str, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    match request.operation {
        Operation::Create => create(node, request, pod, lookup),
        Operation::Delete if request.old.is_some_and(|old| old["spec"]["nodeName"] != node) => Err(request
            .forbidden(&format!("node {node:?} can only delete pods with spec.nodeName set to itself"))),
        Operation::Update => Err(request.forbidden("unexpected operation \"UPDATE\"")),
        Operation::Delete | Operation::Connect => Ok(()),
    }
}

fn create(node: &str, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbidden(&why));
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return refuse(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    owned(node, request, pod, lookup)?;
    if let Some(what) = reference(pod) {
        return refuse(format!("node {node:?} can not create pods that reference {what}"));
    }
    Ok(())
}

/// A mirror pod belongs to its node.
fn owned(node: &str, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: String| Err(request.forbidden(&why));
    let owners = pod["metadata"]["ownerReferences"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let other = || format!("node {node:?} can only create pods with an owner reference set to itself");
    let [owner] = owners else {
        return refuse(if owners.is_empty() {
            other()
        } else {
            format!("node {node:?} can only create pods with a single owner reference set to itself")
        });
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return refuse(other());
    }
    if owner["controller"] != true {
        return refuse(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let Some(own) = lookup.get("", "nodes", &ObjectKey::cluster(node)) else {
        return Err(Status::not_found("", "nodes", node));
    };
    let uid = owner["uid"].as_str().unwrap_or_default();
    if uid != own.uid() {
        return refuse(format!("node {node} UID mismatch: expected {uid} got {}", own.uid()));
    }
    Ok(())
}

/// The first kind of other object that a pod refers to.
fn reference(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Some("a service account");
    }
    let volumes = list(&spec["volumes"]);
    let sources: Vec<Value> =
        volumes.iter().flat_map(|volume| list(&volume["projected"]["sources"])).collect();
    let mut environment = Vec::new();
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&spec[containers]) {
            environment.extend(list(&container["envFrom"]));
            environment.extend(list(&container["env"]).iter().map(|one| one["valueFrom"].clone()));
        }
    }
    let has = |fields: &[&str], all: &[Value]| {
        all.iter().any(|one| fields.iter().any(|field| one[*field].is_object()))
    };
    let secret = has(&["secretRef", "secretKeyRef"], &environment)
        || has(&["secret"], &volumes)
        || has(&["secret"], &sources)
        || !list(&spec["imagePullSecrets"]).is_empty();
    if secret {
        return Some("secrets");
    }
    if has(&["configMapRef", "configMapKeyRef"], &environment)
        || has(&["configMap"], &volumes)
        || has(&["configMap"], &sources)
    {
        return Some("configmaps");
    }
    if has(&["clusterTrustBundle"], &sources) {
        return Some("clustertrustbundles");
    }
    if has(&["podCertificate"], &sources) {
        return Some("podcertificates");
    }
    if has(&["persistentVolumeClaim"], &volumes) {
        return Some("persistentvolumeclaims");
    }
    (!list(&spec["resourceClaims"]).is_empty()).then_some("resourceclaims")
}

/// The state of a pod.
pub fn status(node: &str, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    let none = Value::Null;
    let old = request.old.unwrap_or(&none);
    if old["spec"]["nodeName"] != node {
        return Err(request.forbidden(&format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        )));
    }
    let labels = |pod: &Value| pod["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    if labels(pod) != labels(old) {
        return Err(request.forbidden(&format!("node {node:?} cannot update labels through pod status")));
    }
    if pod["status"]["resourceClaimStatuses"] != old["status"]["resourceClaimStatuses"] {
        return Err(request.forbidden(&format!("node {node:?} cannot update resource claim statues")));
    }
    if pod["status"]["extendedResourceClaimStatus"] != old["status"]["extendedResourceClaimStatus"] {
        return Err(request.forbidden(&format!("node {node:?} cannot update extended resource claim status")));
    }
    Ok(())
}

/// An eviction.
pub fn eviction(node: &str, request: &Request<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(pod) = lookup.get("", "pods", &ObjectKey::new(request.namespace, request.name)) else {
        return Err(Status::not_found("", "pods", request.name));
    };
    if pod.to_value().is_ok_and(|pod| pod["spec"]["nodeName"] == node) {
        return Ok(());
    }
    Err(request.forbidden(&format!("node {node} can only evict pods with spec.nodeName set to itself")))
}
