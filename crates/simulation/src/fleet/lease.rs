//! Leases of simulated nodes: made once, renewed one after the other, spread evenly over the interval.
//!
//! Invariant: a node that others take for lost tells its conditions when it renews its lease, since nobody else says
//! that it is well. Answers to the kubelet's lease controller and node status.

use super::{Fleet, node};
use futures_util::StreamExt;
use gifee_base::{Gvr, Object, ObjectKey, clock};
use gifee_client::PatchKind;
use gifee_client::cache::Sink;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Seconds after which a lease that is not renewed counts for nothing.
const DURATION_SECONDS: u32 = 40;
const NAMESPACE: &str = "kube-node-lease";
/// Calls at once when leases are made.
const AT_ONCE: usize = 64;

/// Names of the nodes whose leases are renewed, in turn.
#[derive(Default)]
pub struct Ring {
    names: Vec<Arc<str>>,
    at: usize,
    /// Those whose object does not say that they are ready.
    lost: HashSet<Arc<str>>,
}

fn leases() -> Gvr {
    Gvr::new("coordination.k8s.io", "v1", "leases")
}

impl Fleet {
    /// Makes the leases of nodes, and has them renewed from now on.
    pub(super) async fn lease(&self, names: &[String]) {
        let made = futures_util::stream::iter(names).for_each_concurrent(AT_ONCE, |name| async move {
            match self.make(name).await {
                Ok(()) => {}
                Err(error) if error.is_already_exists() => self.renew_one(name).await,
                // It is made when it is to be renewed.
                Err(error) => tracing::debug!(node = name, %error, "a lease was not made"),
            }
        });
        made.await;
        let mut renewals = self.renewals.lock();
        for name in names {
            if !renewals.names.iter().any(|known| **known == **name) {
                renewals.names.push(name.as_str().into());
            }
        }
        drop(renewals);
        self.earlier.notify_one();
    }

    async fn make(&self, name: &str) -> gifee_client::Result<()> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "holderIdentity": name, "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": clock::format_micro_time(self.clock.now()) },
        });
        (self.agents)(name).create(&leases(), NAMESPACE, lease).await.map(drop)
    }

    async fn renew_one(&self, name: &str) {
        let patch = json!({ "spec": { "renewTime": clock::format_micro_time(self.clock.now()) } });
        let key = ObjectKey::new(NAMESPACE, name);
        let renewed = match (self.agents)(name).patch(&leases(), &key, PatchKind::Merge, patch).await {
            Err(error) if error.is_not_found() => self.make(name).await,
            other => other.map(drop),
        };
        let told = match renewed {
            Ok(()) => self.tell_conditions(name).await,
            failed => failed,
        };
        if let Err(error) = told {
            tracing::debug!(node = name, %error, "a lease was not renewed");
        }
    }

    /// Tells that a node is well, if its object says otherwise.
    async fn tell_conditions(&self, name: &str) -> gifee_client::Result<()> {
        if self.renewals.lock().lost.contains(name) {
            let status = json!({ "status": { "conditions": node::conditions(self.clock.now()) } });
            let (nodes, key) = (Gvr::core("nodes"), ObjectKey::cluster(name));
            (self.agents)(name).patch_status(&nodes, &key, PatchKind::Strategic, status).await?;
        }
        Ok(())
    }

    /// Renews in turn, for as long as it is polled.
    pub(super) async fn renew(self: &Arc<Self>) {
        if self.behaviour.renew.is_zero() {
            return;
        }
        let mut due = Instant::now();
        loop {
            let (next, count) = self.renewals.lock().turn();
            let Some(name) = next else {
                tokio::time::sleep(self.behaviour.renew).await;
                due = Instant::now();
                continue;
            };
            // Time itself is the event: each node's turn is a part of the interval after the one before it.
            due += self.behaviour.renew / u32::try_from(count).unwrap_or(u32::MAX);
            if due > Instant::now() + Duration::from_millis(1) {
                tokio::time::sleep_until(due).await;
            }
            if !self.lives(&name) {
                continue;
            }
            let Ok(permit) = self.calls.clone().acquire_owned().await else { return };
            let fleet = self.clone();
            tokio::spawn(async move {
                fleet.renew_one(&name).await;
                drop(permit);
            });
        }
    }
}

/// What the objects of nodes say of them.
pub(super) struct Feed {
    /// Who is told.
    pub fleet: Arc<Fleet>,
    revision: AtomicU64,
}

impl Feed {
    /// For a fleet.
    pub fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet, revision: AtomicU64::new(0) }
    }

    fn see(&self, node: &Object) {
        let conditions = node.value_at(&["status", "conditions"]);
        let conditions: Vec<Value> =
            conditions.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        let lost = &mut self.fleet.renewals.lock().lost;
        match ready {
            true => lost.remove(node.name()),
            false => lost.insert(node.name().into()),
        };
    }
}

impl Sink for Feed {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        self.fleet.renewals.lock().lost.clear();
        objects.iter().for_each(|node| self.see(node));
        self.advance(revision);
    }

    fn apply(&self, object: Object) {
        self.see(&object);
        self.advance(object.revision());
    }

    fn remove(&self, last: Object) {
        self.fleet.renewals.lock().lost.remove(last.name());
        self.advance(last.revision());
    }

    fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::Relaxed);
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}

impl Ring {
    /// Whose turn it is, and how many take turns.
    fn turn(&mut self) -> (Option<Arc<str>>, usize) {
        if self.names.is_empty() {
            return (None, 0);
        }
        self.at = (self.at + 1) % self.names.len();
        (self.names.get(self.at).cloned(), self.names.len())
    }
}
