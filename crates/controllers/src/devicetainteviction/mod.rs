//! Deletes pods whose devices bear a NoExecute taint that the pods do not tolerate, or not for so long.
//!
//! Invariant: only a pod that a claim is reserved for is touched, and only once. Answers to upstream's device taint
//! eviction controller.

pub mod plan;
pub mod status;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::resourceclaim::plan::names_claims;
use crate::tainteviction::evict;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Index, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Outcome, Reconcile, Reference, Result, work};
use parking_lot::Mutex;
use plan::{End, NO_EXECUTE, current, end, held, list, names, selects, text};
use serde_json::{Value, json};
use status::Counts;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "device-taint-eviction-controller";
const COMPONENT: &str = "device-taint-eviction";
const WORKERS: usize = 8;

/// Allocated claims by the UIDs of the pods that they are reserved for.
const BY_POD: Index = Index {
    name: "pod",
    values: |object, add| {
        let claim = object.to_value().unwrap_or_default();
        if held(&claim).next().is_some() {
            for entry in claim["status"]["reservedFor"].as_array().into_iter().flatten() {
                add(entry["uid"].as_str().unwrap_or_default());
            }
        }
    },
};

/// Slices by `DRIVER/POOL`: what a pool has of a device is in the newest of its slices, tainted or not.
const BY_POOL: Index = Index {
    name: "pool",
    values: |object, add| {
        let text = |path: &[&str]| object.text_at(path).unwrap_or_default();
        add(&format!("{}/{}", text(&["spec", "driver"]), text(&["spec", "pool", "name"])));
    },
};

fn resource(name: &str) -> Gvr {
    Gvr::new("resource.k8s.io", "v1", name)
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let controller = Arc::new(Devices::new(context.recording(COMPONENT)));
        for cache in [&controller.pods, &controller.claims, &controller.slices, &controller.rules] {
            cache.synced().await;
        }
        let queue = controller.queue.clone();
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

/// What a reconcile is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// A pod.
    Pod(ObjectKey),
    /// A rule's status.
    Rule(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Rule(key) => write!(f, "rule {key}"),
        }
    }
}

/// So many pods that were told to go are remembered, to tell none twice before it is seen to go.
const REMEMBERED: usize = 500;

/// Who went.
#[derive(Default)]
struct Evicted {
    /// How many pods because of a rule, by its UID; bounded by the number of rules.
    by_rule: HashMap<String, usize>,
    /// UIDs of the last pods.
    pods: VecDeque<String>,
}

impl Evicted {
    fn add(&mut self, pod: &Object, rules: &BTreeSet<String>) {
        rules.iter().for_each(|rule| *self.by_rule.entry(rule.clone()).or_default() += 1);
        self.pods.truncate(REMEMBERED - 1);
        self.pods.push_front(pod.uid().to_owned());
    }
}

struct Devices {
    context: Context,
    pods: Arc<Cache>,
    claims: Arc<Cache>,
    slices: Arc<Cache>,
    rules: Arc<Cache>,
    /// Pods that wait for their end, with their UIDs; bounded by the number of pods.
    waiting: Mutex<HashMap<ObjectKey, String>>,
    evicted: Mutex<Evicted>,
    queue: Arc<Queue<Key>>,
}

impl Devices {
    fn new(context: Context) -> Self {
        let all = |name: &str| context.caches.scope(Scope::all(resource(name)));
        let claims = all("resourceclaims");
        claims.add_index(BY_POD);
        let slices = all("resourceslices");
        slices.add_index(BY_POOL);
        Self {
            pods: context.caches.pods(),
            claims,
            slices,
            rules: all("devicetaintrules"),
            waiting: Mutex::default(),
            evicted: Mutex::default(),
            queue: Arc::new(Queue::new()),
            context,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<Key>>) {
        let sink = queue.clone();
        self.claims.subscribe(move |change| change.sides().for_each(|claim| users(claim, &sink)));
        for taints in [&self.slices, &self.rules] {
            let (this, sink) = (self.clone(), queue.clone());
            taints.subscribe(move |change| {
                let mut sides = change.sides();
                if sides.any(|one| memchr::memmem::find(one.raw(), NO_EXECUTE.as_bytes()).is_some()) {
                    this.claims.read().all().for_each(|claim| users(claim, &sink));
                }
            });
        }
        let (this, sink) = (self.clone(), queue.clone());
        self.rules.subscribe(move |change| {
            let rule = change.object();
            let Some(new) = change.new else {
                this.evicted.lock().by_rule.remove(rule.uid());
                return;
            };
            // Its own status is none of its business.
            if change.old.is_none_or(|old| old.generation() != new.generation() || old.uid() != new.uid()) {
                sink.add(Key::Rule(rule.key()));
            }
        });
        let (this, sink) = (self, queue.clone());
        this.clone().pods.subscribe(move |change| {
            let pod = change.object();
            let placed = change.old.is_none_or(|old| old.text_at(&["spec", "nodeName"]).is_none());
            if names_claims(pod)
                && (change.new.is_none() || placed || this.waiting.lock().contains_key(&pod.key()))
            {
                sink.add(Key::Pod(pod.key()));
            }
        });
    }

    /// When a pod has to go as the rules stand.
    fn end(&self, pod: &Object, rules: &[Value]) -> Option<End> {
        let tree = |object: &Arc<Object>| object.to_value().ok();
        let claims: Vec<Value> = self.claims.read().indexed(&BY_POD, pod.uid()).filter_map(tree).collect();
        if claims.is_empty() {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pool = |device: &Value| format!("{}/{}", text(&device["driver"]), text(&device["pool"]));
        let pools: BTreeSet<String> = claims.iter().flat_map(held).map(pool).collect();
        let known = self.slices.read();
        let slices: Vec<Value> =
            pools.iter().flat_map(|pool| known.indexed(&BY_POOL, pool)).filter_map(tree).collect();
        end(&claims, &slices, rules)
    }

    fn all_rules(&self) -> Vec<Value> {
        self.rules.read().all().filter_map(|rule| rule.to_value().ok()).collect()
    }

    /// Has the status of rules written that a pod has to go because of.
    fn tell(&self, end: &End, after: Duration) {
        let rules = self.rules.read();
        for rule in rules.all().filter(|rule| end.rules.contains(rule.uid())) {
            self.queue.add_after(Key::Rule(rule.key()), after);
        }
    }

    /// What a rule concerns; one without effect is taken as if it had the one that it tries out.
    fn count(&self, rule: &Value) -> Counts {
        let (mut counts, mut pods) = (Counts::default(), BTreeMap::new());
        {
            let slices: Vec<Value> = self.slices.read().all().filter_map(|one| one.to_value().ok()).collect();
            let devices = |slice: &Value| {
                let (driver, pool) = (&slice["spec"]["driver"], &slice["spec"]["pool"]["name"]);
                let mine = list(&slice["spec"]["devices"])
                    .filter(|device| selects(rule, [driver, pool, &device["name"]]));
                mine.count()
            };
            counts.published = current(&slices).map(devices).sum();
        }
        for claim in self.claims.read().all() {
            let claim = claim.to_value().unwrap_or_default();
            let mine = held(&claim).filter(|device| selects(rule, names(device))).count();
            counts.allocated += mine;
            for user in list(&claim["status"]["reservedFor"]).filter(|_| mine > 0) {
                let key = ObjectKey::new(text(&claim["metadata"]["namespace"]), text(&user["name"]));
                pods.insert(key, text(&user["uid"]).to_owned());
            }
        }
        let uid = text(&rule["metadata"]["uid"]);
        let mut rules = self.all_rules();
        for one in rules.iter_mut().filter(|one| one["metadata"]["uid"] == uid) {
            one["spec"]["taint"]["effect"] = NO_EXECUTE.into();
        }
        let mut namespaces = BTreeSet::new();
        for (key, own) in pods {
            let pod = self.pods.get(&key).filter(|pod| pod.uid() == own && !pod.deleting());
            let ends = pod.and_then(|pod| self.end(&pod, &rules));
            if ends.is_some_and(|end| end.rules.contains(uid)) {
                counts.pods += 1;
                namespaces.insert(key.namespace);
            }
        }
        counts.namespaces = namespaces.len();
        counts
    }

    /// Has a pod go, if its time has come.
    async fn judge(&self, key: &ObjectKey) -> Result<Outcome> {
        let goes =
            |pod: &Object| pod.deleting() || self.evicted.lock().pods.iter().any(|one| one == pod.uid());
        let Some(pod) = self.pods.get(key).filter(|pod| !goes(pod)) else {
            self.waiting.lock().remove(key);
            return Ok(Outcome::Done);
        };
        let now = self.context.clock.now();
        match self.end(&pod, &self.all_rules()) {
            None => self.release(key),
            Some(end) if end.at > now => {
                let new = self.waiting.lock().insert(key.clone(), pod.uid().to_owned()).is_none();
                if new {
                    self.tell(&end, Duration::ZERO);
                }
                let left = end.at.duration_since(now).try_into().unwrap_or(Duration::ZERO);
                return Ok(Outcome::After(left));
            }
            Some(end) => {
                let reference = Reference::new(&pod, &Gvk::new("", "v1", "Pod"));
                self.context.events.normal(reference, "DeviceTaintManagerEviction", "Marking for deletion");
                let message = "Device Taint manager: deleting due to NoExecute taint";
                let gone = evict(&self.context, &pod, "DeletionByDeviceTaintManager", message).await?;
                self.waiting.lock().remove(key);
                if gone {
                    self.evicted.lock().add(&pod, &end.rules);
                }
                // What is counted has to have come back.
                self.tell(&end, status::PERIOD);
            }
        }
        Ok(Outcome::Done)
    }

    /// Says in a rule's status whom it makes go.
    async fn report(&self, key: &ObjectKey) -> Result<Outcome> {
        let rule = self.rules.get(key).and_then(|rule| rule.to_value().ok());
        let Some(rule) = rule else { return Ok(Outcome::Done) };
        let now = self.context.clock.now();
        if let Some(wait) = status::wait(&rule, now) {
            return Ok(Outcome::After(wait));
        }
        let mut counts = if status::counts(&rule) { self.count(&rule) } else { Counts::default() };
        counts.evicted =
            self.evicted.lock().by_rule.get(text(&rule["metadata"]["uid"])).copied().unwrap_or_default();
        if let Some(condition) = status::condition(&rule, counts, now) {
            let change = json!({ "metadata": { "uid": rule["metadata"]["uid"] }, "status": { "conditions": [condition] } });
            let gvr = resource("devicetaintrules");
            self.context.client.patch_status(&gvr, key, PatchKind::Strategic, change).await?;
        }
        Ok(Outcome::Done)
    }

    fn release(&self, key: &ObjectKey) {
        let Some(uid) = self.waiting.lock().remove(key) else { return };
        let reference = Reference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid,
            ..Reference::default()
        };
        self.context.events.normal(reference, "DeviceTaintManagerEviction", "Cancelling deletion");
    }
}

/// Brings the pods that a claim is reserved for.
fn users(claim: &Arc<Object>, queue: &Queue<Key>) {
    let reserved: Vec<Value> = claim
        .value_at(&["status", "reservedFor"])
        .and_then(|reserved| serde_json::from_slice(reserved).ok())
        .unwrap_or_default();
    for entry in reserved.iter().filter(|entry| entry["resource"] == "pods") {
        queue.add(Key::Pod(ObjectKey::new(claim.namespace(), text(&entry["name"]))));
    }
}

#[async_trait]
impl Reconcile<Key> for Devices {
    async fn reconcile(&self, key: &Key) -> Result<Outcome> {
        match key {
            Key::Pod(key) => self.judge(key).await,
            Key::Rule(key) => self.report(key).await,
        }
    }
}
