//! AppArmor profiles that annotations name: they become the field of their container when a pod is made.
//!
//! Invariant: what a field says stays; a container has a field of its own only if it differs from its pod's. Answers to
//! `applyAppArmorVersionSkew` of upstream's pod strategy.

use super::annotation::{APP_ARMOR, LOCALHOST, UNCONFINED};
use super::security::LOCALHOST_PROFILE_MAXIMUM;
use crate::value::{is_empty, items, text};
use serde_json::{Value, json};

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What the annotation of one container asks for.
pub(crate) struct Asked {
    list: &'static str,
    index: usize,
    /// What becomes the field.
    profile: Option<Value>,
    /// What the client is told.
    pub warning: Option<String>,
}

/// What the annotations of a pod ask for where no field says anything.
pub(crate) fn asked(pod: &Value) -> Vec<Asked> {
    let (annotations, spec) = (&pod["metadata"]["annotations"], &pod["spec"]);
    let mut all = Vec::new();
    if is_empty(annotations) || spec["os"]["name"] == "windows" {
        return all;
    }
    let own = &spec["securityContext"]["appArmorProfile"];
    for list in LISTS {
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let key = format!("{APP_ARMOR}{}", text(&container["name"]));
            let Some(annotation) = annotations[&key].as_str() else { continue };
            if !container["securityContext"]["appArmorProfile"].is_null() {
                continue;
            }
            let said = field(annotation);
            let differs = said.as_ref() != Some(own);
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            all.push(Asked {
                list,
                index,
                warning: differs.then(|| format!("metadata.annotations[{key}]: {why}")),
                profile: said.filter(|_| differs),
            });
        }
    }
    all
}

/// Makes fields of annotations.
pub(crate) fn take_over(pod: &mut Value) {
    for Asked { list, index, profile, .. } in asked(pod) {
        let container = &mut pod["spec"][list][index];
        if let (Some(profile), true) = (profile, container.is_object()) {
            if !container["securityContext"].is_object() {
                container["securityContext"] = json!({});
            }
            container["securityContext"]["appArmorProfile"] = profile;
        }
    }
}

/// The field that says what an annotation does, if there is a valid one.
fn field(annotation: &str) -> Option<Value> {
    match annotation {
        UNCONFINED => Some(json!({ "type": "Unconfined" })),
        "runtime/default" => Some(json!({ "type": "RuntimeDefault" })),
        _ => {
            let file = annotation.strip_prefix(LOCALHOST)?;
            let valid = !file.is_empty() && file.trim() == file && file.len() <= LOCALHOST_PROFILE_MAXIMUM;
            valid.then(|| json!({ "type": "Localhost", "localhostProfile": file }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Annotation, field of the pod, field of the container; then the field of the container, and how many warnings.
    fn check(annotation: &str, own: Value, given: Value, expect: Value, warnings: usize) {
        let mut pod = json!({ "metadata": { "annotations": { format!("{APP_ARMOR}c"): annotation } },
            "spec": { "containers": [{ "name": "b" }, { "name": "c" }] } });
        if !own.is_null() {
            pod["spec"]["securityContext"]["appArmorProfile"] = own;
        }
        if !given.is_null() {
            pod["spec"]["containers"][1]["securityContext"]["appArmorProfile"] = given;
        }
        let said: Vec<String> = asked(&pod).into_iter().filter_map(|one| one.warning).collect();
        take_over(&mut pod);
        assert_eq!(
            pod["spec"]["containers"][1]["securityContext"]["appArmorProfile"], expect,
            "{annotation}"
        );
        assert!(pod["spec"]["containers"][0]["securityContext"].is_null());
        let why = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead";
        assert_eq!(said, vec![why; warnings], "{annotation}");
    }

    #[test]
    fn annotations_become_fields_where_none_are() {
        let kind = |kind: &str| json!({ "type": kind });
        let local = json!({ "type": "Localhost", "localhostProfile": "p" });
        check("runtime/default", Value::Null, Value::Null, kind("RuntimeDefault"), 1);
        check("unconfined", kind("RuntimeDefault"), Value::Null, kind("Unconfined"), 1);
        check("localhost/p", Value::Null, Value::Null, local.clone(), 1);
        // What the pod says already is not said again.
        check("localhost/p", local.clone(), Value::Null, Value::Null, 0);
        check("unconfined", Value::Null, local.clone(), local, 0);
        // Nothing becomes of what is none.
        check("localhost/", Value::Null, Value::Null, Value::Null, 1);
        check("else", kind("Unconfined"), Value::Null, Value::Null, 1);
    }
}
