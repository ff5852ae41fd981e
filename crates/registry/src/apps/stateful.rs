//! What is special about StatefulSets.
//!
//! Invariant: what can never be changed is judged once, when it is made, so that sets of older servers can still be
//! updated. Answers to upstream's `pkg/apis/apps/validation` and its strategy.

use super::rules::shown_strategy;
use super::rules::{
    amount, at_most_replicas, collisions, default_template, runs_forever, selected, selector,
};
use crate::podspec;
use crate::rule::{Errors, SPEC, STATUS, at_most_all, collect, int_or_percent, label, named, non_negative};
use crate::rule::{non_negative_fields, one_of};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, remove, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Rules of StatefulSets.
pub(crate) const STATEFUL_SET: Rules = Rules {
    warnings: |warnings, set, old| {
        podspec::warning::template(warnings, set, old);
        if old.is_none_or(|old| old["metadata"]["generation"] != set["metadata"]["generation"]) {
            claim_warnings(warnings, &set["spec"]["volumeClaimTemplates"]);
        }
        if set["spec"]["revisionHistoryLimit"].as_i64().is_some_and(|limit| limit < 0) {
            warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
        }
    },
    default: default_template,
    status: r#"{"availableReplicas":0,"replicas":0}"#,
    validate_create: |errors, set| spec(errors, &set["spec"], true, true),
    validate_update: |errors, set, old| {
        // Templates of pods were not judged once: a set that has a wrong one keeps it.
        let found = collect(|errors| spec(errors, &set["spec"], false, true));
        let lenient = !found.is_empty()
            && !collect(|old_errors| spec(old_errors, &old["spec"], false, true)).is_empty();
        if lenient {
            spec(errors, &set["spec"], false, false);
        } else {
            errors.extend(found);
        }
        fixed(errors, set, old);
    },
    validate_part: |errors, set, old, _| {
        let status = &set["status"];
        let fields = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        non_negative_fields(errors, status, &STATUS, &fields);
        at_most_replicas(errors, status, &fields[1..5], "status.readyReplicas");
        collisions(errors, set, old);
    },
    ..RULES
};

fn claim_warnings(warnings: &mut Vec<String>, claims: &Value) {
    let at = SPEC.child("volumeClaimTemplates");
    for (index, claim) in items(claims).iter().enumerate() {
        let at = at.index(index);
        let at = at.child("Spec");
        let at = at.child("resources");
        for side in ["requests", "limits"] {
            podspec::warning::fraction(
                warnings,
                &claim["spec"]["resources"][side],
                "storage",
                &at.child(side),
            );
        }
    }
}

/// `new`: what only a new set must fulfil, too; `pods`: the template of the pods.
fn spec(errors: &mut Errors, spec: &Value, new: bool, pods: bool) {
    let policies = ["OrderedReady", "Parallel"];
    let at = SPEC.child("podManagementPolicy");
    match text(&spec["podManagementPolicy"]) {
        "" => errors.push(FieldError::required(&at, "")),
        one if !policies.contains(&one) => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(&at, one, why));
        }
        _ => {}
    }
    strategy(errors, &spec["updateStrategy"]);
    let (keep, at) = (&spec["persistentVolumeClaimRetentionPolicy"], "persistentVolumeClaimRetentionPolicy");
    if !keep.is_null() {
        let at = SPEC.child(at);
        for field in ["whenDeleted", "whenScaled"] {
            one_of(errors, &keep[field], &at.child(field), &["Retain", "Delete"]);
        }
    }
    if new {
        let at = SPEC.child("volumeClaimTemplates");
        for (index, claim) in items(&spec["volumeClaimTemplates"]).iter().enumerate() {
            let at = at.index(index);
            podspec::claim_spec(errors, &claim["spec"], &at.child("spec"));
        }
    }
    non_negative_fields(errors, spec, &SPEC, &["replicas", "minReadySeconds"]);
    let at = SPEC.child("ordinals");
    non_negative(errors, &spec["ordinals"]["start"], &at.child("start"));
    if new && !is_empty(&spec["serviceName"]) {
        named(errors, &spec["serviceName"], &SPEC.child("serviceName"), name::dns_label);
    }
    let at = SPEC.child("template");
    if selector(errors, &spec["selector"], "statefulset", "") {
        template(errors, spec, pods, &at);
    }
    runs_forever(errors, &spec["template"]["spec"], "StatefulSet", &at.child("spec"));
}

fn template(errors: &mut Errors, spec: &Value, pods: bool, path: &Path<'_>) {
    let template = &spec["template"];
    selected(errors, &spec["selector"], template, path);
    let metadata = &template["metadata"];
    if pods {
        podspec::template(errors, &as_made(spec), path);
    } else {
        label::labels(errors, &metadata["labels"], &path.child("labels"));
        label::annotations(errors, &metadata["annotations"], &path.child("annotations"));
        podspec::annotations(errors, &metadata["annotations"], &template["spec"], &path.child("annotations"));
    }
}

/// The template as pods are made of it: with the set's own claims as volumes, its own name and subdomain.
fn as_made(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = items(&spec["volumeClaimTemplates"]);
    let Some(pod) = template.get_mut("spec").filter(|pod| pod.is_object()) else { return template };
    remove(pod, "subdomain");
    remove(pod, "hostname");
    if !claims.is_empty() {
        let name_of = |claim: &Value| text(&claim["metadata"]["name"]).to_owned();
        let mut volumes: Vec<Value> = claims
            .iter()
            .map(|claim| json!({ "name": name_of(claim), "persistentVolumeClaim": { "claimName": name_of(claim) } }))
            .collect();
        let others = items(&pod["volumes"]);
        let hidden = |volume: &&Value| claims.iter().any(|claim| volume["name"] == name_of(claim).as_str());
        volumes.extend(others.iter().filter(|volume| !hidden(volume)).cloned());
        pod["volumes"] = volumes.into();
    }
    template
}

fn strategy(errors: &mut Errors, strategy: &Value) {
    let at = SPEC.child("updateStrategy");
    let rolling = &strategy["rollingUpdate"];
    // As upstream's internal form has it.
    let shown = || match rolling {
        Value::Null => "null".to_owned(),
        _ => {
            let (partition, down) = (int(&rolling["partition"]), &rolling["maxUnavailable"]);
            format!("{{\"Partition\":{partition},\"MaxUnavailable\":{down}}}")
        }
    };
    match text(&strategy["type"]) {
        "" => errors.push(FieldError::required(&at, "")),
        "OnDelete" => {
            if !rolling.is_null() {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(FieldError::invalid(&at.child("rollingUpdate"), "", why).showing(&shown()));
            }
        }
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            non_negative_fields(errors, rolling, &at, &["partition"]);
            let down = &rolling["maxUnavailable"];
            if !down.is_null() {
                let at = at.child("maxUnavailable");
                int_or_percent(errors, down, &at);
                if amount(down) == 0 {
                    errors.push(FieldError::invalid(&at, down.clone(), "cannot be 0"));
                }
                at_most_all(errors, down, &at);
            }
        }
        other => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(&at, "", why).showing(&shown_strategy(other, &shown())));
        }
    }
}

fn fixed(errors: &mut Errors, set: &Value, old: &Value) {
    let rest = |one: &Value| {
        let mut spec = one["spec"].clone();
        for field in MUTABLE {
            remove(&mut spec, field);
        }
        for claim in spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            remove(claim, "status");
        }
        spec
    };
    if !same(&rest(set), &rest(old)) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(&SPEC, why));
    }
}
