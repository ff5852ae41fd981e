//! The node's own object: registration, heartbeat, lease.
//!
//! Invariant: the object exists and is Ready as soon as the agent runs, without waiting for an interval; it is written
//! again only when something in it changes, or after five minutes. Answers to `pkg/kubelet/kubelet_node_status.go` and
//! `component-helpers/apimachinery/lease`.

pub mod machine;
mod status;

use std::sync::Arc;
use std::time::Duration;

use gifee_base::clock::format_micro_time;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::PatchKind;
use gifee_reconcile::events::Reference;
use gifee_reconcile::gvr;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::agent::Agent;

/// How often the lease is renewed, and pressure looked at.
const RENEW: Duration = Duration::from_secs(10);
/// After this time without a renewal the node counts as lost.
const LEASE_SECONDS: u32 = 40;
/// The status is written at least so often.
const HEARTBEAT_SECONDS: i64 = 300;
/// Between tries while the API does not answer.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAXIMUM: Duration = Duration::from_secs(7);

fn leases() -> Gvr {
    Gvr::new("coordination.k8s.io", "v1", "leases")
}

/// Keeps the node's object and lease until the agent ends.
pub struct Heart {
    agent: Arc<Agent>,
    port: u16,
    /// The status that the server was last told, without its times, and when.
    told: Option<(Value, Timestamp)>,
    conditions: Vec<Value>,
    uid: String,
}

impl Heart {
    /// Of an agent whose server listens on `port`.
    pub fn new(agent: Arc<Agent>, port: u16) -> Heart {
        Heart { agent, port, told: None, conditions: Vec::new(), uid: String::new() }
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::cluster(&self.agent.config.node_name)
    }

    /// Registers, then beats.
    pub async fn beat(mut self) {
        let mut pause = RETRY;
        while let Err(error) = self.register().await {
            tracing::info!(%error, "the node is not yet registered");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAXIMUM);
        }
        let name = self.agent.config.node_name.clone();
        let reference = Reference {
            kind: "Node".to_owned(),
            uid: name.clone(),
            name: name.clone(),
            ..Reference::default()
        };
        self.agent.events.normal(reference.clone(), "Starting", "Starting kubelet.");
        self.agent.events.normal(reference, "NodeReady", format!("Node {name} status is now: NodeReady"));
        let mut ticks = tokio::time::interval(RENEW);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "the node's lease was not renewed");
            }
            if let Err(error) = self.update().await {
                tracing::warn!(%error, "the node's status was not written");
                self.told = None;
            }
        }
    }

    async fn status(&self, now: Timestamp) -> Value {
        let agent = &self.agent;
        let images = agent.images.service().list().await.unwrap_or_default();
        let pressure = machine::pressure(&agent.config.root, &agent.config.thresholds);
        status::status(&agent.config, &agent.machine, pressure, &images, &self.conditions, self.port, now)
    }

    /// Creates the object, or takes it over with the labels that it should have.
    async fn register(&mut self) -> gifee_client::Result<()> {
        let now = self.agent.clock.now();
        let status = self.status(now).await;
        let wanted = status::node(&self.agent.config, &self.agent.machine, status);
        let object = match self.agent.client.create(&gvr::<Node>(), "", wanted.clone()).await {
            Ok(object) => object,
            Err(error) if error.is_already_exists() => {
                let patch = json!({"metadata": {"labels": wanted["metadata"]["labels"]}});
                self.agent.client.patch(&gvr::<Node>(), &self.key(), PatchKind::Merge, patch).await?
            }
            Err(error) => return Err(error),
        };
        self.uid = object.uid().to_owned();
        let value = object.to_value().unwrap_or_default();
        self.conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        // A server may not take the status of an object that is created.
        let ready = self.conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        if !ready || value["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] != self.port {
            self.told = None;
        } else {
            self.told = Some((timeless(&value["status"]), now));
        }
        self.update().await?;
        self.renew().await
    }

    /// Writes the status, if it changed or was not written for long.
    async fn update(&mut self) -> gifee_client::Result<()> {
        let now = self.agent.clock.now();
        let mut status = self.status(now).await;
        let bare = timeless(&status);
        if let Some((told, at)) = &self.told
            && *told == bare
            && now.duration_since(*at).as_secs() < HEARTBEAT_SECONDS
        {
            return Ok(());
        }
        self.conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        // Merged by type, and there may be two of one type.
        if let Some(addresses) = status["addresses"].as_array_mut() {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
        let patch = json!({"status": status});
        let written =
            self.agent.client.patch_status(&gvr::<Node>(), &self.key(), PatchKind::Strategic, patch).await;
        match written {
            Ok(_) => {
                self.told = Some((bare, now));
                Ok(())
            }
            Err(error) if error.is_not_found() => Box::pin(self.register()).await,
            Err(error) => Err(error),
        }
    }

    async fn renew(&self) -> gifee_client::Result<()> {
        let name = &self.agent.config.node_name;
        let key = ObjectKey::new("kube-node-lease", name);
        let renewed = format_micro_time(self.agent.clock.now());
        let spec =
            json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed});
        let patch = json!({"spec": spec});
        match self.agent.client.patch(&leases(), &key, PatchKind::Merge, patch).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => {
                let owner = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": self.uid});
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": name, "namespace": key.namespace, "ownerReferences": [owner]},
                    "spec": spec
                });
                self.agent.client.create(&leases(), &key.namespace, lease).await.map(|_| ())
            }
            Err(error) => Err(error),
        }
    }
}

/// A status without the times of its conditions, to be compared.
fn timeless(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("lastHeartbeatTime");
            fields.remove("lastTransitionTime");
        }
    }
    status
}
