//! What a worker is told, and what it shows of its pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::paths::PodPaths;
use crate::pod::members;
use crate::pod::resize::Allotment;
use crate::probes::{Change, Kind};

/// A probe's verdict about one run of a container.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The container.
    pub container: String,
    /// The run.
    pub id: String,
    /// Which probe.
    pub kind: Kind,
    /// What it says.
    pub change: Change,
}

/// Messages not yet read.
#[derive(Default)]
pub(super) struct Inbox {
    /// The pod's latest state.
    pub pod: Option<(Arc<Pod>, u64)>,
    /// Its object is gone.
    pub removed: bool,
    /// Containers that something happened to.
    pub dirty: BTreeSet<String>,
    /// The sandbox's holder ended.
    pub lost: bool,
    /// The node wants to be rid of the pod, and why.
    pub evicted: Option<(&'static str, String)>,
    /// Events were missed.
    pub missed: bool,
    /// An object that the pod names has changed.
    pub references: bool,
    /// At most one for each change that a probe saw.
    pub verdicts: Vec<Verdict>,
}

/// Runs of a container: id, restart count, whether it runs; the newest first.
pub type Runs = Vec<(String, i32, bool)>;

/// A pod as its worker last saw it, for the server.
#[derive(Clone)]
pub struct Shown {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Runs of its containers.
    pub containers: BTreeMap<String, Runs>,
    /// Its folders.
    pub paths: PodPaths,
    /// The name of its sandbox in the network; none with the host's, or before there is one.
    pub network: Option<String>,
}

/// Where a worker's messages go.
pub struct Mailbox {
    namespace: String,
    name: String,
    inbox: Mutex<Inbox>,
    notify: Notify,
    shown: Mutex<Option<Arc<Shown>>>,
    removed: std::sync::atomic::AtomicBool,
    probed: Mutex<BTreeMap<(String, Kind), Tries>>,
    allotment: Mutex<Arc<Allotment>>,
}

/// How tries of one probe ended: well, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Well.
    pub successful: u64,
    /// Not.
    pub failed: u64,
}

impl Mailbox {
    /// Of a pod.
    pub fn new(pod: &Pod) -> Mailbox {
        Mailbox {
            namespace: members::namespace(pod).to_owned(),
            name: members::name(pod).to_owned(),
            inbox: Mutex::default(),
            notify: Notify::new(),
            shown: Mutex::default(),
            removed: std::sync::atomic::AtomicBool::new(false),
            probed: Mutex::default(),
            allotment: Mutex::new(Arc::new(Allotment::asked(pod))),
        }
    }

    /// Whether it is that of a pod with this name.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// Whether the pod's object is gone.
    pub fn removed(&self) -> bool {
        self.removed.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn write(&self, message: impl FnOnce(&mut Inbox)) {
        message(&mut self.inbox.lock());
        self.notify.notify_one();
    }

    /// The pod changed.
    pub fn pod(&self, pod: Arc<Pod>, revision: u64) {
        self.write(|inbox| inbox.pod = Some((pod, revision)));
    }

    /// The pod was given something else.
    pub fn allot(&self, allotment: Allotment) {
        *self.allotment.lock() = Arc::new(allotment);
        self.write(|_| ());
    }

    /// What the pod was given.
    pub fn allotment(&self) -> Arc<Allotment> {
        self.allotment.lock().clone()
    }

    /// The pod's object is gone.
    pub fn remove(&self) {
        self.removed.store(true, std::sync::atomic::Ordering::Relaxed);
        self.write(|inbox| inbox.removed = true);
    }

    /// Something happened to a container.
    pub fn container(&self, id: &str) {
        self.write(|inbox| {
            inbox.dirty.insert(id.to_owned());
        });
    }

    /// The holder of a sandbox ended.
    pub fn lost(&self) {
        self.write(|inbox| inbox.lost = true);
    }

    /// The node wants to be rid of the pod: `Evicted` or `Preempting`, and in words.
    pub fn evict(&self, reason: &'static str, message: String) {
        self.write(|inbox| inbox.evicted = Some((reason, message)));
    }

    /// Events were missed.
    pub fn missed(&self) {
        self.write(|inbox| inbox.missed = true);
    }

    /// An object that the pod names has changed.
    pub fn references(&self) {
        self.write(|inbox| inbox.references = true);
    }

    /// A probe came to a verdict.
    pub fn verdict(&self, verdict: Verdict) {
        self.write(|inbox| inbox.verdicts.push(verdict));
    }

    /// A probe was tried once more.
    pub(super) fn probed(&self, container: &str, kind: Kind, well: bool) {
        let mut all = self.probed.lock();
        let tries = match all.iter_mut().find(|((name, one), _)| name == container && *one == kind) {
            Some((_, tries)) => tries,
            None => all.entry((container.to_owned(), kind)).or_default(),
        };
        *if well { &mut tries.successful } else { &mut tries.failed } += 1;
    }

    /// How often probes were tried, by container and kind.
    pub fn tries(&self) -> BTreeMap<(String, Kind), Tries> {
        self.probed.lock().clone()
    }

    pub(super) fn take(&self) -> Inbox {
        std::mem::take(&mut self.inbox.lock())
    }

    /// Waits until something was written that was not waited for before.
    pub(super) async fn written(&self) {
        self.notify.notified().await;
    }

    pub(super) fn show(&self, shown: Shown) {
        *self.shown.lock() = Some(Arc::new(shown));
    }

    /// The pod as its worker last saw it.
    pub fn shown(&self) -> Option<Arc<Shown>> {
        self.shown.lock().clone()
    }
}
