//! What all workers of one agent share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gifee_base::{Clock, Quantity};
use gifee_client::{Cache, Client};
use gifee_net::PodNetwork;
use gifee_oci::Runtime;
use gifee_reconcile::Recorder;
use gifee_reconcile::events::Reference;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::environment::services;
use crate::images::Puller;
use crate::node::machine::Machine;
use crate::paths::Paths;
use crate::pod::{Member, members};
use crate::references::References;
use crate::usage::Meter;
use crate::worker::Mailbox;

/// The shared parts.
pub struct Agent {
    /// Settings.
    pub config: Config,
    /// Folders.
    pub paths: Paths,
    /// The API.
    pub client: Client,
    /// Where events go.
    pub events: Recorder,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Containers.
    pub runtime: Arc<dyn Runtime>,
    /// Images.
    pub images: Puller,
    /// Addresses.
    pub network: Arc<dyn PodNetwork>,
    /// ConfigMaps and Secrets.
    pub references: References,
    /// All Services.
    pub services: Arc<Cache>,
    /// The node's own object.
    pub node: Arc<Cache>,
    /// What the machine has.
    pub machine: Machine,
    /// What it all uses.
    pub meter: Meter,
    /// When this agent began.
    pub started: Timestamp,
    /// How many sandboxes and containers may be made at once: more would only take turns on the processors.
    pub starts: Semaphore,
    /// How many connections may carry streams of containers at once.
    pub streams: Arc<Semaphore>,
    /// The pods' mailboxes, by UID. At most twice as many as pods may run.
    pub pods: Mutex<HashMap<String, Arc<Mailbox>>>,
    /// Which pod a sandbox belongs to.
    pub sandboxes: Mutex<HashMap<String, String>>,
    /// What the workers have under way: the agent ends when it has ended.
    pub tasks: TaskTracker,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

impl Agent {
    /// The mailbox of the pod that a sandbox belongs to.
    pub fn mailbox_of(&self, sandbox: &str) -> Option<Arc<Mailbox>> {
        let uid = self.sandboxes.lock().get(sandbox).cloned()?;
        self.pods.lock().get(&uid).cloned()
    }

    /// The mailbox of a pod by name; of two with the same name the one that is not removed.
    pub fn mailbox(&self, namespace: &str, name: &str) -> Option<Arc<Mailbox>> {
        let pods = self.pods.lock();
        let mut found = pods.values().filter(|mailbox| mailbox.is(namespace, name));
        let first = found.next()?;
        Some(found.find(|mailbox| !mailbox.removed()).unwrap_or(first).clone())
    }

    /// Asks the runtime for something that must not be left half done, also if whoever waits for it gives up.
    pub async fn whole<T: Send + 'static>(
        &self,
        call: impl Future<Output = gifee_oci::Result<T>> + Send + 'static,
    ) -> gifee_oci::Result<T> {
        match self.tasks.spawn(call).await {
            Ok(result) => result,
            Err(error) => {
                Err(gifee_oci::Error::Invalid(format!("a call of the runtime ended early: {error}")))
            }
        }
    }

    /// Variables of Services for a pod.
    pub fn service_variables(&self, pod: &Pod) -> Vec<(String, String)> {
        let namespace = members::namespace(pod);
        let links = members::spec(pod).enable_service_links != Some(false);
        let snapshot = self.services.read();
        let own = snapshot.namespace(namespace);
        let master = snapshot.get("default", "kubernetes");
        let decoded: Vec<Service> =
            own.chain(master).filter_map(|object| gifee_reconcile::decode(object).ok()).collect();
        services::variables(decoded.iter(), namespace, links)
    }

    /// What containers without limits may take.
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.machine.allocatable(&self.config)
    }

    /// Records that something went as it should.
    pub fn normal(&self, pod: &Pod, member: Option<&Member>, reason: &str, message: impl Into<String>) {
        self.events.normal(reference(pod, member), reason, message);
    }

    /// Records that something went wrong.
    pub fn warning(&self, pod: &Pod, member: Option<&Member>, reason: &str, message: impl Into<String>) {
        self.events.warning(reference(pod, member), reason, message);
    }
}

fn reference(pod: &Pod, member: Option<&Member>) -> Reference {
    Reference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: members::namespace(pod).to_owned(),
        name: members::name(pod).to_owned(),
        uid: members::uid(pod).to_owned(),
        resource_version: pod.metadata.resource_version.clone().unwrap_or_default(),
        field_path: member.map(Member::field_path).unwrap_or_default(),
    }
}
