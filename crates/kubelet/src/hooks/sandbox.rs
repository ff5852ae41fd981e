//! The pod's sandbox in the runtime.

use async_trait::async_trait;
use gifee_oci::spec::{Network, PidMode, SandboxSpec};

use super::{Failed, Ground, Hook, Run};
use crate::labels;
use crate::pod::{members, qos};
use crate::resolver;

/// The step.
pub(super) struct Sandbox;

#[async_trait]
impl Hook for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn set_up(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        if ground.sandbox.is_some() {
            return Ok(());
        }
        // Better not at all than as root of the machine where somebody asked for a root of the pod's own.
        if members::spec(&run.pod).host_users == Some(false) {
            let why = "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces";
            return Err(Failed::new("FailedCreatePodSandBox", why));
        }
        let failed = |error: gifee_oci::Error| {
            let message = format!("Failed to create pod sandbox: {}", super::network::chain(&error));
            Failed::new("FailedCreatePodSandBox", message)
        };
        // The one before the last holds nothing that anybody still asks for.
        while ground.dead.len() > 1 {
            run.agent.runtime.remove_sandbox(&ground.dead[0]).await.map_err(failed)?;
            ground.dead.remove(0);
        }
        let spec = spec(run, ground);
        let runtime = run.agent.runtime.clone();
        let created = run.agent.whole(async move { runtime.create_sandbox(spec).await }).await;
        let status = created.map_err(failed)?;
        run.agent.sandboxes.lock().insert(status.id.clone(), members::uid(&run.pod).to_owned());
        ground.sandbox = Some(status.id);
        Ok(())
    }

    async fn tear_down(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        let Some(id) = &ground.sandbox else { return Ok(()) };
        let stopped = run.agent.runtime.stop_sandbox(id).await;
        stopped.map_err(|error| Failed::new("FailedKillPod", error.to_string()))?;
        ground.dead.extend(ground.sandbox.take());
        Ok(())
    }

    async fn purge(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        for id in &ground.dead {
            let removed = run.agent.runtime.remove_sandbox(id).await;
            removed.map_err(|error| Failed::new("FailedKillPod", error.to_string()))?;
            run.agent.sandboxes.lock().remove(id);
        }
        ground.dead.clear();
        Ok(())
    }
}

fn spec(run: &Run, ground: &Ground) -> SandboxSpec {
    let (pod, config) = (&run.pod, &run.agent.config);
    let spec = members::spec(pod);
    let host = std::fs::read_to_string(&config.resolv_conf).unwrap_or_default();
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    SandboxSpec {
        name: format!("{}_{}", members::namespace(pod), members::name(pod)),
        labels: labels::pod(pod),
        annotations: labels::sandbox_annotations(pod, ground.attempt, ground.network.as_deref()),
        hostname: (!run.host_network()).then(|| resolver::names(pod, &config.cluster_domain).0),
        network: match &ground.network {
            Some(name) => Network::Path(run.paths.namespace(name)),
            None => Network::Host,
        },
        pid: if spec.host_pid == Some(true) {
            PidMode::Host
        } else if spec.share_process_namespace == Some(true) {
            PidMode::Sandbox
        } else {
            PidMode::Container
        },
        host_ipc: spec.host_ipc == Some(true),
        sysctls: sysctls.into_iter().flatten().map(|one| (one.name.clone(), one.value.clone())).collect(),
        cgroup_parent: qos::cgroup(&config.cgroup_root, pod),
        log_directory: run.paths.logs(members::namespace(pod), members::name(pod)),
        dns: Some(resolver::dns(pod, config, &host)),
        ..SandboxSpec::default()
    }
}
