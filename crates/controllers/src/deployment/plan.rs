//! One step of a deployment from one view. Pure.
//!
//! A step creates the new replica set, or scales sets in one direction; the next step waits until the
//! caches show this one.

use super::revision::{self, REVISION};
use super::scale::{self, Draft, Drafts};
use super::status::{self, Conditions, Why};
use super::template;
use super::view::{Set, Strategy, TEMPLATE_HASH, View};
use gifee_base::{Gvk, Object};
use gifee_reconcile::{owner, patch};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A change of a replica set.
#[derive(Debug)]
pub struct SetChange {
    /// The set as it is.
    pub set: Arc<Object>,
    /// Merge patch.
    pub patch: Value,
    /// Replicas before and after, if they change.
    pub scaled: Option<(i32, i32)>,
}

/// What to do, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// Replica sets to adopt.
    pub adopt: Vec<Arc<Object>>,
    /// Replica sets to release.
    pub release: Vec<Arc<Object>>,
    /// The new replica set to create.
    pub create: Option<Value>,
    /// Replica sets to change.
    pub change: Vec<SetChange>,
    /// Replica sets of the history to delete.
    pub delete: Vec<Arc<Object>>,
    /// Merge patch of the deployment's metadata.
    pub annotate: Option<Value>,
    /// What the status should be.
    pub status: Value,
    /// When to look at the progress deadline.
    pub again: Option<Duration>,
}

/// Kind of what is planned here.
pub fn kind() -> Gvk {
    Gvk::new("apps", "v1", "Deployment")
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan =
        Plan { adopt: view.claims.adopt.clone(), release: view.claims.release.clone(), ..Plan::default() };
    let mut drafts = drafts(view);
    let mut conditions = Conditions::of(view);
    if view.object.deleting() {
        plan.status = status::status(view, &drafts, conditions, false, now);
        return plan;
    }
    pause(view, &mut conditions, now);
    number(view, &mut drafts, &mut plan);
    let resize = view.paused || scale::changed(view, &drafts);
    if resize {
        scale::resize(view, &mut drafts);
    } else {
        rollout(view, &mut drafts, &mut plan);
    }
    notice(view, &drafts, &plan, &mut conditions, now);
    let rests = plan.create.is_none() && changes(&drafts).is_empty();
    if rests && (view.paused || (!resize && status::complete(view, &drafts))) {
        plan.delete = surplus_history(view, &drafts);
    }
    plan.change = changes(&drafts);
    plan.status = status::status(view, &drafts, conditions, !resize, now);
    plan.again = status::again(view, &plan.status, now);
    plan
}

/// The oldest set with the present template is the new one.
fn drafts(view: &View) -> Drafts<'_> {
    let new = view.sets.iter().position(|set| template::same(&set.template, &view.template));
    let old = view.sets.iter().enumerate().filter(|(at, _)| Some(*at) != new);
    Drafts { new: new.map(|at| Draft::of(&view.sets[at])), old: old.map(|(_, set)| Draft::of(set)).collect() }
}

fn pause(view: &View, conditions: &mut Conditions, now: Timestamp) {
    if view.progress_deadline_seconds.is_none() {
        return;
    }
    let reason = conditions.get("Progressing").map_or(Value::Null, |current| current["reason"].clone());
    if reason == "ProgressDeadlineExceeded" {
        return;
    }
    let paused = reason == "DeploymentPaused";
    let (reason, message) = match (view.paused, paused) {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    conditions.set("Progressing", "Unknown", Why { reason, message: message.into() }, now);
}

/// Keeps number and annotations of the new set, and the deployment's number, up to date.
fn number(view: &View, drafts: &mut Drafts<'_>, plan: &mut Plan) {
    let old: Vec<&Set> = drafts.old.iter().map(|draft| draft.set).collect();
    let next = revision::next(&old);
    let Some(new) = &mut drafts.new else { return };
    new.annotations = revision::annotate(view, &new.annotations, next);
    new.minimum_ready_seconds = view.minimum_ready_seconds;
    let number = new.annotations.get(REVISION);
    if view.annotations.get(REVISION) != number {
        plan.annotate =
            Some(patch::pinned(&view.object, json!({ "metadata": { "annotations": { REVISION: number } } })));
    }
}

fn rollout(view: &View, drafts: &mut Drafts<'_>, plan: &mut Plan) {
    match view.strategy {
        Strategy::Recreate => {
            if scale::drain(view, drafts) {
                return;
            }
            let gone = |draft: &Draft<'_>| {
                draft.set.status.replicas == 0
                    && !view.running.iter().any(|uid| uid == draft.set.object.uid())
            };
            if !drafts.old.iter().all(gone) {
                return;
            }
        }
        Strategy::RollingUpdate(_) => {}
    }
    if drafts.new.is_none() {
        plan.create = Some(new_set(view, drafts));
        return;
    }
    match view.strategy {
        Strategy::Recreate => scale::fill(view, drafts),
        Strategy::RollingUpdate(_) => scale::roll(view, drafts),
    }
}

/// Says in the conditions which set is the new one.
fn notice(view: &View, drafts: &Drafts<'_>, plan: &Plan, conditions: &mut Conditions, now: Timestamp) {
    if view.progress_deadline_seconds.is_none() {
        return;
    }
    if let Some(create) = &plan.create {
        let name = create["metadata"]["name"].as_str().unwrap_or_default();
        let message = format!("Created new replica set {name:?}");
        conditions.set("Progressing", "True", Why { reason: "NewReplicaSetCreated", message }, now);
    } else if let Some(new) = &drafts.new
        && conditions.get("Progressing").is_none()
    {
        let message = format!("Found new replica set {:?}", new.set.object.name());
        conditions.set("Progressing", "True", Why { reason: "FoundNewReplicaSet", message }, now);
    }
}

fn new_set(view: &View, drafts: &Drafts<'_>) -> Value {
    let hash = template::hash(&view.template, view.status["collisionCount"].as_i64());
    let mut template = view.template.clone();
    template["metadata"]["labels"][TEMPLATE_HASH] = hash.as_str().into();
    let mut selector = view.selector.clone();
    selector["matchLabels"][TEMPLATE_HASH] = hash.as_str().into();
    let old: Vec<&Set> = drafts.old.iter().map(|draft| draft.set).collect();
    let mut annotations = revision::annotate(view, &Default::default(), revision::next(&old));
    revision::note_scale(view, &mut annotations);
    let mut spec = json!({
        "replicas": scale::new_replicas(view, drafts.total(), 0),
        "selector": selector,
        "template": template,
    });
    if view.minimum_ready_seconds > 0 {
        spec["minReadySeconds"] = view.minimum_ready_seconds.into();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", view.object.name()),
            "namespace": view.object.namespace(),
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [owner::controller_reference(&view.object, &kind())],
        },
        "spec": spec,
    })
}

fn changes(drafts: &Drafts<'_>) -> Vec<SetChange> {
    let changed = |draft: &Draft<'_>| {
        let set = draft.set;
        let tree = |replicas: i32, seconds: i32, annotations: &_| {
            json!({
                "spec": { "replicas": replicas, "minReadySeconds": seconds },
                "metadata": { "annotations": annotations },
            })
        };
        let old = tree(set.replicas, set.minimum_ready_seconds, &set.annotations);
        let new = tree(draft.replicas, draft.minimum_ready_seconds, &draft.annotations);
        let change = patch::difference(&old, &new)?;
        Some(SetChange {
            set: set.object.clone(),
            patch: patch::pinned(&set.object, change),
            scaled: (set.replicas != draft.replicas).then_some((set.replicas, draft.replicas)),
        })
    };
    drafts.new.iter().chain(&drafts.old).filter_map(changed).collect()
}

/// The oldest revisions beyond the limit, as far as nothing of them is left.
fn surplus_history(view: &View, drafts: &Drafts<'_>) -> Vec<Arc<Object>> {
    let mut old: Vec<&Set> =
        drafts.old.iter().map(|draft| draft.set).filter(|set| !set.object.deleting()).collect();
    let surplus = old.len().saturating_sub(view.history_limit);
    old.sort_by_key(|set| (set.revision(), set.created));
    let empty = |set: &&Set| {
        set.replicas == 0
            && set.status.replicas == 0
            && set.object.generation() <= set.status.observed_generation
    };
    old.into_iter().take(surplus).filter(empty).map(|set| set.object.clone()).collect()
}
