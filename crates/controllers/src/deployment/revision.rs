//! The annotations with which deployments number their replica sets, and by which kubectl rolls back.

use super::view::{Set, View};
use gifee_reconcile::rollout;
use std::collections::BTreeMap;

/// Number of a revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier numbers of the same replica set.
pub const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the deployment wanted when it last scaled the set.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many it allowed then.
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// Longest history, in bytes.
const HISTORY_MAXIMUM: usize = 2000;

/// Annotations of a deployment that are not its replica sets'.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
];

/// The number that the next new replica set gets.
pub fn next(old: &[&Set]) -> i64 {
    rollout::revision::next(old.iter().map(|set| set.revision()))
}

/// The annotations of the new replica set: the deployment's, and a number not below `revision`.
pub fn annotate(view: &View, present: &BTreeMap<String, String>, revision: i64) -> BTreeMap<String, String> {
    let mut annotations = present.clone();
    for (key, value) in view.annotations.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        annotations.insert(key.clone(), value.clone());
    }
    let old = present.get(REVISION);
    let old_number = old.and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    if old_number >= revision {
        return annotations;
    }
    annotations.insert(REVISION.into(), revision.to_string());
    if let Some(old) = old.filter(|_| old_number > 0) {
        let mut history: Vec<&str> =
            present.get(HISTORY).map(|text| text.split(',').collect()).unwrap_or_default();
        history.push(old);
        let mut text = history.join(",");
        while text.len() > HISTORY_MAXIMUM && history.len() > 1 {
            history.remove(0);
            text = history.join(",");
        }
        annotations.insert(HISTORY.into(), text);
    }
    annotations
}

/// Notes what a deployment wants and allows.
pub fn note_scale(view: &View, annotations: &mut BTreeMap<String, String>) {
    annotations.insert(DESIRED.into(), view.replicas.to_string());
    annotations.insert(MAXIMUM.into(), view.maximum_pods().to_string());
}

/// A number out of an annotation.
pub fn number(annotations: &BTreeMap<String, String>, key: &str) -> Option<i32> {
    annotations.get(key)?.parse().ok()
}
