//! From watches to the scheduler: what is decoded here is all that is kept of an object.
//!
//! Invariant: an object that cannot be decoded is left out and logged, and stops nothing.

use crate::budgets::Budget;
use crate::decode;
use crate::devices;
use crate::drive::Shared;
use crate::node::Node;
use crate::pod::{Owner, Pod};
use crate::scheduler::Scheduler;
use crate::storage::Kind;
use gifee_base::{FieldSelector, Gvr, Object};
use gifee_client::Scope;
use gifee_client::cache::Sink;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Nodes.
    Nodes,
    /// Pods that have not ended.
    Pods,
    /// PodDisruptionBudgets.
    Budgets,
    /// Namespaces.
    Namespaces,
    /// Services.
    Services,
    /// Controllers of a kind, whose selectors pods are spread by.
    Controllers(Owner),
    /// Claims, volumes, and what claims get volumes by.
    Storage(Kind),
    /// PodGroups; a server need not have them.
    Groups,
    /// Devices, classes and claims of them; a server need not have them.
    Devices(devices::Kind),
}

impl Watched {
    /// All that is watched.
    pub const ALL: [Self; 19] = [
        Self::Nodes,
        Self::Pods,
        Self::Budgets,
        Self::Namespaces,
        Self::Services,
        Self::Controllers(Owner::ReplicaSet),
        Self::Controllers(Owner::ReplicationController),
        Self::Controllers(Owner::StatefulSet),
        Self::Storage(Kind::Claim),
        Self::Storage(Kind::Volume),
        Self::Storage(Kind::Class),
        Self::Storage(Kind::Node),
        Self::Storage(Kind::Driver),
        Self::Storage(Kind::Capacity),
        Self::Groups,
        Self::Devices(devices::Kind::Claim),
        Self::Devices(devices::Kind::Class),
        Self::Devices(devices::Kind::Slice),
        Self::Devices(devices::Kind::Rule),
    ];

    /// Its bit among what must be known before the first decision; nodes and pods tell of themselves.
    pub fn bit(self) -> u32 {
        Self::ALL.iter().position(|one| *one == self).map_or(0, |at| 1 << at)
    }

    /// Which objects that are.
    pub fn scope(self) -> Scope {
        match self {
            Self::Nodes => Scope::all(Gvr::core("nodes")),
            Self::Pods => {
                let fields = FieldSelector::parse("status.phase!=Succeeded,status.phase!=Failed");
                Scope { fields: fields.unwrap_or_default(), ..Scope::all(Gvr::core("pods")) }
            }
            Self::Budgets => Scope::all(Gvr::new("policy", "v1", "poddisruptionbudgets")),
            Self::Namespaces => Scope::all(Gvr::core("namespaces")),
            Self::Services => Scope::all(Gvr::core("services")),
            Self::Controllers(Owner::ReplicaSet) => Scope::all(Gvr::new("apps", "v1", "replicasets")),
            Self::Controllers(Owner::ReplicationController) => {
                Scope::all(Gvr::core("replicationcontrollers"))
            }
            Self::Groups => Scope::all(Gvr::new("scheduling.k8s.io", "v1beta1", "podgroups")),
            Self::Devices(kind) => Scope::all(Gvr::new(
                "resource.k8s.io",
                "v1",
                match kind {
                    devices::Kind::Claim => "resourceclaims",
                    devices::Kind::Class => "deviceclasses",
                    devices::Kind::Slice => "resourceslices",
                    devices::Kind::Rule => "devicetaintrules",
                },
            )),
            Self::Storage(kind) => Scope::all(match kind {
                Kind::Claim => Gvr::core("persistentvolumeclaims"),
                Kind::Volume => Gvr::core("persistentvolumes"),
                Kind::Class => Gvr::new("storage.k8s.io", "v1", "storageclasses"),
                Kind::Node => Gvr::new("storage.k8s.io", "v1", "csinodes"),
                Kind::Driver => Gvr::new("storage.k8s.io", "v1", "csidrivers"),
                Kind::Capacity => Gvr::new("storage.k8s.io", "v1", "csistoragecapacities"),
            }),
            Self::Controllers(Owner::StatefulSet) => Scope::all(Gvr::new("apps", "v1", "statefulsets")),
        }
    }
}

/// Tells a scheduler of the objects of one resource.
pub struct Feed {
    shared: Arc<Shared>,
    what: Watched,
    revision: AtomicU64,
}

impl Feed {
    /// Has told nothing yet.
    pub fn new(shared: Arc<Shared>, what: Watched) -> Self {
        Self { shared, what, revision: AtomicU64::new(0) }
    }

    fn decoded<T, E: std::fmt::Display>(&self, object: &Object, result: Result<T, E>) -> Option<T> {
        result
            .inspect_err(
                |error| tracing::error!(what = ?self.what, key = %object.key(), %error, "cannot decode"),
            )
            .ok()
    }

    fn node(&self, object: &Object) -> Option<Node> {
        self.decoded(object, Node::decode(object))
    }

    fn pod(&self, object: &Object) -> Option<Pod> {
        self.decoded(object, decode::pod(object))
    }

    fn budget(&self, object: &Object) -> Option<Budget> {
        self.decoded(object, Budget::decode(object))
    }

    /// An object that only others are judged by is new or changed.
    fn put(&self, scheduler: &mut Scheduler, object: &Object, now: Instant) {
        match self.what {
            Watched::Nodes | Watched::Pods => {}
            Watched::Budgets => {
                if let Some(budget) = self.budget(object) {
                    scheduler.budgets.put(object.key(), budget);
                }
            }
            Watched::Namespaces => {
                let mut labels: Vec<(Box<str>, Box<str>)> =
                    object.labels().map(|(key, value)| (key.into(), value.into())).collect();
                labels.sort();
                scheduler.namespace_changed(object.name(), Some(labels.into()), now);
            }
            Watched::Services => {
                self.decoded(object, scheduler.selectors.put_service(object));
            }
            Watched::Controllers(kind) => {
                self.decoded(object, scheduler.selectors.put_controller(kind, object));
            }
            Watched::Groups => {
                self.decoded(object, scheduler.cluster.groups.put(object));
                scheduler.group_changed(object.key(), now);
            }
            Watched::Devices(kind) => {
                self.decoded(object, scheduler.device_put(kind, object, now));
            }
            Watched::Storage(kind) => {
                let changed = self.decoded(object, scheduler.cluster.storage.put(kind, object));
                if changed == Some(true) {
                    scheduler.storage_changed((kind == Kind::Claim).then(|| object.key()), now);
                }
            }
        }
    }

    /// All such objects are to be told anew.
    fn clear(&self, scheduler: &mut Scheduler, objects: &[Object], now: Instant) {
        match self.what {
            Watched::Nodes | Watched::Pods => {}
            Watched::Budgets => scheduler.budgets.clear(),
            Watched::Namespaces => {
                let known: Vec<Box<str>> = scheduler.cluster.namespaces().names().map(Into::into).collect();
                for name in known.iter().filter(|name| objects.iter().all(|one| *one.name() != ***name)) {
                    scheduler.namespace_changed(name, None, now);
                }
            }
            Watched::Services => scheduler.selectors.clear(None),
            Watched::Controllers(kind) => scheduler.selectors.clear(Some(kind)),
            Watched::Storage(kind) => scheduler.cluster.storage.clear(kind),
            Watched::Groups => scheduler.cluster.groups.clear(),
            Watched::Devices(kind) => {
                let keys: Vec<_> = objects.iter().map(Object::key).collect();
                scheduler.cluster.devices.retain(kind, &keys);
            }
        }
    }
}

impl Sink for Feed {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        match self.what {
            Watched::Nodes => {
                let nodes = objects.iter().filter_map(|object| self.node(object)).collect();
                self.shared.tell(|scheduler, now| scheduler.replace_nodes(nodes, now));
            }
            Watched::Pods => {
                let pods = objects.iter().filter_map(|object| self.pod(object)).collect();
                self.shared.tell(|scheduler, now| scheduler.replace_pods(pods, now));
            }
            _ => self.shared.tell(|scheduler, now| {
                self.clear(scheduler, &objects, now);
                objects.iter().for_each(|object| self.put(scheduler, object, now));
                scheduler.known(self.what.bit());
                if let Watched::Devices(kind) = self.what {
                    scheduler.devices_known(kind, now);
                }
            }),
        }
        self.revision.store(revision, Ordering::Relaxed);
    }

    fn apply(&self, object: Object) {
        match self.what {
            Watched::Nodes => {
                if let Some(node) = self.node(&object) {
                    self.shared.tell(|scheduler, now| scheduler.node_changed(node, now));
                }
            }
            Watched::Pods => {
                if let Some(pod) = self.pod(&object) {
                    self.shared.tell(|scheduler, now| scheduler.pod_changed(pod, now));
                }
            }
            _ => self.shared.tell(|scheduler, now| self.put(scheduler, &object, now)),
        }
        if matches!(self.what, Watched::Storage(_) | Watched::Devices(_)) {
            self.shared.stored.notify_waiters();
        }
        self.advance(object.revision());
    }

    fn remove(&self, last: Object) {
        self.shared.tell(|scheduler, now| match self.what {
            Watched::Nodes => scheduler.node_removed(last.name()),
            Watched::Pods => scheduler.pod_removed(&last.key(), now),
            Watched::Budgets => scheduler.budgets.remove(&last.key()),
            Watched::Namespaces => scheduler.namespace_changed(last.name(), None, now),
            Watched::Services => scheduler.selectors.remove_service(&last.key()),
            Watched::Controllers(kind) => scheduler.selectors.remove_controller(kind, &last.key()),
            Watched::Groups => scheduler.cluster.groups.remove(&last.key()),
            Watched::Devices(kind) => scheduler.device_removed(kind, &last.key(), now),
            Watched::Storage(kind) => {
                scheduler.cluster.storage.remove(kind, &last.key());
                scheduler.storage_changed((kind == Kind::Claim).then(|| last.key()), now);
            }
        });
        if matches!(self.what, Watched::Storage(_) | Watched::Devices(_)) {
            self.shared.stored.notify_waiters();
        }
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}
