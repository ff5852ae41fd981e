//! What a namespace that is being deleted says of itself, and whether it may go. Pure.

use gifee_base::{Gvr, Object, clock};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The finalizer in `spec` that keeps a namespace until it is empty.
pub const FINALIZER: &str = "kubernetes";
/// Time between two looks while something remains that no watch tells of; it doubles up to the second.
const AGAIN_BASE: Duration = Duration::from_millis(500);
const AGAIN_MAXIMUM: Duration = Duration::from_secs(15);

/// What is left of one resource after all of it was asked to go.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// How many objects.
    pub objects: usize,
    /// How many of them wait for each finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// A namespace and what was found in it.
pub struct View {
    /// The object.
    pub namespace: Arc<Object>,
    /// Its tree.
    pub tree: Value,
    /// What is left, by resource; nothing of a resource is no entry.
    pub remains: BTreeMap<Gvr, Remains>,
    /// Why not all resources are known.
    pub discovery_failure: Option<String>,
    /// Why some content could not be deleted.
    pub content_failure: Option<String>,
    /// How often it was looked at before in vain.
    pub tries: u32,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// What the status should be.
    pub status: Value,
    /// Whether the namespace may go.
    pub finalize: bool,
    /// When to look again.
    pub again: Option<Duration>,
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let failed = view.discovery_failure.is_some() || view.content_failure.is_some();
    let empty = view.remains.is_empty() && !failed;
    let again = AGAIN_BASE.saturating_mul(1 << view.tries.min(10)).min(AGAIN_MAXIMUM);
    Plan { status: status(view, now), finalize: empty, again: (!empty).then_some(again) }
}

fn status(view: &View, now: Timestamp) -> Value {
    let mut conditions = view.tree["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let failure = |kind, failure: &Option<String>, reason, ok_reason, ok_message: &str| match failure {
        Some(message) => (kind, "True", reason, message.clone()),
        None => (kind, "False", ok_reason, ok_message.to_owned()),
    };
    let found = [
        failure(
            "NamespaceDeletionDiscoveryFailure",
            &view.discovery_failure,
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        failure(
            "NamespaceDeletionGroupVersionParsingFailure",
            &None,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        failure(
            "NamespaceDeletionContentFailure",
            &view.content_failure,
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        failure(
            "NamespaceContentRemaining",
            &content(view),
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        failure(
            "NamespaceFinalizersRemaining",
            &finalizers(view),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    for (kind, status, reason, message) in found {
        set(&mut conditions, kind, status, reason, &message, now);
    }
    json!({ "phase": "Terminating", "conditions": conditions })
}

fn content(view: &View) -> Option<String> {
    let mut texts: Vec<String> = view
        .remains
        .iter()
        .map(|(gvr, remains)| {
            format!("{}.{} has {} resource instances", gvr.resource, gvr.group, remains.objects)
        })
        .collect();
    texts.sort();
    (!texts.is_empty()).then(|| format!("Some resources are remaining: {}", texts.join(", ")))
}

fn finalizers(view: &View) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in view.remains.values().flat_map(|remains| &remains.finalizers) {
        *counts.entry(name).or_default() += count;
    }
    let texts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    (!texts.is_empty())
        .then(|| format!("Some content in the namespace has finalizers remaining: {}", texts.join(", ")))
}

fn set(conditions: &mut Vec<Value>, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    let mut condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": clock::format_time(now),
    });
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}
