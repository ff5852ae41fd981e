//! Gives workloads the number of replicas that their metrics ask for.
//!
//! Invariant: metrics are asked of the API server, whoever serves them, once a round; a size is written through the scale
//! subresource of the target, of whatever kind it is. Answers to upstream's horizontal pod autoscaler.

pub mod behavior;
pub mod calculate;
pub mod metrics;
pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use behavior::Memory;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use gifee_base::{Gvk, Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::discovery::Discovery;
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Expectations, Outcome, Reconcile, Reference, Result, patch, work};
use metrics::Source;
use parking_lot::Mutex;
use plan::{Plan, Scale, View};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "horizontal-pod-autoscaler-controller";
const WORKERS: usize = 5;
/// How often a size is written if others write at the same time.
const ATTEMPTS: u32 = 5;
/// How often metrics are looked at: they change with time, and nobody tells.
const ROUND: Duration = Duration::from_secs(15);

fn autoscalers() -> Gvr {
    Gvr::new("autoscaling", "v2", "horizontalpodautoscalers")
}

fn autoscaler() -> Gvk {
    Gvk::new("autoscaling", "v2", "HorizontalPodAutoscaler")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let context = context.recording("horizontal-pod-autoscaler");
        let cache = context.caches.scope(Scope::all(autoscalers()));
        let pods = context.caches.pods();
        cache.synced().await;
        pods.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if respecified(change) {
                sink.add(change.object().key());
            }
        });
        let controller = Autoscalers {
            expected: Expectations::new(cache.clone()),
            context: context.clone(),
            cache,
            pods,
            known: Mutex::default(),
            resources: Mutex::default(),
        };
        work(&context, NAME, queue, Arc::new(controller), WORKERS).await;
    }
    .boxed()
}

/// Whether an autoscaler came, went or wants something else; its status is its own work.
fn respecified(change: &Change<'_>) -> bool {
    match change.old.zip(change.new) {
        Some((old, new)) => old.value_at(&["spec"]) != new.value_at(&["spec"]),
        None => true,
    }
}

/// What is known of an autoscaler that no object says.
#[derive(Clone, Default)]
struct Known {
    memory: Memory,
    selector: Option<LabelSelector>,
}

struct Autoscalers {
    context: Context,
    cache: Arc<Cache>,
    pods: Arc<Cache>,
    expected: Expectations,
    /// At most one per autoscaler.
    known: Mutex<HashMap<ObjectKey, Known>>,
    /// How URLs name kinds, as far as they were asked for: group and kind.
    resources: Mutex<HashMap<(String, String), Vec<Gvr>>>,
}

impl Autoscalers {
    /// How URLs name a kind, the preferred version first.
    async fn resources(&self, reference: &Value) -> Result<Vec<Gvr>, String> {
        let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
        let kind = Gvk::from_api_version(&text("apiVersion"), &text("kind"));
        let key = (kind.group.to_string(), kind.kind.to_string());
        if let Some(found) = self.resources.lock().get(&key) {
            return Ok(found.clone());
        }
        let all = Discovery::load(&self.context.client).await.map_err(|error| error.to_string())?;
        let mut named: Vec<_> = all
            .resources
            .iter()
            .filter(|one| one.gvk.group == kind.group && one.gvk.kind == kind.kind && one.namespaced)
            .collect();
        named.sort_by_key(|one| (!one.preferred, one.gvk.version != kind.version));
        let found: Vec<Gvr> = named.iter().map(|one| one.gvr.clone()).collect();
        if found.is_empty() {
            let group = if key.0.is_empty() { String::new() } else { format!(" in group {:?}", key.0) };
            return Err(format!("no matches for kind {:?}{group}", key.1));
        }
        self.resources.lock().insert(key, found.clone());
        Ok(found)
    }

    /// The scale of a target, with whose resource it is.
    async fn scale(&self, key: &ObjectKey, reference: &Value) -> Result<(Gvr, Object), String> {
        let name = reference["name"].as_str().unwrap_or_default();
        let target = ObjectKey::new(&key.namespace, name);
        let mut refused = None;
        for resource in self.resources(reference).await? {
            match self.context.client.get_subresource(&resource, &target, "scale").await {
                Ok(scale) => return Ok((resource, scale)),
                Err(error) => {
                    refused.get_or_insert(error.to_string());
                }
            }
        }
        // The kind may have been defined anew.
        let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
        let kind = Gvk::from_api_version(&text("apiVersion"), &text("kind"));
        self.resources.lock().remove(&(kind.group.to_string(), kind.kind.to_string()));
        Err(refused.unwrap_or_else(|| "unrecognized resource".to_owned()))
    }

    async fn observe(&self, object: &Object, tree: &Value, scale: Result<Scale, String>) -> View {
        let key = &object.key();
        let known = self.known.lock().entry(key.clone()).or_default().clone();
        let mut view = View {
            generation: object.generation(),
            spec: tree["spec"].clone(),
            status: tree["status"].clone(),
            scale,
            blocked: None,
            pods: Vec::new(),
            readings: Vec::new(),
            memory: known.memory,
        };
        let by_metrics = |scale: &Scale| plan::decided(&view.spec, &view.status, scale).is_none();
        let Some(scale) = view.scale.clone().ok().filter(by_metrics) else { return view };
        match self.select(key, &scale) {
            Err(blocked) => view.blocked = Some(blocked),
            Ok((selector, pods)) => {
                view.pods = pods;
                let metrics = view.spec["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
                let readings = metrics.iter().map(|metric| self.read(key, &selector, metric));
                view.readings = join_all(readings).await;
            }
        }
        view
    }

    async fn read(
        &self,
        key: &ObjectKey,
        selector: &LabelSelector,
        metric: &Value,
    ) -> Result<metrics::Reading, String> {
        let source = Source { client: &self.context.client, namespace: &key.namespace, selector };
        if metric["type"] != "Object" {
            return source.read(metric, None).await;
        }
        let described = self.resources(&metric["object"]["describedObject"]).await.ok();
        let described = described.as_ref().and_then(|found| found.first());
        source.read(metric, described.map(|one| (&*one.resource, &*one.group))).await
    }

    /// The pods of a target, unless another autoscaler has a hand in them: then reason and message.
    fn select(&self, key: &ObjectKey, scale: &Scale) -> Result<(LabelSelector, Vec<Value>), [String; 2]> {
        let invalid = |message: String| ["InvalidSelector".to_owned(), message];
        if scale.selector.is_empty() {
            return Err(invalid("the HPA target's scale is missing a selector".into()));
        }
        let selector = LabelSelector::parse(&scale.selector).map_err(|why| {
            invalid(format!("couldn't convert selector into a corresponding internal selector object: {why}"))
        })?;
        let pods: Vec<Arc<Object>> = {
            let all = self.pods.read();
            all.namespace(&key.namespace).filter(|pod| pod.selected(&selector)).cloned().collect()
        };
        let mut known = self.known.lock();
        known.entry(key.clone()).or_default().selector = Some(selector.clone());
        let others = known.iter().filter(|(other, one)| {
            other.namespace == key.namespace
                && one.selector.as_ref().is_some_and(|selector| pods.iter().any(|pod| pod.selected(selector)))
        });
        let mut names: Vec<String> = others.map(|(other, _)| other.to_string()).collect();
        drop(known);
        if names.len() > 1 {
            names.sort_unstable();
            let message = format!(
                "pods by selector {} are controlled by multiple HPAs: [{}]",
                scale.selector,
                names.join(" ")
            );
            return Err(["AmbiguousSelector".to_owned(), message]);
        }
        let trees = pods.iter().filter_map(|pod| pod.to_value().ok()).collect();
        Ok((selector, trees))
    }

    async fn apply(
        &self,
        object: &Object,
        view: &View,
        mut plan: Plan,
        target: Option<(Gvr, Object)>,
    ) -> Result<()> {
        let key = object.key();
        let about = Reference::new(object, &autoscaler());
        if let (Some((replicas, reason)), Some((resource, scale))) = (plan.resize.clone(), target) {
            match self.resize(&resource, &scale, replicas).await {
                Ok(()) => {
                    let message = format!("New size: {replicas}; reason: {reason}");
                    self.context.events.normal(about.clone(), "SuccessfulRescale", message);
                }
                Err(why) => plan = plan::refused(view, plan, &why, self.context.clock.now()),
            }
        }
        for note in &plan.notes {
            match note.warning {
                true => self.context.events.warning(about.clone(), note.reason, note.message.clone()),
                false => self.context.events.normal(about.clone(), note.reason, note.message.clone()),
            }
        }
        self.known.lock().entry(key.clone()).or_default().memory = plan.memory;
        if let Some(change) = patch::status(object, &view.status, &plan.status) {
            let written =
                self.context.client.patch_status(&autoscalers(), &key, PatchKind::Merge, change).await;
            match written {
                Ok(written) => self.expected.wrote(&key, written.revision()),
                Err(error) => {
                    self.context.events.warning(about, "FailedUpdateStatus", error.to_string());
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Writes a size on top of what others wrote meanwhile.
    async fn resize(&self, resource: &Gvr, scale: &Object, replicas: i32) -> Result<(), String> {
        let (client, key) = (&self.context.client, scale.key());
        let mut scale = scale.clone();
        for attempt in 1.. {
            let mut tree = scale.to_value().map_err(|error| error.to_string())?;
            tree["spec"]["replicas"] = replicas.into();
            match client.update_subresource(resource, &key, "scale", tree).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    let found = client.get_subresource(resource, &key, "scale").await;
                    scale = found.map_err(|error| error.to_string())?;
                }
                written => return written.map(drop).map_err(|error| error.to_string()),
            }
        }
        Ok(())
    }
}

fn scale_of(object: &Object) -> Scale {
    let tree = object.to_value().unwrap_or_default();
    let count =
        |value: &Value| value.as_i64().and_then(|count| i32::try_from(count).ok()).unwrap_or_default();
    Scale {
        wanted: count(&tree["spec"]["replicas"]),
        present: count(&tree["status"]["replicas"]),
        selector: tree["status"]["selector"].as_str().unwrap_or_default().to_owned(),
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Autoscalers {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.cache.get(key) else {
            self.known.lock().remove(key);
            self.expected.forget(key);
            return Ok(Outcome::Done);
        };
        if !self.expected.met(key) {
            return Ok(Outcome::After(ROUND));
        }
        let tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let found = self.scale(key, &tree["spec"]["scaleTargetRef"]).await;
        let (target, scale) = match found {
            Ok((resource, scale)) => (Some((resource, scale.clone())), Ok(scale_of(&scale))),
            Err(why) => (None, Err(why)),
        };
        let view = self.observe(&object, &tree, scale).await;
        let plan = plan::plan(&view, self.context.clock.now());
        self.apply(&object, &view, plan, target).await?;
        Ok(Outcome::After(ROUND))
    }
}
