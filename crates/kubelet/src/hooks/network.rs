//! The pod's network namespace, addresses and host ports.

use async_trait::async_trait;
use gifee_net::{AttachRequest, HostPort, Protocol};
use gifee_oci::netns;

use super::{Failed, Ground, Hook, Run, blocking};
use crate::pod::members;

/// The step.
pub(super) struct Network;

#[async_trait]
impl Hook for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    async fn set_up(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        if run.host_network() {
            ground.addresses.clone_from(&run.agent.config.addresses);
            return Ok(());
        }
        let name = match (&ground.network, &ground.sandbox) {
            (Some(name), Some(_)) => name.clone(),
            // Whatever an earlier try or sandbox left is not used again.
            (old, _) => {
                if let Some(old) = old.clone() {
                    release(run, &old).await?;
                }
                format!("{}-{}", members::uid(&run.pod), ground.attempt)
            }
        };
        ground.network = Some(name.clone());
        let path = run.paths.namespace(&name);
        if ground.sandbox.is_none() {
            let path = path.clone();
            blocking("FailedCreatePodSandBox", move || {
                netns::remove(&path).and_then(|()| netns::create(&path))
            })
            .await?;
        }
        let request = AttachRequest {
            sandbox_id: name,
            pod_uid: members::uid(&run.pod).to_owned(),
            pod_namespace: members::namespace(&run.pod).to_owned(),
            pod_name: members::name(&run.pod).to_owned(),
            netns: path,
            host_ports: host_ports(run),
        };
        let attachment = run.agent.network.attach(&request).await.map_err(|error| {
            Failed::new(
                "FailedCreatePodSandBox",
                format!(
                    "Failed to create pod sandbox: failed to setup network for sandbox: {}",
                    chain(&error)
                ),
            )
        })?;
        ground.addresses = attachment.addresses;
        Ok(())
    }

    async fn tear_down(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        match ground.network.take() {
            Some(name) => release(run, &name).await,
            None => Ok(()),
        }
    }
}

async fn release(run: &Run, name: &str) -> Result<(), Failed> {
    let failed = |error: gifee_net::Error| Failed::new("FailedKillPod", chain(&error));
    run.agent.network.detach(name).await.map_err(failed)?;
    let path = run.paths.namespace(name);
    blocking("FailedKillPod", move || netns::remove(&path)).await
}

/// An error with what is behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        let below_text = below.to_string();
        if !text.ends_with(&below_text) {
            text.push_str(": ");
            text.push_str(&below_text);
        }
        source = below.source();
    }
    text
}

fn host_ports(run: &Run) -> Vec<HostPort> {
    let members = members::members(&run.pod);
    let ports = members.iter().flat_map(|member| member.container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                host_ip: port.host_ip.as_deref().and_then(|address| address.parse().ok()),
                host_port: port
                    .host_port
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port > 0)?,
                container_port: u16::try_from(port.container_port).ok()?,
                protocol: Protocol::from_name(port.protocol.as_deref().unwrap_or("TCP"))?,
            })
        })
        .collect()
}
