//! Pods: made in numbers, waited for.

use super::stage::AT_ONCE;
use super::template::Template;
use super::{Outcome, Stage, Step};
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::workload::{Reading, decode};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use gifee_base::{Gvr, LabelSelector};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const NAMESPACE: &str = "simulation";
const TIMEOUT_SECONDS: u64 = 600;
/// How long nothing may be bound, once all that wait have been refused, before they count as having no place.
const PATIENCE: Duration = Duration::from_secs(3);

fn seconds() -> u64 {
    TIMEOUT_SECONDS
}

fn measured() -> bool {
    true
}

fn namespace() -> String {
    NAMESPACE.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    count: usize,
    #[serde(default = "namespace")]
    namespace: String,
    #[serde(default)]
    template: Option<Value>,
    #[serde(default, alias = "podTemplatePath")]
    template_path: Option<String>,
    #[serde(default = "measured")]
    collect_metrics: bool,
    #[serde(default)]
    skip_wait_to_completion: bool,
    #[serde(default)]
    stage: Option<Wanted>,
    #[serde(default = "seconds")]
    timeout_seconds: u64,
}

/// Makes pods.
struct Create {
    fields: Fields,
    template: Template,
}

/// Reads `createPods`.
pub fn create(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let mut fields: Fields = decode(fields, &reading.path)?;
    let own = reading.template(fields.template.take(), fields.template_path.as_deref())?;
    let mut pod = own.unwrap_or_else(|| {
        let requests = json!({ "cpu": "100m", "memory": "500Mi" });
        json!({ "spec": { "containers": [
            { "name": "pause", "image": "registry.k8s.io/pause:3.10", "resources": { "requests": requests } }] } })
    });
    if !pod.is_object() {
        return Err(Error::field(reading.field("template"), "must be a pod"));
    }
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    Ok(Box::new(Create { fields, template: Template::new(pod, "pod") }))
}

#[async_trait]
impl Step for Create {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let Fields { count, namespace, .. } = &self.fields;
        stage.namespace(namespace).await?;
        let first = stage.numbers(&format!("pods/{namespace}"), *count);
        let begun = Instant::now();
        stage.measure(namespace);
        stream::iter(first..first + count)
            .map(|number| async move {
                let body = self.template.write(number);
                let made = stage.client.create(&Gvr::core("pods"), namespace, body).await;
                made.map(drop)
                    .map_err(|source| Error::Call { what: format!("creating pod {number}"), source })
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let mut outcome = Outcome::of(*count);
        if self.fields.skip_wait_to_completion {
            stage.measured();
            return Ok(outcome);
        }
        let wanted = self.fields.stage.unwrap_or(Wanted::Scheduled);
        let timeout = Duration::from_secs(self.fields.timeout_seconds);
        let all = |ledger: &Ledger| ledger.measured.as_ref().is_some_and(|times| wanted.of(times) >= *count);
        let waited = tokio::select! {
            waited = stage.wait("pods to be scheduled", timeout, all) => waited,
            () = hopeless(stage, namespace) => Ok(()),
        };
        let times = stage.measured();
        waited?;
        let last = if wanted == Wanted::Ready { times.last_ready } else { times.last_bound };
        outcome.time = last.map(|last| last - begun);
        let done = wanted.of(&times);
        if done < *count {
            outcome.notes.push(format!("{} of {count} pods have no place", count - done));
            outcome.count = done;
        }
        if self.fields.collect_metrics {
            outcome.latencies = vec![("bound", times.bound), ("ready", times.ready)];
        }
        Ok(outcome)
    }
}

/// Ends when all pods that wait in a namespace have been refused and none has been bound for a while.
async fn hopeless(stage: &Stage, namespace: &str) {
    let mut changes = stage.fleet.changes();
    loop {
        let state = |ledger: &mut Ledger| {
            let waiting =
                ledger.pods.iter().filter(|(key, pod)| *key.namespace == *namespace && pod.pending());
            let refused = waiting.clone().all(|(_, pod)| pod.reason.is_some());
            (refused && waiting.count() > 0, ledger.measured.as_ref().map(|times| times.bound.len()))
        };
        let before = stage.fleet.ledger(state);
        // Time without a change is what is waited for here.
        tokio::time::sleep(PATIENCE).await;
        if before.0 && stage.fleet.ledger(state) == before {
            return;
        }
        if !before.0 && changes.changed().await.is_err() {
            return;
        }
    }
}

/// How far pods are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Wanted {
    /// Bound, or refused.
    Attempted,
    /// Bound.
    Scheduled,
    /// Ready.
    Ready,
}

impl Wanted {
    fn of(self, times: &crate::ledger::Times) -> usize {
        match self {
            Self::Ready => times.ready.len(),
            Self::Attempted | Self::Scheduled => times.bound.len(),
        }
    }
}

/// Waits for all pods, or those of a namespace or with labels.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Barrier {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    label_selector: String,
    #[serde(default = "scheduled", alias = "stageRequirement")]
    stage: Wanted,
    #[serde(default = "seconds")]
    timeout_seconds: u64,
}

fn scheduled() -> Wanted {
    Wanted::Scheduled
}

#[async_trait]
impl Step for Barrier {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let selector = LabelSelector::parse(&self.label_selector)
            .map_err(|error| Error::field("labelSelector", error))?;
        let mut chosen = None;
        if !selector.is_everything() {
            let options = gifee_client::ListOptions { labels: selector, ..Default::default() };
            let listed = stage.client.list_all(&Gvr::core("pods"), &self.namespace, &options).await;
            let listed = listed.map_err(|source| Error::Call { what: "listing pods".into(), source })?;
            chosen = Some(listed.items.iter().map(gifee_base::Object::key).collect::<Vec<_>>());
        }
        let reached = |pod: &crate::ledger::Pod| match self.stage {
            Wanted::Attempted => !pod.pending() || pod.reason.is_some(),
            Wanted::Scheduled => !pod.pending(),
            Wanted::Ready => pod.ready.is_some() || pod.ended,
        };
        let mut count = 0;
        let done = |ledger: &Ledger| match &chosen {
            Some(keys) => {
                count = keys.len();
                keys.iter().all(|key| ledger.pods.get(key).is_none_or(reached))
            }
            None => {
                let inside = |key: &gifee_base::ObjectKey| {
                    self.namespace.is_empty() || *key.namespace == *self.namespace
                };
                let mut pods = ledger.pods.iter().filter(|(key, _)| inside(key));
                count = ledger.pods.len();
                pods.all(|(_, pod)| reached(pod))
            }
        };
        stage.wait("pods at the barrier", Duration::from_secs(self.timeout_seconds), done).await?;
        Ok(Outcome::of(count))
    }
}

/// Waits until nothing more is to be expected of any pod, and nothing has happened to one for a moment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Settle {
    #[serde(default = "quiet")]
    quiet_seconds: f64,
    #[serde(default = "seconds")]
    timeout_seconds: u64,
}

fn quiet() -> f64 {
    1.0
}

impl Default for Settle {
    fn default() -> Self {
        Self { quiet_seconds: quiet(), timeout_seconds: seconds() }
    }
}

#[async_trait]
impl Step for Settle {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let quiet = Duration::try_from_secs_f64(self.quiet_seconds)
            .map_err(|error| Error::field("quietSeconds", error))?;
        let begun = Instant::now();
        let timeout = Duration::from_secs(self.timeout_seconds);
        let mut changes = stage.fleet.changes();
        let mut last = begun;
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            stage.wait("pods to settle", left, |ledger| ledger.unsettled == 0).await?;
            changes.mark_unchanged();
            // Time without a change is what is waited for here.
            if tokio::time::timeout(quiet, changes.changed()).await.is_err()
                && stage.fleet.ledger(|ledger| ledger.unsettled == 0)
            {
                let count = stage.fleet.ledger(|ledger| ledger.pods.len());
                return Ok(Outcome { time: Some(last - begun), ..Outcome::of(count) });
            }
            last = Instant::now();
        }
    }
}

/// Lets time pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    #[serde(alias = "duration")]
    seconds: f64,
}

#[async_trait]
impl Step for Sleep {
    async fn run(&self, _: &Stage) -> Result<Outcome> {
        let time =
            Duration::try_from_secs_f64(self.seconds).map_err(|error| Error::field("seconds", error))?;
        tokio::time::sleep(time).await;
        Ok(Outcome::default())
    }
}
