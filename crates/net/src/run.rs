//! Follows Services and EndpointSlices, and puts every change in effect.
//!
//! Answers to kube-proxy's and CoreDNS's watch loops. Invariant: whatever changed while a change was
//! applied goes into the next transaction together; the waiting set is bounded by the number of
//! Services. Nothing is put in effect before both caches are complete, so that what an earlier process
//! left works until then.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use gifee_base::{Object, ObjectKey};
use gifee_client::{Cache, Change, Index};
use gifee_reconcile::k8s_openapi::api::core::v1::Service;
use gifee_reconcile::k8s_openapi::api::discovery::v1::EndpointSlice;
use gifee_reconcile::{Context, decode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::observe::{Seen, observe};
use crate::service::{ServicePort, ServicePortName};
use crate::{Error, Network};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Pause after the kernel refused a change, before the whole is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Slices by `namespace/name` of their Service.
const BY_SERVICE: Index = Index {
    name: "service",
    values: |slice, add| {
        if let Some(key) = service_of(slice) {
            add(&key.to_string());
        }
    },
};

fn service_of(slice: &Object) -> Option<ObjectKey> {
    slice.label(SERVICE_NAME).map(|name| ObjectKey::new(slice.namespace(), name))
}

/// Services that need to be looked at.
#[derive(Default)]
struct Waiting {
    keys: Mutex<HashSet<ObjectKey>>,
    added: Notify,
}

impl Waiting {
    fn add(&self, key: ObjectKey) {
        if self.keys.lock().insert(key) {
            self.added.notify_one();
        }
    }

    fn take(&self) -> HashSet<ObjectKey> {
        std::mem::take(&mut *self.keys.lock())
    }
}

struct Follower {
    network: Arc<Network>,
    services: Arc<Cache>,
    slices: Arc<Cache>,
    /// The ports in effect of each Service.
    ports: HashMap<ObjectKey, BTreeSet<ServicePortName>>,
}

/// Keeps the network as the API says, until the context's shutdown. What is in effect then stays.
pub async fn run(network: Arc<Network>, context: Context) {
    let services = context.caches.of::<Service>();
    let slices = context.caches.indexed::<EndpointSlice>(BY_SERVICE);
    let waiting = Arc::new(Waiting::default());
    let of_services = waiting.clone();
    services.subscribe(move |change: &Change<'_>| of_services.add(change.object().key()));
    let of_slices = waiting.clone();
    slices.subscribe(move |change: &Change<'_>| {
        for slice in change.sides() {
            if let Some(key) = service_of(slice) {
                of_slices.add(key);
            }
        }
    });
    let guard = keep_guarding(network.clone());
    let mut follower = Follower { network, services, slices, ports: HashMap::new() };
    // A change that is being put in effect when the shutdown comes is awaited: what runs on after it
    // would meet whoever takes over.
    tokio::select! {
        () = follower.follow(&waiting, &context.shutdown) => {}
        () = guard => {}
    }
}

async fn keep_guarding(network: Arc<Network>) {
    loop {
        if let Err(error) = network.guard().await {
            tracing::error!(%error, "cannot watch over the rules, trying again");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

impl Follower {
    async fn follow(&mut self, waiting: &Waiting, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = async { tokio::join!(self.services.synced(), self.slices.synced()); } => {}
        }
        loop {
            let result = self.apply(waiting.take()).await;
            let failed =
                result.inspect_err(|error| tracing::error!(%error, "Services are not in effect")).is_err();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = waiting.added.notified() => {}
                () = tokio::time::sleep(AGAIN), if failed => {}
            }
        }
    }

    async fn apply(&mut self, keys: HashSet<ObjectKey>) -> Result<(), Error> {
        let mut changes = Vec::new();
        let mut names = Vec::new();
        for key in keys {
            let seen = self.observe(&key);
            names.push((key.clone(), seen.name));
            self.changes(key, seen.ports, &mut changes);
        }
        // Rules before names: what a name leads to answers.
        let result = self.network.change_services(changes).await;
        for (key, name) in names {
            self.network.change_name(&key.namespace, &key.name, name);
        }
        result?;
        self.network.complete_services().await
    }

    fn observe(&self, key: &ObjectKey) -> Seen {
        let Some(service) = self.services.get(key) else { return Seen::default() };
        let slices: Vec<Arc<Object>> =
            self.slices.read().indexed(&BY_SERVICE, &key.to_string()).cloned().collect();
        let slices: Vec<EndpointSlice> = slices.iter().filter_map(|slice| decoded(slice)).collect();
        decoded(&service).map_or_else(Seen::default, |service: Service| {
            observe(&self.network.config().node_name, &service, &slices)
        })
    }

    fn changes(
        &mut self,
        key: ObjectKey,
        ports: Vec<ServicePort>,
        changes: &mut Vec<(ServicePortName, Option<ServicePort>)>,
    ) {
        let names: BTreeSet<ServicePortName> = ports.iter().map(|port| port.name.clone()).collect();
        let old =
            if names.is_empty() { self.ports.remove(&key) } else { self.ports.insert(key, names.clone()) };
        changes
            .extend(old.into_iter().flatten().filter(|name| !names.contains(name)).map(|name| (name, None)));
        changes.extend(ports.into_iter().map(|port| (port.name.clone(), Some(port))));
    }
}

fn decoded<K>(object: &Object) -> Option<K>
where
    K: gifee_reconcile::k8s_openapi::Resource + serde::de::DeserializeOwned,
{
    decode(object).inspect_err(|error| tracing::warn!(%error, "an object cannot be used")).ok()
}
