//! Brings news to the pods' workers: changes of pods from the API, events from the runtime.
//!
//! Invariant: what waits here is names, each once; a missed event leads to a look at everything. Answers to the
//! kubelet's sync loop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gifee_base::{FieldSelector, Gvr, LabelSelector, ObjectKey, Quantity};
use gifee_client::{Cache, Client, Scope};
use gifee_oci::status::{Event, EventKind};
use gifee_reconcile::{decode, gvr};
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use tokio_util::sync::CancellationToken;

use crate::admission::preemption::{self, CRITICAL, Candidate};
use crate::admission::{self, Refusal, Taken};
use crate::agent::Agent;
use crate::config::Config;
use crate::labels;
use crate::pod::conditions::PREEMPTED;
use crate::pod::resize::{Allotment, Pending, describe, overlay};
use crate::pod::{members, qos};
use crate::worker::{Mailbox, Records, Worker};

/// The cache of the pods of this node.
pub fn pods(agent: &Agent) -> Arc<Cache> {
    let scope = scope(gvr::<Pod>(), &format!("spec.nodeName={}", agent.config.node_name));
    Cache::start(agent.client.clone(), scope, agent.shutdown.clone())
}

/// The cache of the node's own object.
pub fn node(client: &Client, config: &Config, shutdown: &CancellationToken) -> Arc<Cache> {
    let scope = scope(gvr::<Node>(), &format!("metadata.name={}", config.node_name));
    Cache::start(client.clone(), scope, shutdown.clone())
}

fn scope(gvr: Gvr, fields: &str) -> Scope {
    Scope {
        gvr,
        namespace: String::new(),
        labels: LabelSelector::everything(),
        fields: FieldSelector::parse(fields).unwrap_or_else(|_| FieldSelector::everything()),
        metadata_only: false,
    }
}

/// What the runtime has, by the UID of the pod.
pub async fn records(agent: &Agent) -> Result<HashMap<String, Records>, gifee_oci::Error> {
    let mut found: HashMap<String, Records> = HashMap::new();
    let mut owners: HashMap<String, String> = HashMap::new();
    for sandbox in agent.runtime.sandboxes().await? {
        let Some(uid) = labels::sandbox_uid(&sandbox).map(str::to_owned) else { continue };
        owners.insert(sandbox.id.clone(), uid.clone());
        found.entry(uid).or_default().sandboxes.push(sandbox);
    }
    for container in agent.runtime.containers().await? {
        if let Some(uid) = owners.get(&container.sandbox) {
            found.entry(uid.clone()).or_default().containers.push(container);
        }
    }
    Ok(found)
}

/// Names that wait to be looked at, each once.
#[derive(Default)]
struct Changed {
    keys: Mutex<BTreeSet<ObjectKey>>,
    notify: Notify,
}

/// Brings the news.
pub struct Dispatch {
    agent: Arc<Agent>,
    cache: Arc<Cache>,
    changed: Arc<Changed>,
    records: HashMap<String, Records>,
    /// What the runtime tells, from before its records were read, so that nothing in between is missed.
    events: broadcast::Receiver<Event>,
    /// What the pods take that were taken on, by UID. At most one for each mailbox.
    taken: HashMap<String, Admitted>,
}

/// A pod that was taken on.
struct Admitted {
    generation: Option<i64>,
    taken: Taken,
    over: bool,
    class: qos::Class,
    priority: i32,
    /// The pod as it is, if it asks for other resources than it could be given.
    pending: Option<Arc<Pod>>,
}

impl Dispatch {
    /// Of an agent, the pods of its node, and what its runtime had when it began.
    pub fn new(
        agent: Arc<Agent>,
        cache: Arc<Cache>,
        records: HashMap<String, Records>,
        events: broadcast::Receiver<Event>,
    ) -> Dispatch {
        let changed: Arc<Changed> = Arc::default();
        let told = changed.clone();
        cache.subscribe(move |change| {
            told.keys.lock().insert(change.object().key());
            told.notify.notify_one();
        });
        Dispatch { agent, cache, changed, records, events, taken: HashMap::new() }
    }

    /// Works until it is dropped. The cache is in sync.
    pub async fn run(mut self) {
        self.changes();
        self.orphans();
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => self.event(&event),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        let all: Vec<Arc<Mailbox>> = self.agent.pods.lock().values().cloned().collect();
                        all.iter().for_each(|mailbox| mailbox.missed());
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = self.changed.notify.notified() => self.changes(),
            }
        }
    }

    fn event(&self, event: &Event) {
        let Some(mailbox) = self.agent.mailbox_of(&event.sandbox) else { return };
        match event.kind {
            EventKind::SandboxLost => mailbox.lost(),
            _ => mailbox.container(&event.container),
        }
    }

    fn changes(&mut self) {
        let keys = std::mem::take(&mut *self.changed.keys.lock());
        let mut pods = Vec::new();
        for key in keys {
            let pod = self.cache.get(&key).and_then(|object| {
                let pod = decode::<Pod>(&object);
                pod.inspect_err(|error| tracing::error!(%error, "a pod cannot be read"))
                    .ok()
                    .map(|pod| (Arc::new(pod), object.revision()))
            });
            let uid = pod.as_ref().map(|(pod, _)| members::uid(pod).to_owned());
            let others: Vec<Arc<Mailbox>> = self
                .agent
                .pods
                .lock()
                .iter()
                .filter(|(other, mailbox)| {
                    Some(*other) != uid.as_ref() && mailbox.is(&key.namespace, &key.name)
                })
                .map(|(_, mailbox)| mailbox.clone())
                .collect();
            others.iter().for_each(|mailbox| mailbox.remove());
            pods.extend(pod.zip(uid).map(|((pod, revision), uid)| (uid, pod, revision)));
        }
        // What is known frees before new ones take, and of these the oldest comes first.
        let known = |uid: &String| self.agent.pods.lock().contains_key(uid);
        pods.sort_by_cached_key(|(uid, pod, _)| {
            (!known(uid), pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
        });
        for (uid, pod, revision) in pods {
            self.pod(&uid, pod, revision);
        }
        self.retry();
    }

    fn pod(&mut self, uid: &str, pod: Arc<Pod>, revision: u64) {
        let known = self.agent.pods.lock().get(uid).cloned();
        match known {
            Some(mailbox) => {
                if let Some(admitted) = self.taken.get_mut(uid) {
                    admitted.over = is_over(&pod);
                    if admitted.generation != pod.metadata.generation {
                        admitted.generation = pod.metadata.generation;
                        self.resize(uid, &pod, &mailbox);
                    }
                }
                mailbox.pod(pod, revision);
            }
            None => {
                let records = self.records.remove(uid).unwrap_or_default();
                self.spawn(uid, pod, revision, records);
            }
        }
    }

    /// What the runtime has of pods that the API does not know any more.
    fn orphans(&mut self) {
        for (uid, records) in std::mem::take(&mut self.records) {
            let pod = Arc::new(lost_pod(&uid, &records));
            tracing::info!(pod = members::describe(&pod), "a pod is gone from the API");
            if let Some(mailbox) = self.spawn(&uid, pod, 0, records) {
                mailbox.remove();
            }
        }
        let names: BTreeSet<String> = self.agent.pods.lock().keys().cloned().collect();
        sweep(&self.agent, &names);
    }

    fn spawn(&mut self, uid: &str, pod: Arc<Pod>, revision: u64, records: Records) -> Option<Arc<Mailbox>> {
        if uid.is_empty() {
            return None;
        }
        let mailbox = Arc::new(Mailbox::new(&pod));
        let ran = !records.sandboxes.is_empty() && revision > 0;
        if ran {
            mailbox.allot(Allotment::reported(&pod));
        }
        // What runs already, and what is over or on its way out, is not asked whether it fits.
        let new = !ran
            && records.sandboxes.is_empty()
            && !is_over(&pod)
            && revision > 0
            && pod.metadata.deletion_timestamp.is_none();
        let refusal = if new { self.admit(&pod).err() } else { None };
        self.agent.pods.lock().insert(uid.to_owned(), mailbox.clone());
        let mut worker = Worker::new(self.agent.clone(), mailbox.clone(), pod.clone(), revision, records);
        match refusal {
            Some(refusal) => worker.refuse(&refusal.reason, refusal.message),
            None => {
                let (generation, over) = (pod.metadata.generation, is_over(&pod));
                let given = overlay(pod.clone(), &mailbox.allotment().given);
                let (class, priority) = (qos::class(&pod), members::spec(&pod).priority.unwrap_or(0));
                let taken = Taken::by(&given);
                let admitted = Admitted { generation, taken, over, class, priority, pending: None };
                self.taken.insert(uid.to_owned(), admitted);
                if ran {
                    self.resize(uid, &pod, &mailbox);
                }
            }
        }
        self.agent.tasks.spawn(supervise(self.agent.clone(), mailbox.clone(), pod, worker));
        Some(mailbox)
    }

    /// Gives a pod what it asks for now, if there is room.
    fn resize(&mut self, uid: &str, pod: &Arc<Pod>, mailbox: &Mailbox) {
        let old = mailbox.allotment();
        let generation = pod.metadata.generation;
        let decided = if old.suffices(pod) {
            Ok(None)
        } else {
            let others = self.taken.iter().filter(|(other, one)| *other != uid && !one.over);
            let others = others.map(|(_, one)| &one.taken);
            admission::resize(pod, &self.agent.allocatable(), others).map(Some)
        };
        let Some(admitted) = self.taken.get_mut(uid) else { return };
        admitted.pending = None;
        match decided {
            Ok(None) if old.pending.is_none() => {}
            Ok(None) => mailbox.allot(Allotment { pending: None, ..Allotment::clone(&old) }),
            Ok(Some(taken)) => {
                admitted.taken = taken;
                self.agent.normal(pod, None, "ResizeStarted", describe("started", pod, generation, None));
                mailbox.allot(Allotment { generation, ..Allotment::asked(pod) });
            }
            Err((reason, message)) => {
                // What never fits need not be looked at again.
                admitted.pending = (reason == "Deferred").then(|| pod.clone());
                let pending = Some(Pending { reason, message, generation });
                if old.pending != pending {
                    let why = pending.as_ref().map(|pending| pending.message.as_str());
                    let message = describe(reason, pod, generation, why);
                    self.agent.warning(pod, None, &format!("Resize{reason}"), message);
                    mailbox.allot(Allotment { pending, ..Allotment::clone(&old) });
                }
            }
        }
    }

    /// Looks again at what could not be given: who asks for less, is of higher priority or has waited longer comes first.
    fn retry(&mut self) {
        if self.taken.values().all(|one| one.pending.is_none()) {
            return;
        }
        self.forget_removed();
        let waits = self.taken.iter().filter(|(_, one)| !one.over);
        let mut waiting: Vec<(String, Arc<Pod>)> =
            waits.filter_map(|(uid, one)| Some((uid.clone(), one.pending.clone()?))).collect();
        waiting.sort_by_key(|(_, pod)| {
            let guaranteed = qos::class(pod) == qos::Class::Guaranteed;
            let priority = members::spec(pod).priority.unwrap_or(0);
            (std::cmp::Reverse(priority), !guaranteed, pod.metadata.generation)
        });
        for (uid, pod) in waiting {
            let mailbox = self.agent.pods.lock().get(&uid).cloned();
            if let Some(mailbox) = mailbox {
                self.resize(&uid, &pod, &mailbox);
            }
        }
    }

    /// What pods have had that are gone is free.
    fn forget_removed(&mut self) {
        let pods = self.agent.pods.lock();
        self.taken.retain(|uid, _| pods.get(uid).is_some_and(|mailbox| !mailbox.removed()));
    }

    /// Whether there is room for a pod beside those that run.
    fn admit(&mut self, pod: &Pod) -> Result<(), Refusal> {
        self.forget_removed();
        let node = self.agent.node.get(&ObjectKey::cluster(&self.agent.config.node_name));
        let others = self.taken.values().filter(|one| !one.over).map(|one| &one.taken);
        let allocatable = self.agent.allocatable();
        let decided = admission::admit(pod, node.as_deref(), &allocatable, others);
        let critical = members::spec(pod).priority.unwrap_or(0) >= CRITICAL;
        if !critical || !decided.as_ref().is_err_and(|refusal| refusal.reason.starts_with("OutOf")) {
            return decided;
        }
        if !self.preempt(pod, &allocatable) {
            return decided;
        }
        // What room does not mend stands all the same.
        let others = self.taken.values().filter(|one| !one.over).map(|one| &one.taken);
        admission::admit(pod, node.as_deref(), &allocatable, others)
    }

    /// Makes room for a critical pod, if those that are not can.
    fn preempt(&mut self, pod: &Pod, allocatable: &BTreeMap<String, Quantity>) -> bool {
        let others = self.taken.values().filter(|one| !one.over).map(|one| &one.taken);
        let short = admission::shortage(pod, allocatable, others);
        let open = self.taken.iter().filter(|(_, one)| !one.over && one.priority < CRITICAL);
        let candidates: Vec<Candidate<'_>> =
            open.map(|(uid, one)| Candidate { uid, taken: &one.taken, class: one.class }).collect();
        let Some(victims) = preemption::victims(&short, &candidates) else { return false };
        for uid in &victims {
            if let Some(admitted) = self.taken.get_mut(uid) {
                admitted.over = true;
            }
            let mailbox = self.agent.pods.lock().get(uid).cloned();
            if let Some(mailbox) = mailbox {
                mailbox.evict(PREEMPTED, "Preempted in order to admit critical pod".to_owned());
            }
        }
        true
    }
}

/// Whether the pod has a final phase.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Lets a worker work. One that panics is replaced by a new one, which finds what the old one did in the runtime.
async fn supervise(agent: Arc<Agent>, mailbox: Arc<Mailbox>, pod: Arc<Pod>, mut worker: Worker) {
    let uid = members::uid(&pod).to_owned();
    let mut pause = std::time::Duration::from_secs(1);
    loop {
        let mut task = tokio::task::JoinSet::new();
        task.spawn(worker.work());
        let ended = tokio::select! {
            ended = task.join_next() => ended,
            // Containers outlive the agent.
            () = agent.shutdown.cancelled() => return task.shutdown().await,
        };
        let Some(Err(error)) = ended else { break };
        tracing::error!(pod = members::describe(&pod), %error, "a pod's worker panicked");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(std::time::Duration::from_secs(300));
        let records = records(&agent).await.ok().and_then(|mut all| all.remove(&uid)).unwrap_or_default();
        let latest = mailbox.shown().map_or_else(|| pod.clone(), |shown| shown.pod.clone());
        worker = Worker::new(agent.clone(), mailbox.clone(), latest, 0, records);
        if mailbox.removed() {
            mailbox.remove();
        }
    }
    agent.pods.lock().remove(&uid);
}

/// A pod as far as the runtime remembers it.
fn lost_pod(uid: &str, records: &Records) -> Pod {
    let (namespace, name) = records.sandboxes.first().map(labels::sandbox_pod).unwrap_or_default();
    let mut names: Vec<&str> = records.containers.iter().filter_map(labels::container_name).collect();
    names.sort_unstable();
    names.dedup();
    let containers =
        names.iter().map(|name| Container { name: (*name).to_owned(), ..Container::default() }).collect();
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(namespace),
        uid: Some(uid.to_owned()),
        ..ObjectMeta::default()
    };
    let spec = PodSpec {
        containers,
        termination_grace_period_seconds: records.sandboxes.iter().find_map(labels::sandbox_grace),
        ..PodSpec::default()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

/// Removes what is left of pods that neither the API nor the runtime knows: an agent ended in the midst of it.
fn sweep(agent: &Agent, known: &BTreeSet<String>) {
    let names = |folder: std::path::PathBuf| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let lost = |uid: &str| !known.contains(uid);
    let folders = names(agent.paths.pods()).into_iter().chain(names(agent.paths.memory()));
    for uid in folders.filter(|uid| lost(uid)) {
        let paths = agent.paths.pod(&uid);
        let cleared =
            crate::volumes::tear_down(&paths).and_then(|()| crate::files::remove_tree(&paths.folder()));
        if let Err(error) = cleared {
            tracing::warn!(uid, %error, "the folder of a pod that is gone was not removed");
        }
    }
    // `namespace_name_uid`
    for name in names(agent.paths.logs()).iter().filter(|name| name.rsplit('_').next().is_some_and(lost)) {
        if let Err(error) = crate::files::remove_tree(&agent.paths.logs().join(name)) {
            tracing::warn!(name, %error, "the logs of a pod that is gone were not removed");
        }
    }
    // `uid-attempt`
    for name in names(agent.paths.namespaces()) {
        let uid = name.rsplit_once('-').map_or(name.as_str(), |(uid, _)| uid);
        if !lost(uid) {
            continue;
        }
        if let Err(error) = gifee_oci::netns::remove(&agent.paths.namespaces().join(&name)) {
            tracing::warn!(name, %error, "the network namespace of a pod that is gone was not removed");
        }
    }
}
