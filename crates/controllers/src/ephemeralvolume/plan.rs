//! Which claims of a pod's own volumes are to be made. Pure.

use gifee_base::{Gvk, Object};
use serde_json::{Value, json};
use std::sync::Arc;

/// One step.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Make this claim.
    Create {
        /// The volume's name in the pod.
        volume: String,
        /// The claim.
        claim: Value,
    },
    /// A claim of that name belongs to somebody else.
    Foreign {
        /// The volume's name in the pod.
        volume: String,
        /// What is wrong.
        why: String,
    },
}

/// Whether a pod may have volumes of its own; cheap, and true now and then although it has none.
pub fn has_own(pod: &Object) -> bool {
    memchr::memmem::find(pod.raw(), b"\"ephemeral\":").is_some()
}

/// Plans for a pod; `claim` finds claims of its namespace by name.
pub fn plan(pod: &Value, claim: impl Fn(&str) -> Option<Arc<Object>>) -> Vec<Step> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &pod["metadata"];
    let (namespace, name, uid) =
        (text(&metadata["namespace"]), text(&metadata["name"]), text(&metadata["uid"]));
    let mut steps = Vec::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let template = &volume["ephemeral"]["volumeClaimTemplate"];
        if !template.is_object() {
            continue;
        }
        let (volume, own) = (text(&volume["name"]), format!("{name}-{}", text(&volume["name"])));
        match claim(&own) {
            Some(claim) if claim.controller().is_some_and(|owner| owner.uid == uid) => {}
            Some(_) => steps.push(Step::Foreign {
                volume,
                why: format!(
                    "PVC \"{namespace}/{own}\" was not created for pod \"{namespace}/{name}\" (pod is not owner)"
                ),
            }),
            None => steps.push(Step::Create { volume, claim: of(pod, template, &own) }),
        }
    }
    steps
}

fn of(pod: &Value, template: &Value, name: &str) -> Value {
    let gvk = Gvk::new("", "v1", "Pod");
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name, "namespace": pod["metadata"]["namespace"],
            "ownerReferences": [{
                "apiVersion": gvk.api_version(), "kind": &*gvk.kind, "name": pod["metadata"]["name"],
                "uid": pod["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": template["spec"],
    });
    for field in ["annotations", "labels"] {
        if template["metadata"][field].is_object() {
            claim["metadata"][field] = template["metadata"][field].clone();
        }
    }
    claim
}
