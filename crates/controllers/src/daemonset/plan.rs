//! One step of a DaemonSet from one view. Pure.
//!
//! Invariants: a node has one pod that is not going, two only while an update surges; an update takes away no
//! more available pods than may be unavailable, and adds no more than the surge; it does nothing while pods
//! are still to be made or removed otherwise.

use super::node;
use super::status;
use super::view::{Spot, View, oldest_first};
use crate::history::REVISION_HASH;
use crate::replicaset;
use gifee_base::{Gvk, Object};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::rollout::{Bounds, Group, Room, availability, pick};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// At most this many pods are created, and as many deleted, by one reconcile.
pub const BURST: usize = 250;

/// Something to tell about a pod that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The node.
    pub node: String,
    /// The pod.
    pub pod: Arc<Object>,
    /// Whether it failed.
    pub failed: bool,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Pods to adopt.
    pub adopt: Vec<Arc<Object>>,
    /// Pods to release.
    pub release: Vec<Arc<Object>>,
    /// Nodes to create a pod for.
    pub create: Vec<String>,
    /// Pods to delete.
    pub delete: Vec<Arc<Object>>,
    /// Those of them that have ended by themselves.
    pub ended: Vec<Ended>,
    /// What the status should be.
    pub status: Value,
    /// When something comes by mere time: a pod becomes available, or a back-off ends.
    pub again: Option<Duration>,
}

/// Kind of what is planned here.
pub fn kind() -> Gvk {
    Gvk::new("apps", "v1", "DaemonSet")
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan =
        Plan { adopt: view.claims.adopt.clone(), release: view.claims.release.clone(), ..Plan::default() };
    let mut backoff = None;
    for (name, spot) in &view.spots {
        let until = manage(view, name, spot, now, &mut plan);
        backoff = [backoff, until].into_iter().flatten().min();
    }
    if plan.create.is_empty()
        && plan.delete.is_empty()
        && let Some(bounds) = view.bounds(view.desired())
    {
        if bounds.surge == 0 {
            replace(view, bounds, now, &mut plan);
        } else {
            surge(view, bounds, now, &mut plan);
        }
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan.status = status::status(view, now);
    let pods = view.spots.values().flat_map(|spot| &spot.pods);
    let since = pods.filter_map(Brief::ready_since);
    let wake = availability::wake(since, view.minimum_ready_seconds, now);
    let backoff = backoff.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    plan.again = [wake, backoff].into_iter().flatten().min();
    plan
}

/// Sees to it that a node has what belongs there, whatever its revision. Until when a failed pod is left
/// alone.
fn manage(view: &View, name: &str, spot: &Spot, now: Timestamp, plan: &mut Plan) -> Option<Timestamp> {
    let Some(verdict) = spot.verdict else {
        // Nobody else deletes what was meant for a node that is gone.
        let unbound = spot.pods.iter().filter(|pod| pod.spec.node_name.is_empty() && pod.deleted.is_none());
        plan.delete.extend(unbound.map(|pod| pod.object.clone()));
        return None;
    };
    if verdict.run && spot.pods.is_empty() {
        plan.create.push(name.to_owned());
        return None;
    }
    let staying = spot.pods.iter().filter(|pod| pod.deleted.is_none());
    if !verdict.stay {
        plan.delete.extend(staying.map(|pod| pod.object.clone()));
        return None;
    }
    let (mut running, mut wait) = (Vec::new(), None);
    for pod in staying {
        if !pod.terminal() {
            running.push(pod);
            continue;
        }
        let failed = pod.status.phase == "Failed";
        if let Some(until) = spot.backoff.filter(|until| failed && *until > now) {
            wait = Some(until);
            continue;
        }
        plan.delete.push(pod.object.clone());
        plan.ended.push(Ended { node: name.to_owned(), pod: pod.object.clone(), failed });
    }
    running.sort_by(|a, b| oldest_first(a, b));
    if view.surges() {
        if running.is_empty() && verdict.run {
            plan.create.push(name.to_owned());
        }
        let surplus = surplus(view, &running, now);
        plan.delete.extend(surplus.into_iter().map(|pod| pod.object.clone()));
    } else {
        plan.delete.extend(running.iter().skip(1).map(|pod| pod.object.clone()));
    }
    wait
}

/// With surge, two pods stay: one of each side, while the new one is not available and the old one is ready.
fn surplus<'a>(view: &View, running: &[&'a Brief], now: Timestamp) -> Vec<&'a Brief> {
    let (new, old): (Vec<&Brief>, Vec<&Brief>) =
        running.iter().copied().partition(|pod| pod.object.label(REVISION_HASH) == Some(&*view.hash));
    let mut surplus: Vec<&Brief> = new.iter().skip(1).chain(old.iter().skip(1)).copied().collect();
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.ready() || view.available(new, now))
    {
        surplus.push(old);
    }
    surplus
}

/// The new and the old pod of a node; none if there are several of a side.
fn sides<'a>(view: &View, spot: &'a Spot) -> Option<(Option<&'a Brief>, Option<&'a Brief>)> {
    let staying = spot.pods.iter().filter(|pod| pod.deleted.is_none());
    let (new, old): (Vec<&Brief>, Vec<&Brief>) = staying.partition(|pod| view.updated(pod));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// An update that first takes old pods away.
fn replace(view: &View, bounds: Bounds, now: Timestamp, plan: &mut Plan) {
    let (mut missing, mut old) = (0, Vec::new());
    for spot in view.spots.values().filter(|spot| occupied(spot)) {
        match sides(view, spot) {
            Some((Some(new), None)) => missing += i32::from(!view.available(new, now)),
            Some((None, Some(pod))) => {
                missing += i32::from(!view.available(pod, now));
                old.push(pod);
            }
            _ => missing += 1,
        }
    }
    let groups: Vec<Group> = old.iter().map(|pod| Group::one(view.available(pod, now))).collect();
    let room = Room { total: i32::MAX, available: bounds.unavailable - missing };
    let picked = old.iter().zip(pick(&groups, room)).filter(|(_, taken)| *taken > 0);
    plan.delete.extend(picked.map(|(pod, _)| pod.object.clone()));
}

/// Whether a node counts in an update: it has pods, or should have one.
fn occupied(spot: &Spot) -> bool {
    !spot.pods.is_empty() || spot.verdict.is_some_and(|verdict| verdict.run)
}

/// An update that first adds new pods beside the old ones.
fn surge(view: &View, bounds: Bounds, now: Timestamp, plan: &mut Plan) {
    let (mut surging, mut serving) = (0, 0);
    let (mut nodes, mut unwanted) = (Vec::new(), Vec::new());
    for (name, spot) in &view.spots {
        let Some((new, old)) = sides(view, spot) else {
            surging += 1;
            continue;
        };
        let available = |pod: Option<&Brief>| pod.is_some_and(|pod| view.available(pod, now));
        serving += i32::from(available(old.or(new)));
        let Some(old) = old else { continue };
        let run = spot.verdict.is_some_and(|verdict| verdict.run);
        match new {
            Some(_) if available(new) => plan.delete.push(old.object.clone()),
            Some(_) => surging += 1,
            None if run => nodes.push((name, Group::one(available(Some(old))))),
            None if available(Some(old)) => unwanted.push(old),
            None => plan.delete.push(old.object.clone()),
        }
    }
    let groups: Vec<Group> = nodes.iter().map(|(_, group)| *group).collect();
    let room = Room { total: i32::MAX, available: bounds.surge - surging };
    let picked = nodes.iter().zip(pick(&groups, room)).filter(|(_, taken)| *taken > 0);
    plan.create.extend(picked.map(|((name, _), _)| (*name).clone()));
    // A pod that moves to another node goes when its successor there is available.
    let surplus = usize::try_from(serving - view.desired()).unwrap_or_default();
    plan.delete.extend(unwanted.into_iter().take(surplus).map(|pod| pod.object.clone()));
}

/// The pods of a set for any node: what [`pod`] makes without a node.
pub fn template(view: &View) -> Value {
    let mut template = view.tree["spec"]["template"].clone();
    template["spec"]["tolerations"] = node::tolerations(&template["spec"]).into();
    let labels = &mut template["metadata"]["labels"];
    if let Some(generation) = view.generation() {
        labels["pod-template-generation"] = generation.into();
    }
    labels[REVISION_HASH] = view.hash.as_str().into();
    replicaset::pod(&view.set, &kind(), &template)
}

/// Ties a pod to a node. What else the affinity asked of nodes is met, or no pod would be made for it.
pub fn pod(template: &Value, node: &str) -> Value {
    let mut pod = template.clone();
    let affinity = &mut pod["spec"]["affinity"]["nodeAffinity"];
    affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] = json!([
        { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }
    ]);
    pod
}
