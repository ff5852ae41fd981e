//! From watches to the scheduler: what is decoded here is all that is kept of an object.
//!
//! Invariant: an object that cannot be decoded is left out and logged, and stops nothing.

use crate::budgets::Budget;
use crate::decode;
use crate::drive::Shared;
use crate::node::Node;
use crate::pod::Pod;
use gifee_base::{FieldSelector, Gvr, Object};
use gifee_client::Scope;
use gifee_client::cache::Sink;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Nodes.
    Nodes,
    /// Pods that have not ended.
    Pods,
    /// PodDisruptionBudgets.
    Budgets,
}

impl Watched {
    /// Which objects that are.
    pub fn scope(self) -> Scope {
        match self {
            Self::Nodes => Scope::all(Gvr::core("nodes")),
            Self::Pods => {
                let fields = FieldSelector::parse("status.phase!=Succeeded,status.phase!=Failed");
                Scope { fields: fields.unwrap_or_default(), ..Scope::all(Gvr::core("pods")) }
            }
            Self::Budgets => Scope::all(Gvr::new("policy", "v1", "poddisruptionbudgets")),
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

    fn decoded<T>(&self, object: &Object, result: Result<T, serde_json::Error>) -> Option<T> {
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
}

impl Sink for Feed {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        let objects = objects.iter();
        match self.what {
            Watched::Nodes => {
                let nodes = objects.filter_map(|object| self.node(object)).collect();
                self.shared.tell(|scheduler, now| scheduler.replace_nodes(nodes, now));
            }
            Watched::Pods => {
                let pods = objects.filter_map(|object| self.pod(object)).collect();
                self.shared.tell(|scheduler, now| scheduler.replace_pods(pods, now));
            }
            Watched::Budgets => {
                let budgets =
                    objects.filter_map(|object| Some((object.key(), self.budget(object)?))).collect();
                self.shared.tell(|scheduler, _| scheduler.budgets.0 = budgets);
            }
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
            Watched::Budgets => {
                if let Some(budget) = self.budget(&object) {
                    self.shared.tell(|scheduler, _| drop(scheduler.budgets.0.insert(object.key(), budget)));
                }
            }
        }
        self.advance(object.revision());
    }

    fn remove(&self, last: Object) {
        self.shared.tell(|scheduler, now| match self.what {
            Watched::Nodes => scheduler.node_removed(last.name()),
            Watched::Pods => scheduler.pod_removed(&last.key(), now),
            Watched::Budgets => drop(scheduler.budgets.0.remove(&last.key())),
        });
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}
