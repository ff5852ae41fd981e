//! The scheduler: a place for every pod.
//!
//! Watches feed a compact picture of the cluster; decisions are pure functions of it; bindings are written
//! in parallel while the next decisions already see their pods as placed. Invariant: a quiet cluster is not
//! written to. Answers to kube-scheduler.

mod cluster;
mod decode;
mod effects;
mod node;
mod placement;
pub mod plugins;
mod pod;
mod preemption;
mod queue;
mod resources;
mod scheduler;
#[cfg(test)]
mod tests;

pub use cluster::{Cluster, Load, Placed};
pub use decode::pod as decode;
pub use node::{Node, Taint, Term};
pub use placement::{Diagnosis, Placement, decide};
pub use plugins::{PLUGINS, Plugin};
pub use pod::{Condition, HostPort, Pod, Template};
pub use resources::Resources;
pub use scheduler::{Binding, Report, Scheduler, Step};

use effects::Effects;
use gifee_base::{FieldSelector, Gvr, Object, ObjectKey, SystemClock};
use gifee_client::cache::{Sink, follow};
use gifee_client::{Client, Scope};
use gifee_reconcile::Recorder;
use gifee_reconcile::events::{Api, Source};
use gifee_reconcile::lease::{Election, Timing};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The name that pods ask for unless they say otherwise.
pub const NAME: &str = "default-scheduler";
/// How many bindings and reports are under way at most; the next decision waits for one of them.
const EFFECTS_MAXIMUM: usize = 128;

/// How to schedule.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which pods to decide on: those with this `spec.schedulerName`.
    pub name: String,
    /// Unique name of this process if several compete to schedule; none: begin at once.
    pub elect_as: Option<String>,
    /// Seed of the lots that are drawn among equally good nodes; none: an unpredictable one.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self { name: NAME.into(), elect_as: None, seed: None }
    }
}

/// Schedules until the shutdown; with [`Config::elect_as`] only while elected.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let Some(identity) = config.elect_as.clone() else {
        return schedule(client, &config, shutdown).await;
    };
    let election = Election {
        client: client.clone(),
        clock: Arc::new(SystemClock),
        lease: ObjectKey::new("kube-system", "kube-scheduler"),
        identity,
        timing: Timing::default(),
    };
    election.run(shutdown, |term| schedule(client.clone(), &config, term)).await;
}

async fn schedule(client: Client, config: &Config, shutdown: CancellationToken) {
    let seed = config.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let clock = Arc::new(SystemClock);
    let source = Source::component(&config.name);
    let events = Recorder::start_api(client.clone(), clock.clone(), source, Api::Events, shutdown.clone());
    let shared = Arc::new(Shared {
        scheduler: Mutex::new(Scheduler::new(&config.name, seed)),
        changed: Notify::new(),
        effects: Effects { client: client.clone(), clock, events },
    });
    let nodes = Arc::new(Nodes { shared: shared.clone(), revision: AtomicU64::new(0) });
    let pods = Arc::new(Pods { shared: shared.clone(), revision: AtomicU64::new(0) });
    let fields = "status.phase!=Succeeded,status.phase!=Failed";
    let unended = FieldSelector::parse(fields).unwrap_or_default();
    let pod_scope = Scope { fields: unended, ..Scope::all(Gvr::core("pods")) };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follow(client.clone(), Scope::all(Gvr::core("nodes")), nodes, shutdown.clone()) => {}
        () = follow(client, pod_scope, pods, shutdown.clone()) => {}
        () = shared.decide() => {}
    }
}

struct Shared {
    scheduler: Mutex<Scheduler>,
    changed: Notify,
    effects: Effects,
}

impl Shared {
    fn with(&self, change: impl FnOnce(&mut Scheduler, Instant)) {
        change(&mut self.scheduler.lock(), Instant::now());
        self.changed.notify_one();
    }

    /// Decides, one pod after the other; effects run beside it.
    async fn decide(self: &Arc<Self>) {
        let permits = Arc::new(Semaphore::new(EFFECTS_MAXIMUM));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            while tasks.try_join_next().is_some() {}
            let step = self.next().await;
            let shared = self.clone();
            tasks.spawn(async move {
                shared.apply(step).await;
                drop(permit);
            });
        }
    }

    async fn next(&self) -> Step {
        loop {
            let deadline = {
                let mut scheduler = self.scheduler.lock();
                if let Some(step) = scheduler.next(Instant::now()) {
                    return step;
                }
                scheduler.deadline()
            };
            match deadline {
                Some(at) => {
                    // Either way the state is looked at again.
                    let _ = tokio::time::timeout_at(at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    async fn apply(&self, step: Step) {
        match step {
            Step::Bind(binding) => match self.effects.bind(&binding).await {
                Ok(()) => self.scheduler.lock().bound(&binding.pod),
                Err(error) => {
                    tracing::warn!(pod = %binding.pod.key, node = %binding.node, %error, "binding failed");
                    let gone = error.is_not_found();
                    self.with(|scheduler, now| scheduler.bind_failed(&binding.pod, gone, now));
                    if !gone {
                        let message = format!("binding rejected: {error}");
                        self.report(&Report { pod: binding.pod, reason: "SchedulerError", message }).await;
                    }
                }
            },
            Step::Report(report) => self.report(&report).await,
        }
    }

    async fn report(&self, report: &Report) {
        match self.effects.report(report).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => {
                tracing::warn!(pod = %report.pod.key, %error, "cannot write why a pod has no place")
            }
        }
    }
}

struct Nodes {
    shared: Arc<Shared>,
    revision: AtomicU64,
}

fn node(object: &Object) -> Option<Node> {
    Node::decode(object)
        .inspect_err(|error| tracing::error!(node = object.name(), %error, "cannot decode a node"))
        .ok()
}

impl Sink for Nodes {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        let nodes = objects.iter().filter_map(node).collect();
        self.shared.with(|scheduler, now| scheduler.replace_nodes(nodes, now));
        self.revision.store(revision, Ordering::Relaxed);
    }

    fn apply(&self, object: Object) {
        if let Some(node) = node(&object) {
            self.shared.with(|scheduler, now| scheduler.node_changed(node, now));
        }
        self.advance(object.revision());
    }

    fn remove(&self, last: Object) {
        self.shared.with(|scheduler, _| scheduler.node_removed(last.name()));
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}

struct Pods {
    shared: Arc<Shared>,
    revision: AtomicU64,
}

fn pod(object: &Object) -> Option<Pod> {
    decode::pod(object)
        .inspect_err(|error| tracing::error!(pod = %object.key(), %error, "cannot decode a pod"))
        .ok()
}

impl Sink for Pods {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        let pods = objects.iter().filter_map(pod).collect();
        self.shared.with(|scheduler, now| scheduler.replace_pods(pods, now));
        self.revision.store(revision, Ordering::Relaxed);
    }

    fn apply(&self, object: Object) {
        if let Some(pod) = pod(&object) {
            self.shared.with(|scheduler, now| scheduler.pod_changed(pod, now));
        }
        self.advance(object.revision());
    }

    fn remove(&self, last: Object) {
        self.shared.with(|scheduler, now| scheduler.pod_removed(&last.key(), now));
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}
