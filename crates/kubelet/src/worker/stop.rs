//! Stops a container: `preStop`, signal, and when the deadline comes, the end.
//!
//! Answers to the kubelet's `killContainer`.

use std::sync::Arc;
use std::time::Duration;

use gifee_oci::spec::Stop;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::agent::Agent;
use crate::lifecycle;
use crate::pod::{Member, Why};
use crate::probes::Target;

/// Time between the signal and the end, however long `preStop` took.
const SHORTEST: Duration = Duration::from_secs(2);

/// One stop.
pub(super) struct Stopping {
    pub agent: Arc<Agent>,
    pub pod: Arc<Pod>,
    pub member: Member,
    pub id: String,
    pub deadline: Timestamp,
    pub why: Why,
    pub address: Option<std::net::IpAddr>,
    /// Another stop is under way: only be quicker.
    pub hasten: bool,
}

impl Stopping {
    fn left(&self) -> Duration {
        Duration::try_from(self.deadline.duration_since(self.agent.clock.now())).unwrap_or_default()
    }

    /// Stops it; returns when it has ended, or after a pause if it could not be stopped.
    pub(super) async fn run(self) {
        if !self.hasten {
            self.agent.normal(&self.pod, Some(&self.member), "Killing", self.why.message(self.member.name()));
            self.pre_stop().await;
        }
        let stop = Stop { signal: self.signal(), grace: self.left().max(SHORTEST) };
        if let Err(error) = self.agent.runtime.stop_container(&self.id, stop).await {
            tracing::warn!(id = self.id, %error, "a container was not stopped");
            self.agent.warning(
                &self.pod,
                Some(&self.member),
                "FailedKillPod",
                format!("error killing pod: {error}"),
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn signal(&self) -> Option<String> {
        self.member.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone())
    }

    async fn pre_stop(&self) {
        let lifecycle = self.member.container.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else { return };
        let target = Target {
            container: &self.member.container,
            id: &self.id,
            address: self.address,
            runtime: self.agent.runtime.as_ref(),
        };
        match tokio::time::timeout(self.left(), lifecycle::run(hook, &target)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::info!(id = self.id, reason, "preStop failed");
                self.agent.warning(&self.pod, Some(&self.member), "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => tracing::info!(id = self.id, "preStop took longer than the grace period"),
        }
    }
}
