//! Nodes that exist only as objects: their leases are renewed, pods bound to them become ready after a delay, end if
//! they are made to end, and go when they are told to.
//!
//! Invariants: one watch on pods and one on nodes for all of them, whatever their number; a timer per pod only while something is due of
//! it; at most [`CALLS_MAXIMUM`] calls under way. What is said of a pod is said of the state that it was decided on: if
//! there is another one by then, the watch brings it and it is decided again. A node that has failed does nothing.
//! Answers to kubemark's hollow kubelets.

mod conduct;
mod lease;
mod node;
mod status;

pub use conduct::{Conduct, Script};
pub use node::Shape;

use crate::ledger::Ledger;
use gifee_base::{Clock, Gvr, Object, ObjectKey};
use gifee_client::cache::{Sink, follow};
use gifee_client::{Client, DeleteOptions, PatchKind, Scope};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Calls of all simulated agents together that are under way at once; further ones wait their turn.
const CALLS_MAXIMUM: usize = 128;
/// How long after a call that failed it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes the client of a node's agent, by the node's name.
pub type Agents = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// How simulated nodes behave.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// From binding to ready.
    pub start: Duration,
    /// From being told to go to being gone; never longer than the pod's own grace period.
    pub stop: Duration,
    /// How long pods run that end by themselves, which are those that are not always restarted.
    pub run: Duration,
    /// How often each lease is renewed; zero: never, and there are none.
    pub renew: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start: Duration::from_millis(50),
            stop: Duration::ZERO,
            run: Duration::from_secs(1),
            renew: Duration::from_secs(10),
        }
    }
}

/// What is due of a pod.
#[derive(Clone, Debug)]
enum Due {
    /// It begins, or what holds it up is told.
    Start(Object),
    /// It becomes ready or unready.
    Turn(Object),
    /// It ends by itself.
    Finish(Object),
    /// It goes since it was told to.
    Stop(Object),
}

impl Due {
    fn pod(&self) -> &Object {
        let (Self::Start(object) | Self::Turn(object) | Self::Finish(object) | Self::Stop(object)) = self;
        object
    }
}

/// What the fleet knows.
#[derive(Default)]
struct State {
    ledger: Ledger,
    /// Simulated nodes, and whether each lives.
    nodes: HashMap<Arc<str>, bool>,
    /// What is due of pods, by time; the number tells those of one time apart. At most one entry per pod.
    due: BTreeMap<(Instant, u64), Due>,
    /// Where a pod's entry is.
    planned: HashMap<ObjectKey, (Instant, u64)>,
    planned_count: u64,
    address: u32,
    /// How single pods behave, if anybody says so.
    script: Option<Script>,
}

/// Simulated nodes, and the ledger of all pods.
pub struct Fleet {
    client: Client,
    agents: Agents,
    clock: Arc<dyn Clock>,
    behaviour: Behaviour,
    state: Mutex<State>,
    /// Something is due earlier than before.
    earlier: Notify,
    /// Counts changes of pods, for those who wait.
    changes: watch::Sender<u64>,
    revision: AtomicU64,
    calls: Arc<Semaphore>,
    renewals: Mutex<lease::Ring>,
}

impl Fleet {
    /// Starts with no nodes; returns when all pods that there are have been seen.
    pub async fn start(
        client: Client,
        agents: Agents,
        clock: Arc<dyn Clock>,
        behaviour: Behaviour,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let fleet = Arc::new(Self {
            client: client.clone(),
            agents,
            clock,
            behaviour,
            state: Mutex::default(),
            earlier: Notify::new(),
            changes: watch::Sender::new(0),
            revision: AtomicU64::new(0),
            calls: Arc::new(Semaphore::new(CALLS_MAXIMUM)),
            renewals: Mutex::default(),
        });
        let mut synced = fleet.changes.subscribe();
        let sink: Arc<dyn Sink> = Arc::new(Feed(fleet.clone()));
        tokio::spawn(follow(client.clone(), Scope::all(Gvr::core("pods")), sink, shutdown.clone()));
        if behaviour.renew > Duration::ZERO {
            let sink: Arc<dyn Sink> = Arc::new(lease::Feed::new(fleet.clone()));
            tokio::spawn(follow(client, Scope::all(Gvr::core("nodes")), sink, shutdown.clone()));
        }
        for task in [true, false] {
            let (fleet, shutdown) = (fleet.clone(), shutdown.clone());
            tokio::spawn(async move {
                let work = async { if task { fleet.act().await } else { fleet.renew().await } };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = work => {}
                }
            });
        }
        // The sender lives in the fleet.
        let _ = synced.wait_for(|changes| *changes > 0).await;
        fleet
    }

    /// Reads or changes the ledger.
    pub fn ledger<T>(&self, use_it: impl FnOnce(&mut Ledger) -> T) -> T {
        use_it(&mut self.state.lock().ledger)
    }

    /// Tells of changes of pods.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes nodes live: leases are renewed, pods run. Pods that were bound to them before begin to run now.
    pub async fn adopt(&self, names: &[String]) {
        {
            let mut state = self.state.lock();
            for name in names {
                state.nodes.insert(name.as_str().into(), true);
            }
        }
        self.revisit(names).await;
        if self.behaviour.renew > Duration::ZERO {
            self.lease(names).await;
        }
    }

    /// Looks again at pods that stand on nodes.
    async fn revisit(&self, names: &[String]) {
        let bound: Vec<ObjectKey> = {
            let state = self.state.lock();
            let on = |node: &Arc<str>| names.iter().any(|name| **name == **node);
            let pods = state.ledger.pods.iter();
            pods.filter(|(_, pod)| pod.node.as_ref().is_some_and(on)).map(|(key, _)| key.clone()).collect()
        };
        for key in bound {
            // One that is gone needs nothing.
            let _ = self.look(&key).await;
        }
    }

    /// Lets nodes fail: from now on they do nothing, and nobody is told.
    pub fn fail(&self, names: &[String]) {
        let mut state = self.state.lock();
        for name in names {
            if let Some(alive) = state.nodes.get_mut(name.as_str()) {
                *alive = false;
            }
        }
    }

    /// Nodes that do not exist any more.
    pub fn forget(&self, names: &[String]) {
        let mut state = self.state.lock();
        for name in names {
            state.nodes.remove(name.as_str());
        }
    }

    /// How many nodes live.
    pub fn living(&self) -> usize {
        self.state.lock().nodes.values().filter(|alive| **alive).count()
    }

    fn lives(&self, name: &str) -> bool {
        self.state.lock().nodes.get(name).copied().unwrap_or_default()
    }

    /// Takes in a pod's state, and plans what is due of it.
    fn see(&self, object: Object) {
        self.consider(self.state.lock(), object);
    }

    /// Plans again what is due of a pod that was read, unless the watch has shown another state of it or is about to:
    /// what has been read may be the older one, or of a pod that is gone by now.
    fn see_again(&self, object: Object) {
        let state = self.state.lock();
        let known = state.ledger.pods.get(&object.key()).map(|pod| pod.revision);
        if known == Some(object.revision()) {
            self.consider(state, object);
        }
    }

    fn consider(&self, mut state: MutexGuard<'_, State>, object: Object) {
        let now = Instant::now();
        let pod = state.ledger.put(&object, now);
        let live = pod.node.as_ref().is_some_and(|node| state.nodes.get(node).copied().unwrap_or_default());
        let conduct = state.conduct(&object);
        let next = match live {
            false => None,
            true if pod.deleting => Some((self.behaviour.stop.min(grace(&object)), Due::Stop(object))),
            true if pod.ended => None,
            true if !pod.started && conduct.stuck && status::waits(&object) => None,
            true if pod.started && pod.serves == conduct.unready => Some((Duration::ZERO, Due::Turn(object))),
            true if !pod.started => Some((self.behaviour.start, Due::Start(object))),
            true if !conduct.endless && status::ends(&object) => {
                Some((status::run_time(&object).unwrap_or(self.behaviour.run), Due::Finish(object)))
            }
            true => None,
        };
        let earlier = state.plan(next, now);
        drop(state);
        if earlier {
            self.earlier.notify_one();
        }
        self.tell();
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Does what is due, when it is due.
    async fn act(self: &Arc<Self>) {
        loop {
            let (next, deadline) = self.state.lock().next(Instant::now());
            if let Some(due) = next {
                let Ok(permit) = self.calls.clone().acquire_owned().await else { return };
                let fleet = self.clone();
                tokio::spawn(async move {
                    fleet.perform(due).await;
                    drop(permit);
                });
                continue;
            }
            match deadline {
                // Either way the state is looked at again.
                Some(at) => drop(tokio::time::timeout_at(at, self.earlier.notified()).await),
                None => self.earlier.notified().await,
            }
        }
    }

    async fn perform(&self, due: Due) {
        let object = due.pod();
        let node = object.text_at(&["spec", "nodeName"]).unwrap_or_default().into_owned();
        if !self.lives(&node) {
            return;
        }
        let client = (self.agents)(&node);
        let conduct = self.state.lock().conduct(object);
        let now = self.clock.now();
        let outcome = match &due {
            Due::Start(pod) => {
                let patch = match &conduct.refused {
                    Some(reason) => status::refused(pod, reason, now),
                    None if conduct.stuck => status::waiting(pod, now),
                    None => status::running(pod, &self.address(), &node, !conduct.unready, now),
                };
                self.write(&client, pod, patch).await
            }
            Due::Turn(pod) => self.write(&client, pod, status::turned(pod, !conduct.unready, now)).await,
            Due::Finish(pod) => {
                let restarts = status::restarts(pod);
                let code = conduct.code(pod, restarts);
                let patch = match code != 0 && status::restarted_on_failure(pod) {
                    true => status::restarted(pod, code, restarts + 1, now),
                    false => status::ended(pod, code, now),
                };
                self.write(&client, pod, patch).await
            }
            Due::Stop(pod) => self.stop(&client, pod).await,
        };
        match outcome {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                tracing::debug!(pod = %object.key(), %error, "a simulated node could not tell");
                let mut state = self.state.lock();
                // What came meanwhile has a plan of its own.
                if !state.planned.contains_key(&object.key()) {
                    state.plan(Some((AGAIN, due)), Instant::now());
                    self.earlier.notify_one();
                }
            }
            _ => {}
        }
    }

    async fn write(&self, client: &Client, pod: &Object, status: Value) -> gifee_client::Result<()> {
        let (gvr, key) = (Gvr::core("pods"), pod.key());
        client.patch_status(&gvr, &key, PatchKind::Strategic, status).await.map(drop)
    }

    /// A pod has ended: whoever holds it by a finalizer reads how, then it goes.
    async fn stop(&self, client: &Client, pod: &Object) -> gifee_client::Result<()> {
        if pod.finalizers() > 0 && !status::terminal(pod) {
            self.write(client, pod, status::ended(pod, status::TERMINATED, self.clock.now())).await?;
        }
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::of_uid(pod.uid()) };
        client.delete(&Gvr::core("pods"), &pod.key(), &options).await.map(drop)
    }

    /// An address that no pod had before, until all have been used.
    fn address(&self) -> String {
        let mut state = self.state.lock();
        state.address = (state.address + 1) & 0x00ff_ffff;
        let [_, a, b, c] = state.address.to_be_bytes();
        format!("10.{a}.{b}.{c}")
    }
}

/// The grace period that the pod was given when it was told to go.
fn grace(object: &Object) -> Duration {
    let seconds = object
        .value_at(&["metadata", "deletionGracePeriodSeconds"])
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

impl State {
    /// How a pod behaves.
    fn conduct(&self, pod: &Object) -> Conduct {
        self.script.as_ref().map(|script| script(pod)).unwrap_or_default()
    }

    /// Plans what is due of a pod in place of what was; whether it is the earliest of all.
    fn plan(&mut self, next: Option<(Duration, Due)>, now: Instant) -> bool {
        let Some((delay, due)) = next else { return false };
        let key = due.pod().key();
        let mut at = (now + delay, self.planned_count);
        self.planned_count += 1;
        if let Some(old) = self.planned.get(&key).copied()
            && let Some(was) = self.due.remove(&old)
            && std::mem::discriminant(&was) == std::mem::discriminant(&due)
        {
            // The same as before, of a newer state: its time has been running.
            at = old;
        }
        self.planned.insert(key, at);
        self.due.insert(at, due);
        self.due.first_key_value().is_some_and(|(first, _)| *first == at)
    }

    /// What is due now, or when something will be.
    fn next(&mut self, now: Instant) -> (Option<Due>, Option<Instant>) {
        match self.due.first_key_value() {
            None => (None, None),
            Some(((at, _), _)) if *at > now => (None, Some(*at)),
            Some(_) => {
                let due = self.due.pop_first().map(|(_, due)| due);
                if let Some(due) = &due {
                    self.planned.remove(&due.pod().key());
                }
                (due, None)
            }
        }
    }

    fn drop_plan(&mut self, key: &ObjectKey) {
        if let Some(at) = self.planned.remove(key) {
            self.due.remove(&at);
        }
    }
}

/// The fleet as its watch tells it.
struct Feed(Arc<Fleet>);

impl Sink for Feed {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        let gone: Vec<(ObjectKey, Arc<str>)> = {
            let state = self.0.state.lock();
            let present: std::collections::HashSet<ObjectKey> = objects.iter().map(Object::key).collect();
            let pods = state.ledger.pods.iter();
            pods.filter(|(key, _)| !present.contains(*key))
                .map(|(key, pod)| (key.clone(), pod.uid.clone()))
                .collect()
        };
        for (key, uid) in gone {
            let mut state = self.0.state.lock();
            state.drop_plan(&key);
            state.ledger.remove(&key, &uid);
        }
        for object in objects {
            self.0.see(object);
        }
        self.0.revision.store(revision, Ordering::Relaxed);
        self.0.tell();
    }

    fn apply(&self, object: Object) {
        let revision = object.revision();
        self.0.see(object);
        self.advance(revision);
    }

    fn remove(&self, last: Object) {
        {
            let mut state = self.0.state.lock();
            state.drop_plan(&last.key());
            state.ledger.remove(&last.key(), last.uid());
        }
        self.0.tell();
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.0.revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn revision(&self) -> u64 {
        self.0.revision.load(Ordering::Relaxed)
    }
}
