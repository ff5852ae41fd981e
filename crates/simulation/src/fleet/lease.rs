//! Leases of simulated nodes: made once, renewed one after the other, spread evenly over the interval.
//!
//! Answers to the kubelet's lease controller.

use super::Fleet;
use futures_util::StreamExt;
use gifee_base::{Gvr, ObjectKey, clock};
use gifee_client::PatchKind;
use serde_json::json;
use std::sync::Arc;
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
}

fn leases() -> Gvr {
    Gvr::new("coordination.k8s.io", "v1", "leases")
}

impl Fleet {
    /// Makes the leases of nodes, and has them renewed from now on.
    pub(super) async fn lease(&self, names: &[String]) {
        let made = futures_util::stream::iter(names).for_each_concurrent(AT_ONCE, |name| async move {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": name, "namespace": NAMESPACE },
                "spec": { "holderIdentity": name, "leaseDurationSeconds": DURATION_SECONDS,
                    "renewTime": clock::format_micro_time(self.clock.now()) },
            });
            match (self.agents)(name).create(&leases(), NAMESPACE, lease).await {
                Ok(_) => {}
                Err(error) if error.is_already_exists() => self.renew_one(name).await,
                Err(error) => tracing::warn!(node = name, %error, "a lease was not made"),
            }
        });
        made.await;
        self.renewals.lock().names.extend(names.iter().map(|name| Arc::from(name.as_str())));
        self.earlier.notify_one();
    }

    async fn renew_one(&self, name: &str) {
        let patch = json!({ "spec": { "renewTime": clock::format_micro_time(self.clock.now()) } });
        let key = ObjectKey::new(NAMESPACE, name);
        if let Err(error) = (self.agents)(name).patch(&leases(), &key, PatchKind::Merge, patch).await {
            tracing::debug!(node = name, %error, "a lease was not renewed");
        }
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
