//! Which resources there are to watch, and the watches: of each one only metadata, none of it kept.
//!
//! Invariant: one watch for each resource that the server can list, watch and delete. What there is, is
//! asked anew when a definition of resources changes or an unknown kind is met; a slow repetition is only a
//! safety net. Bounded by the server's resources.

use super::Collector;
use super::graph::Kind;
use gifee_base::{Gvr, Object};
use gifee_client::Scope;
use gifee_client::cache::{Sink, follow};
use gifee_client::discovery::Discovery;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Others ask the server only by a change of a definition.
const REPEAT: Duration = Duration::from_secs(300);
/// A new definition is served only a little later.
const AFTER_CHANGE: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(900), Duration::from_secs(4)];
/// A server that gives no answer is asked again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// So long work waits for the first view of everything; an API server behind this one may be away.
const SYNC_MAXIMUM: Duration = Duration::from_secs(30);

/// Changes of these bring and take resources.
const DEFINITIONS: [(&str, &str); 2] =
    [("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// The running watches.
#[derive(Default)]
pub struct Monitors {
    running: BTreeMap<Gvr, Running>,
}

struct Running {
    kind: Arc<Kind>,
    stop: CancellationToken,
    synced: watch::Receiver<bool>,
}

/// The resources to watch, each in the first version that has it.
pub fn deletable(discovery: &Discovery) -> BTreeMap<Gvr, Arc<Kind>> {
    let mut seen = HashSet::new();
    let mut kinds = BTreeMap::new();
    for resource in &discovery.resources {
        let gvr = &resource.gvr;
        let ignored = &*gvr.resource == "events" && matches!(&*gvr.group, "" | "events.k8s.io");
        if ignored || !resource.supports(&["delete", "list", "watch"]) || !seen.insert(gvr.group_resource()) {
            continue;
        }
        let kind = Kind {
            gvr: gvr.clone(),
            api_version: resource.gvk.api_version(),
            kind: resource.gvk.kind.to_string(),
            namespaced: resource.namespaced,
        };
        kinds.insert(gvr.clone(), Arc::new(kind));
    }
    kinds
}

impl Monitors {
    /// Starts and stops watches; what is no longer watched is returned.
    pub fn adjust(&mut self, collector: &Arc<Collector>, discovery: &Discovery) -> Vec<Arc<Kind>> {
        let wanted = deletable(discovery);
        let mut stopped = Vec::new();
        self.running.retain(|gvr, running| {
            // A group whose server is away is still there.
            let away = || discovery.missing.contains(&gvr.api_version());
            let stays = wanted.get(gvr).map_or_else(away, |kind| *kind == running.kind);
            if !stays {
                running.stop.cancel();
                stopped.push(running.kind.clone());
            }
            stays
        });
        for (gvr, kind) in wanted {
            if self.running.contains_key(&gvr) {
                continue;
            }
            let (sender, synced) = watch::channel(false);
            let stop = collector.context.shutdown.child_token();
            let monitor = Monitor {
                defines: DEFINITIONS.contains(&(&*gvr.group, &*gvr.resource)),
                collector: collector.clone(),
                kind: kind.clone(),
                stop: stop.clone(),
                synced: sender,
                revision: AtomicU64::default(),
            };
            let scope = Scope::metadata(gvr.clone());
            let client = collector.context.client.clone();
            tokio::spawn(follow(client, scope, Arc::new(monitor), stop.clone()));
            self.running.insert(gvr, Running { kind, stop, synced });
        }
        stopped
    }

    fn all_synced(&self) -> Vec<watch::Receiver<bool>> {
        self.running.values().map(|running| running.synced.clone()).collect()
    }
}

/// One watch.
struct Monitor {
    collector: Arc<Collector>,
    kind: Arc<Kind>,
    stop: CancellationToken,
    synced: watch::Sender<bool>,
    revision: AtomicU64,
    /// Whether its objects define resources.
    defines: bool,
}

impl Monitor {
    fn changed(&self, change: impl FnOnce(&mut super::graph::Graph, &mut Vec<super::graph::Effect>)) {
        let mut effects = Vec::new();
        {
            let mut graph = self.collector.graph.lock();
            // One that was stopped must not bring back what was forgotten.
            if !self.stop.is_cancelled() {
                change(&mut graph, &mut effects);
            }
        }
        self.collector.perform(effects);
        if self.defines && *self.synced.borrow() {
            self.collector.rediscover.notify_one();
        }
    }
}

impl Sink for Monitor {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        self.changed(|graph, effects| graph.replace(&self.kind, &objects, effects));
        self.advance(revision);
        self.synced.send_replace(true);
    }

    fn apply(&self, object: Object) {
        self.changed(|graph, effects| graph.apply(&self.kind, &object, effects));
        self.advance(object.revision());
    }

    fn remove(&self, last: Object) {
        self.changed(|graph, effects| graph.remove(&self.kind, last.uid(), effects));
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
}

/// All kinds that the server knows, to find what a reference means.
pub type Kinds = Mutex<HashMap<(String, String), (Gvr, bool)>>;

/// Asks the server what there is, and adjusts the watches to it.
async fn discover(collector: &Arc<Collector>) -> bool {
    let discovery = match Discovery::load(&collector.context.client).await {
        Ok(discovery) => discovery,
        Err(error) => {
            tracing::debug!(%error, "discovery failed");
            return false;
        }
    };
    let mut kinds = HashMap::new();
    for resource in &discovery.resources {
        let name = (resource.gvk.api_version(), resource.gvk.kind.to_string());
        kinds.entry(name).or_insert_with(|| (resource.gvr.clone(), resource.namespaced));
    }
    *collector.kinds.lock() = kinds;
    let stopped = collector.monitors.lock().adjust(collector, &discovery);
    for kind in stopped {
        collector.graph.lock().forget(&kind);
    }
    true
}

/// Starts all watches, and waits until each has shown what there is.
pub async fn start(collector: &Arc<Collector>) {
    while !discover(collector).await {
        tokio::time::sleep(AFTER_FAILURE).await;
    }
    let all = collector.monitors.lock().all_synced();
    let synced = async {
        for mut one in all {
            // A watch that has ended shows nothing more.
            let _ = one.wait_for(|synced| *synced).await;
        }
    };
    if tokio::time::timeout(SYNC_MAXIMUM, synced).await.is_err() {
        tracing::warn!("some resources cannot be watched; collecting garbage without them");
    }
}

/// Follows what resources there are.
pub async fn keep(collector: Arc<Collector>) {
    loop {
        let changed = tokio::time::timeout(REPEAT, collector.rediscover.notified()).await.is_ok();
        for delay in AFTER_CHANGE.iter().take(if changed { AFTER_CHANGE.len() } else { 1 }) {
            tokio::time::sleep(*delay).await;
            discover(&collector).await;
        }
    }
}
