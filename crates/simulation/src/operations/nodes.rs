//! Nodes: added, lost, drained.

use super::stage::AT_ONCE;
use super::{Outcome, Stage, Step, apart};
use crate::error::{Error, Result, While};
use crate::fleet::Shape;
use crate::workload::Reading;
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use gifee_base::{Gvr, ObjectKey, Reason};
use gifee_client::{DeleteOptions, ListOptions, PatchKind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const ZONE: &str = "topology.kubernetes.io/zone";
/// How long evictions that a budget forbids are tried again.
const DRAIN_SECONDS: u64 = 30;
/// How long after a refused eviction it is tried again, as kubectl does.
const AGAIN: Duration = Duration::from_secs(1);

fn nodes() -> Gvr {
    Gvr::core("nodes")
}

/// Adds simulated nodes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateFields {
    count: usize,
}

struct Create {
    own: CreateFields,
    shape: Shape,
}

/// Reads `createNodes`.
pub fn create(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let (own, shape) = apart(fields, reading, &["count"])?;
    Ok(Box::new(Create { own, shape }))
}

#[async_trait]
impl Step for Create {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let first = stage.numbers(&format!("nodes/{}", self.shape.prefix), self.own.count);
        let names: Vec<String> =
            (first..first + self.own.count).map(|index| self.shape.name(index)).collect();
        stream::iter(first..first + self.own.count)
            .map(|index| async move {
                let made =
                    stage.client.create(&nodes(), "", self.shape.object(index, stage.clock.now())).await;
                made.map(drop).while_doing(|| format!("creating node {}", self.shape.name(index)))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        stage.fleet.adopt(&names).await;
        Ok(Outcome::of(self.own.count))
    }
}

/// Which nodes are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Chosen {
    #[serde(default)]
    zone: String,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    count: Option<usize>,
}

impl Chosen {
    /// Their names.
    async fn names(&self, stage: &Stage) -> Result<Vec<String>> {
        let listed = stage.client.list_all(&nodes(), "", &ListOptions::default()).await;
        let listed = listed.while_doing(|| "listing nodes".into())?;
        if let Some(name) =
            self.nodes.iter().find(|name| !listed.items.iter().any(|node| node.name() == **name))
        {
            return Err(Error::field("nodes", format!("there is no node {name:?}")));
        }
        let every = self.nodes.is_empty() && self.zone.is_empty();
        if every && self.count.is_none() {
            return Err(Error::field("zone", "one of zone, nodes and count is required"));
        }
        let found = listed.items.iter().filter(|node| {
            let in_zone = !self.zone.is_empty() && node.label(ZONE) == Some(&self.zone);
            every || in_zone || self.nodes.iter().any(|name| node.name() == name)
        });
        let names: Vec<String> =
            found.take(self.count.unwrap_or(usize::MAX)).map(|node| node.name().to_owned()).collect();
        if names.is_empty() {
            return Err(Error::field("zone", format!("there is no node in zone {:?}", self.zone)));
        }
        Ok(names)
    }
}

/// How nodes are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Loss {
    /// Known to be gone for good, as an administrator or a cloud says it: the nodes are deleted, their pods with them.
    #[default]
    Removed,
    /// They fall silent: what follows takes the time that it takes.
    Silent,
}

/// Loses nodes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FailFields {
    #[serde(default)]
    mode: Loss,
}

struct Fail {
    own: FailFields,
    chosen: Chosen,
}

/// Reads `failNodes`.
pub fn fail(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let (own, chosen) = apart(fields, reading, &["mode"])?;
    Ok(Box::new(Fail { own, chosen }))
}

#[async_trait]
impl Step for Fail {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let names = self.chosen.names(stage).await?;
        stage.fleet.fail(&names);
        let outcome = Outcome { question: true, ..Outcome::of(names.len()) };
        if self.own.mode == Loss::Silent {
            return Ok(outcome);
        }
        for name in &names {
            let deleted =
                stage.client.delete(&nodes(), &ObjectKey::cluster(name), &DeleteOptions::default()).await;
            deleted.map(drop).while_doing(|| format!("deleting node {name}"))?;
        }
        let lost = pods_on(stage, &names, |_| true);
        for (key, uid) in lost {
            let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::of_uid(&uid) };
            match stage.client.delete(&Gvr::core("pods"), &key, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => {
                    return Err(Error::Call { what: format!("deleting pod {key}"), source: error });
                }
                _ => {}
            }
        }
        stage.fleet.forget(&names);
        Ok(outcome)
    }
}

/// Pods on nodes, with their UIDs.
fn pods_on(
    stage: &Stage,
    names: &[String],
    wanted: impl Fn(&crate::ledger::Pod) -> bool,
) -> Vec<(ObjectKey, std::sync::Arc<str>)> {
    stage.fleet.ledger(|ledger| {
        let on = |pod: &crate::ledger::Pod| {
            pod.node.as_ref().is_some_and(|node| names.iter().any(|name| **name == **node))
        };
        let pods = ledger.pods.iter().filter(|(_, pod)| on(pod) && wanted(pod));
        pods.map(|(key, pod)| (key.clone(), pod.uid.clone())).collect()
    })
}

/// Cordons nodes and evicts their pods, those of DaemonSets excepted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DrainFields {
    #[serde(default = "drain_seconds")]
    timeout_seconds: u64,
}

struct Drain {
    own: DrainFields,
    chosen: Chosen,
}

/// Reads `drain`.
pub fn drain(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let (own, chosen) = apart(fields, reading, &["timeoutSeconds"])?;
    Ok(Box::new(Drain { own, chosen }))
}

fn drain_seconds() -> u64 {
    DRAIN_SECONDS
}

#[async_trait]
impl Step for Drain {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let names = self.chosen.names(stage).await?;
        for name in &names {
            let patch = json!({ "spec": { "unschedulable": true } });
            let key = ObjectKey::cluster(name);
            let patched = stage.client.patch(&nodes(), &key, PatchKind::Merge, patch).await;
            patched.map(drop).while_doing(|| format!("cordoning node {name}"))?;
        }
        let leave = |pod: &crate::ledger::Pod| {
            !pod.ended && pod.owner.as_deref().is_none_or(|owner| !owner.starts_with("DaemonSet/"))
        };
        let pods = pods_on(stage, &names, leave);
        let deadline = Instant::now() + Duration::from_secs(self.own.timeout_seconds);
        let count = pods.len();
        let kept: Vec<String> = stream::iter(pods)
            .map(|(key, _)| evict(stage, key, deadline))
            .buffer_unordered(AT_ONCE)
            .try_filter_map(|kept| async { Ok(kept) })
            .try_collect()
            .await?;
        let mut outcome = Outcome { question: true, ..Outcome::of(count - kept.len()) };
        outcome.notes = kept;
        Ok(outcome)
    }
}

/// Evicts a pod; why it stays if it does.
async fn evict(stage: &Stage, key: ObjectKey, deadline: Instant) -> Result<Option<String>> {
    loop {
        let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "namespace": &*key.namespace, "name": &*key.name } });
        match stage.client.create_subresource(&Gvr::core("pods"), &key, "eviction", body).await {
            Ok(_) => return Ok(None),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.is(Reason::TooManyRequests) && Instant::now() + AGAIN < deadline => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) if error.is(Reason::TooManyRequests) => {
                return Ok(Some(format!("pod {key} stays: {error}")));
            }
            Err(source) => return Err(Error::Call { what: format!("evicting pod {key}"), source }),
        }
    }
}
