//! HOOKS: the steps that make a pod ready for its containers, and undo that, in order.
//!
//! Invariant: each step succeeds if it was done before, by this agent or by one before it, and so does undoing it;
//! steps are undone in the opposite order. What a step made is found again in [`Ground`] or in the runtime's records.
//! Answers to the kubelet's `SyncPod`, from the pod's folders to its sandbox.

mod control_group;
mod folders;
mod hosts;
mod network;
mod sandbox;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

pub(crate) use network::chain;

use crate::agent::Agent;
use crate::paths::PodPaths;
use crate::pod::members;
use crate::references::Claim;
use crate::volumes::Mounted;

// Not extensions: resolver.
/// The steps.
pub const HOOKS: &[&dyn Hook] = &[
    &folders::Folders,
    &control_group::ControlGroup,
    &volumes::Volumes,
    &network::Network,
    &hosts::Hosts,
    &sandbox::Sandbox,
];

/// What the steps made: what a pod's containers stand on.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// The name of its present sandbox in the network; none with the host's.
    pub network: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its volumes.
    pub volumes: BTreeMap<String, Mounted>,
    /// The runtime's id of its present sandbox, if that can hold containers.
    pub sandbox: Option<String>,
    /// Sandboxes that it had before.
    pub dead: Vec<String>,
}

/// The pod that a step works for.
pub struct Run {
    /// The shared parts.
    pub agent: Arc<Agent>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its folders.
    pub paths: PodPaths,
    /// What it names.
    pub claim: Option<Arc<Claim>>,
}

impl Run {
    /// Whether it uses the host's network.
    pub fn host_network(&self) -> bool {
        members::host_network(&self.pod)
    }
}

/// A step failed: the event that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// `FailedMount`, `FailedCreatePodSandBox` and so on.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Failed {
    fn new(reason: &'static str, message: impl Into<String>) -> Failed {
        Failed { reason, message: message.into() }
    }
}

/// A step.
#[async_trait]
pub trait Hook: Send + Sync {
    /// For logs.
    fn name(&self) -> &'static str;

    /// Does it.
    async fn set_up(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed>;

    /// Undoes it, when no container runs any more. Records and logs stay.
    async fn tear_down(&self, _run: &Run, _ground: &mut Ground) -> Result<(), Failed> {
        Ok(())
    }

    /// Removes what is left, when the pod is gone from the API.
    async fn purge(&self, _run: &Run, _ground: &mut Ground) -> Result<(), Failed> {
        Ok(())
    }
}

/// Does all steps.
pub async fn set_up(run: &Run, ground: &mut Ground) -> Result<(), Failed> {
    for hook in HOOKS {
        hook.set_up(run, ground).await?;
        tracing::trace!(pod = members::name(&run.pod), step = hook.name(), "done");
    }
    Ok(())
}

/// Brings the content of the volumes up to date.
pub async fn refresh(run: &Run, ground: &Ground) -> (BTreeMap<String, Mounted>, Vec<Failed>) {
    volumes::set_up(run, ground, true).await
}

/// Undoes all steps, the last one first.
pub async fn tear_down(run: &Run, ground: &mut Ground) -> Result<(), Failed> {
    for hook in HOOKS.iter().rev() {
        hook.tear_down(run, ground).await?;
    }
    Ok(())
}

/// Removes what is left of all steps.
pub async fn purge(run: &Run, ground: &mut Ground) -> Result<(), Failed> {
    for hook in HOOKS.iter().rev() {
        hook.purge(run, ground).await?;
    }
    Ok(())
}

/// Runs work that waits for the disk or the kernel where it holds up nobody.
async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    reason: &'static str,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failed::new(reason, error.to_string())),
        Err(error) => Err(Failed::new(reason, error.to_string())),
    }
}
