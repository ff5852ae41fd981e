//! What is special about Pods: a first status, quality of service, what may be changed after creation.
//!
//! Answers to upstream's `pkg/registry/core/pod/strategy.go`.

use super::pod_change as change;
use super::{pod_status, qos};
use crate::kind::{Context, Hooks};
use crate::podspec;
use crate::podspec::annotation::MIRROR;
use crate::rule::{METADATA, ROOT, SPEC, collect, required};
use crate::rules::{RULES, Rules, keep_status_only};
use crate::value::{int, is_empty, items, remove, restore, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

/// Hooks of Pods.
pub(crate) struct Pod;

#[async_trait::async_trait]
impl Hooks for Pod {
    fn default(&self, pod: &mut Value) {
        if let Some(spec) = pod.get_mut("spec") {
            podspec::default_requests(spec);
            podspec::default_spec(spec);
        }
    }

    fn first_warnings(&self, pod: &Value) -> Vec<String> {
        let asked = podspec::app_armor::asked(pod);
        asked.into_iter().filter_map(|one| one.warning).collect()
    }

    fn prepare_create(&self, pod: &mut Value, context: &Context<'_>) {
        podspec::app_armor::take_over(pod);
        let mut status = json!({ "phase": "Pending", "qosClass": qos::class(&pod["spec"]) });
        if !is_empty(&pod["spec"]["schedulingGates"]) {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": context.now,
            }]);
        }
        pod["status"] = status;
        let labels = pod["metadata"]["labels"].clone();
        select_by_own_labels(&mut pod["spec"], &labels);
    }

    fn prepare_update(&self, pod: &mut Value, old: &Value, subresource: &str, _: &Context<'_>) {
        match subresource {
            "status" => {
                keep_status_only(pod, old, true);
                restore(&mut pod["metadata"], &old["metadata"], "ownerReferences");
                pod_status::keep_unknown(pod, old);
            }
            "ephemeralcontainers" => {
                let added = remove(&mut pod["spec"], "ephemeralContainers");
                keep_but_version(pod, old);
                if let Some(added) = added {
                    pod["spec"]["ephemeralContainers"] = added;
                } else {
                    remove(&mut pod["spec"], "ephemeralContainers");
                }
            }
            // Containers that do not fit are for the rules to report.
            "resize" if !change::are_aligned(&pod["spec"], &old["spec"]) => restore(pod, old, "status"),
            "resize" => {
                let wanted = pod["spec"].take();
                keep_but_version(pod, old);
                take_resources(&mut pod["spec"], &wanted);
            }
            _ => {
                restore(pod, old, "status");
                // A client that knows nothing of what a pod asks for as a whole keeps it.
                if pod["spec"]["resources"].is_null() && !old["spec"]["resources"].is_null() {
                    restore(&mut pod["spec"], &old["spec"], "resources");
                }
            }
        }
    }

    fn validate(&self, pod: &Value, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| {
            let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
            podspec::annotations(errors, &metadata["annotations"], spec, &METADATA.child("annotations"));
            podspec::spec(errors, spec, text(&metadata["name"]), true, &SPEC);
            if !metadata["annotations"][MIRROR].is_null() && !is_empty(&spec["resourceClaims"]) {
                let why = "static pods do not support resource claims";
                errors.push(FieldError::forbidden(&ROOT, why));
            }
            if is_empty(&spec["serviceAccountName"]) {
                change::tokens_without_account(errors, spec);
            }
            for list in ["containers", "initContainers"] {
                podspec::containers_only_for_pods(errors, &spec[list], &SPEC.child(list));
            }
        })
    }

    fn validate_create(&self, pod: &Value, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| {
            let spec = &pod["spec"];
            if !is_empty(&spec["ephemeralContainers"]) {
                let at = SPEC.child("ephemeralContainers");
                errors.push(FieldError::forbidden(&at, "cannot be set on create"));
            }
            if !is_empty(&spec["nodeName"]) && !is_empty(&spec["schedulingGates"]) {
                let why = "cannot be set until all schedulingGates have been cleared";
                errors.push(FieldError::forbidden(&SPEC.child("nodeName"), why));
            }
            podspec::annotations_match_fields(errors, &pod["metadata"]["annotations"], spec, &SPEC);
        })
    }

    fn validate_update(
        &self,
        pod: &Value,
        old: &Value,
        subresource: &str,
        _: &Context<'_>,
    ) -> Vec<FieldError> {
        collect(|errors| match subresource {
            "status" => pod_status::status(errors, pod, old),
            "ephemeralcontainers" => change::ephemeral_containers(errors, pod, old),
            "resize" => change::resize(errors, pod, old),
            _ => change::pod(errors, pod, old),
        })
    }

    fn warnings(&self, pod: &Value, old: Option<&Value>) -> Vec<String> {
        // Who changes a pod is hardly ever a person.
        if old.is_some() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        let metadata = &pod["metadata"];
        let wrong = name::dns_label(text(&metadata["name"]));
        if !wrong.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                wrong.join(" ")
            ));
        }
        let at = METADATA.child("annotations");
        podspec::warning::pod(&mut warnings, &metadata["annotations"], &pod["spec"], &SPEC, &at);
        warnings
    }

    fn grace_period_seconds(&self, pod: &Value, asked: Option<i64>) -> Option<i64> {
        let own = int(&pod["spec"]["terminationGracePeriodSeconds"]);
        let placed = !is_empty(&pod["spec"]["nodeName"]);
        let over = matches!(text(&pod["status"]["phase"]), "Failed" | "Succeeded");
        let seconds = if placed && !over { asked.unwrap_or(own) } else { 0 };
        Some(if seconds < 0 { 1 } else { seconds })
    }
}

/// The old object, at the version the new one is based on.
fn keep_but_version(pod: &mut Value, old: &Value) {
    let given = pod["metadata"].take();
    old.clone_into(pod);
    for field in ["resourceVersion", "managedFields"] {
        restore(&mut pod["metadata"], &given, field);
    }
}

fn take_resources(spec: &mut Value, wanted: &Value) {
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let found = items(&wanted[list]).iter().find(|one| one["name"] == container["name"]);
            for field in ["resources", "resizePolicy"] {
                if let Some(found) = found {
                    restore(container, found, field);
                }
            }
        }
    }
    if !wanted["resources"].is_null() {
        spec["resources"] = wanted["resources"].clone();
    }
}

/// Label keys of affinity terms and spread constraints become requirements on the pod's own labels, so that a
/// rollout's pods are told apart.
fn select_by_own_labels(spec: &mut Value, labels: &Value) {
    let require = |term: &mut Value, field: &str, operator: &str| {
        let keys: Vec<Value> = items(&term[field]).to_vec();
        for key in keys {
            let own = labels.get(text(&key));
            if let (Some(value), true) = (own, term["labelSelector"].is_object()) {
                let requirement = json!({ "key": key, "operator": operator, "values": [value] });
                match &mut term["labelSelector"]["matchExpressions"] {
                    Value::Array(list) => list.push(requirement),
                    other => *other = json!([requirement]),
                }
            }
        }
    };
    for term in spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut).into_iter().flatten()
    {
        require(term, "matchLabelKeys", "In");
    }
    let Some(affinity) = spec.get_mut("affinity") else { return };
    for side in ["podAffinity", "podAntiAffinity"] {
        let Some(side) = affinity.get_mut(side) else { continue };
        for (list, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
        ] {
            for term in side.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let term = if inner.is_empty() { term } else { &mut term[inner] };
                require(term, "matchLabelKeys", "In");
                require(term, "mismatchLabelKeys", "NotIn");
            }
        }
    }
}

/// Rules of PodTemplates.
pub(crate) const TEMPLATE: Rules = Rules {
    warnings: |warnings, object, old| {
        if old.is_none_or(|old| old["metadata"]["generation"] != object["metadata"]["generation"]) {
            podspec::warning::template_at(warnings, &object["template"], &Path::root("template"));
        }
    },
    default: |object| {
        if let Some(spec) = object.pointer_mut("/template/spec") {
            podspec::default_spec(spec);
        }
    },
    validate: |errors, object| podspec::template(errors, &object["template"], &Path::root("template")),
    ..RULES
};

/// Rules of Bindings.
pub(crate) const BINDING: Rules = Rules {
    validate: |errors, binding| {
        let (target, path) = (&binding["target"], Path::root("target"));
        let kind = text(&target["kind"]);
        if !matches!(kind, "" | "Node") {
            errors.push(FieldError::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
        }
        let at = path.child("name");
        if !required(errors, &target["name"], &at) && matches!(kind, "" | "Node") {
            crate::rule::named(errors, &target["name"], &at, name::dns_subdomain);
        }
    },
    ..RULES
};
