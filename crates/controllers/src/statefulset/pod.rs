//! The pods and volume claims of a StatefulSet: identity, storage, and who owns the claims. Pure.
//!
//! Invariant: what a claim's owner references say follows from the retention policy alone, except where
//! somebody else controls the claim. Answers to upstream's `stateful_set_utils`.

use super::view::{Member, View};
use crate::history::REVISION_HASH;
use crate::replicaset;
use gifee_base::{Gvk, Object};
use gifee_reconcile::{owner, patch};
use serde_json::{Value, json};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Kind of what is planned here.
pub fn kind() -> Gvk {
    Gvk::new("apps", "v1", "StatefulSet")
}

fn pod_kind() -> Gvk {
    Gvk::new("", "v1", "Pod")
}

/// The pod of an ordinal, at a revision.
pub fn new(view: &View, ordinal: i32, revision: &str, template: &Value) -> Value {
    let name = view.pod_name(ordinal);
    let mut pod = replicaset::pod(&view.set, &kind(), template);
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("generateName");
        metadata.insert("name".to_owned(), name.as_str().into());
    }
    let labels = &mut pod["metadata"]["labels"];
    labels[POD_NAME] = name.as_str().into();
    labels[POD_INDEX] = ordinal.to_string().into();
    labels[REVISION_HASH] = revision.into();
    let volumes = volumes(view, ordinal, &pod["spec"]["volumes"]);
    let spec = &mut pod["spec"];
    spec["hostname"] = name.into();
    spec["subdomain"] = view.tree["spec"]["serviceName"].clone();
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    pod
}

/// The volumes of a pod: its claims, and of its template what they do not hide.
fn volumes(view: &View, ordinal: i32, present: &Value) -> Vec<Value> {
    let claims = view.templates();
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|claim| {
            json!({ "name": claim["metadata"]["name"],
                "persistentVolumeClaim": { "claimName": view.claim_name(claim, ordinal) } })
        })
        .collect();
    let hidden = |volume: &Value| claims.iter().any(|claim| claim["metadata"]["name"] == volume["name"]);
    let present = present.as_array().into_iter().flatten();
    volumes.extend(present.filter(|volume| !hidden(volume)).cloned());
    volumes
}

/// The patch that gives a pod its identity and storage back; none if it has them.
pub fn repair(view: &View, member: &Member) -> Option<Value> {
    let object = &member.brief.object;
    let mut change = json!({});
    if object.label(POD_NAME) != Some(object.name()) {
        change["metadata"]["labels"] =
            json!({ POD_NAME: object.name(), POD_INDEX: member.ordinal.to_string() });
    }
    if !view.templates().is_empty() {
        let present = object.value_at(&["spec", "volumes"]);
        let present: Value = present.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let claimed = |claim: &Value| {
            present.as_array().into_iter().flatten().any(|volume| {
                volume["name"] == claim["metadata"]["name"]
                    && volume["persistentVolumeClaim"]["claimName"]
                        == view.claim_name(claim, member.ordinal).as_str()
            })
        };
        if !view.templates().iter().all(claimed) {
            change["spec"]["volumes"] = volumes(view, member.ordinal, &present).into();
        }
    }
    (change != json!({})).then(|| patch::pinned(object, change))
}

/// The claims of an ordinal that are not there.
pub fn missing_claims(view: &View, ordinal: i32) -> Vec<Value> {
    let mut missing = Vec::new();
    for template in view.templates() {
        let name = view.claim_name(template, ordinal);
        if view.volumes.contains_key(&name) {
            continue;
        }
        let mut claim = template.clone();
        claim["apiVersion"] = "v1".into();
        claim["kind"] = "PersistentVolumeClaim".into();
        if let Some(claim) = claim.as_object_mut() {
            claim.remove("status");
        }
        let metadata = &mut claim["metadata"];
        metadata["name"] = name.into();
        metadata["namespace"] = view.set.namespace().into();
        let labels = view.tree["spec"]["selector"]["matchLabels"].as_object();
        for (key, value) in labels.into_iter().flatten() {
            metadata["labels"][key] = value.clone();
        }
        // Before its pod is there, and while that is wanted, a claim can only be the set's.
        if view.retention.delete_with_set && view.wants(ordinal) {
            metadata["ownerReferences"] = json!([owner::controller_reference(&view.set, &kind())]);
        }
        missing.push(claim);
    }
    missing
}

/// The claims of an ordinal that are there.
pub fn present_claims(view: &View, ordinal: i32) -> impl Iterator<Item = &std::sync::Arc<Object>> {
    view.templates().iter().filter_map(move |template| view.volumes.get(&view.claim_name(template, ordinal)))
}

/// Whether a claim still belongs to an earlier pod of this name, with which it will go.
pub fn stale(view: &View, ordinal: i32) -> bool {
    let name = view.pod_name(ordinal);
    view.retention.delete_with_pod
        && present_claims(view, ordinal)
            .any(|claim| claim.owners().any(|owner| owner.kind == "Pod" && owner.name == name))
}

/// The patches of a pod's claims whose owners are not those of the policy.
pub fn own_claims(view: &View, member: &Member) -> Vec<(std::sync::Arc<Object>, Value)> {
    present_claims(view, member.ordinal)
        .filter_map(|claim| own(view, &member.brief.object, claim).map(|change| (claim.clone(), change)))
        .collect()
}

fn own(view: &View, pod: &Object, claim: &Object) -> Option<Value> {
    let (set, wanted) = (&view.set, view.wants(super::view::parse(pod.name())?.1));
    let is = |owner: &gifee_base::object::Owner<'_>, kind: &str, object: &Object| {
        owner.kind == kind && owner.name == object.name()
    };
    let ours = |owner: &gifee_base::object::Owner<'_>| owner.uid == set.uid() || owner.uid == pod.uid();
    let earlier = |owner: &gifee_base::object::Owner<'_>| {
        !ours(owner) && (is(owner, "StatefulSet", set) || is(owner, "Pod", pod))
    };
    if claim.owners().any(|owner| earlier(&owner)) {
        return None;
    }
    let foreign = claim.controller().is_some_and(|owner| !ours(&owner));
    let (mut by_set, mut by_pod) = match (view.retention.delete_with_set, view.retention.delete_with_pod) {
        (set, true) => (set && wanted, !wanted),
        (set, false) => (set, false),
    };
    if foreign {
        (by_set, by_pod) = (false, false);
    }
    let controlled = |object: &Object| owner::controls(object.uid(), claim);
    let listed = |object: &Object| claim.owners().any(|owner| owner.uid == object.uid());
    let right = |object: &Object, should: bool| listed(object) == should && (!should || controlled(object));
    if right(set, by_set) && right(pod, by_pod) {
        return None;
    }
    let add = match (by_set, by_pod) {
        (true, _) => Some(owner::controller_reference(set, &kind())),
        (_, true) => Some(owner::controller_reference(pod, &pod_kind())),
        _ => None,
    };
    owner::replace_patch(claim, &[set.uid(), pod.uid()], add).ok()
}
