//! Starts a container: image, spec, creation, start, `postStart`.
//!
//! Answers to the kubelet's `startContainer`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gifee_oci::images::Image;
use gifee_oci::spec::Stop;
use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use super::Mailbox;
use crate::agent::Agent;
use crate::container::mounts::mounts;
use crate::container::{self, Parts};
use crate::environment::{Facts, Files, environment};
use crate::files::subpath;
use crate::hooks::Ground;
use crate::images::{self, Found};
use crate::lifecycle;
use crate::paths::PodPaths;
use crate::pod::{Member, members};
use crate::probes::Target;
use crate::references::Claim;
use crate::volumes::Mounted;

/// Why a container was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It was told to give up.
    Cancelled,
    /// The reason and message of its waiting.
    Because(&'static str, String),
}

/// One start.
pub(super) struct Start {
    pub agent: Arc<Agent>,
    pub mailbox: Arc<Mailbox>,
    pub pod: Arc<Pod>,
    pub member: Member,
    pub number: i32,
    pub ground: Ground,
    pub paths: PodPaths,
    pub claim: Arc<Claim>,
    /// The container whose processes it sees.
    pub target: Option<String>,
    pub cancel: CancellationToken,
}

/// The most that a file of variables may hold.
const VARIABLES_BYTES: u64 = 1 << 20;

impl Files for Ground {
    fn text(&self, volume: &str, path: &str) -> Result<Option<String>, String> {
        let volume = self.volumes.get(volume).ok_or("there is no such volume")?;
        subpath::read(&volume.path, path, VARIABLES_BYTES).map_err(|error| error.to_string())
    }
}

impl Start {
    /// Starts it.
    pub(super) async fn run(self) -> Result<(), Failed> {
        let images = async { Ok((self.image().await?, self.volumes().await?)) };
        let (image, volumes) = tokio::select! {
            images = images => images?,
            () = self.cancel.cancelled() => return Err(Failed::Cancelled),
        };
        let permit = tokio::select! {
            permit = self.agent.starts.acquire() => permit,
            () = self.cancel.cancelled() => return Err(Failed::Cancelled),
        };
        let id = self.create(image, &volumes).await?;
        self.mailbox.container(&id);
        self.start(&id).await?;
        drop(permit);
        self.post_start(&id).await
    }

    fn normal(&self, reason: &str, message: impl Into<String>) {
        self.agent.normal(&self.pod, Some(&self.member), reason, message);
    }

    fn failed(&self, reason: &'static str, message: String) -> Failed {
        self.agent.warning(&self.pod, Some(&self.member), "Failed", format!("Error: {message}"));
        Failed::Because(reason, message)
    }

    async fn image(&self) -> Result<Image, Failed> {
        let image = self.member.container.image.as_deref().unwrap_or_default();
        self.pull(image, self.member.container.image_pull_policy.as_deref()).await
    }

    /// The pod's volumes; of images, those that the container mounts are present.
    async fn volumes(&self) -> Result<BTreeMap<String, Mounted>, Failed> {
        let mut volumes = self.ground.volumes.clone();
        let mounted = |name: &String| {
            self.member.container.volume_mounts.iter().flatten().any(|mount| mount.name == *name)
        };
        for volume in members::spec(&self.pod).volumes.iter().flatten() {
            let Some(source) = volume.image.as_ref().filter(|_| mounted(&volume.name)) else { continue };
            let reference = source.reference.as_deref().unwrap_or_default();
            let image = self.pull(reference, source.pull_policy.as_deref()).await?;
            volumes.entry(volume.name.clone()).or_default().image = Some(image.id);
        }
        Ok(volumes)
    }

    async fn pull(&self, image: &str, policy: Option<&str>) -> Result<Image, Failed> {
        let policy = images::policy(image, policy);
        let secrets =
            members::spec(&self.pod).image_pull_secrets.iter().flatten().map(|one| one.name.clone());
        let credentials = images::credentials(self.claim.as_ref(), secrets);
        let begin = || self.normal("Pulling", format!("Pulling image {image:?}"));
        match self.agent.images.ensure(image, policy, &credentials, begin).await {
            Ok((found, Found::Present)) => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                self.normal("Pulled", message);
                Ok(found)
            }
            Ok((found, Found::Pulled { took, bytes })) => {
                let [took, waited] = took.map(describe);
                let message = format!(
                    "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {bytes} bytes."
                );
                self.normal("Pulled", message);
                Ok(found)
            }
            Err(images::Failed { reason, message }) => {
                let (event, text) = match reason {
                    "ErrImagePull" => ("Failed", format!("Failed to pull image {image:?}: {message}")),
                    "ErrImageNeverPull" => ("ErrImageNeverPull", message.clone()),
                    _ => ("InspectFailed", message.clone()),
                };
                self.agent.warning(&self.pod, Some(&self.member), event, text);
                self.agent.warning(&self.pod, Some(&self.member), "Failed", format!("Error: {reason}"));
                Err(Failed::Because(reason, message))
            }
        }
    }

    async fn create(&self, image: Image, volumes: &BTreeMap<String, Mounted>) -> Result<String, Failed> {
        let synced = self.claim.synced().await;
        synced.map_err(|message| self.failed("CreateContainerConfigError", message))?;
        let Some(sandbox) = self.ground.sandbox.clone() else { return Err(Failed::Cancelled) };
        let spec = self
            .spec(image, volumes)
            .map_err(|message| self.failed("CreateContainerConfigError", message))?;
        let file = container::message_path(&self.paths, self.member.name(), self.number);
        if let Err(error) = make_message_file(&file) {
            return Err(self.failed("CreateContainerError", format!("create {file:?}: {error}")));
        }
        let runtime = self.agent.runtime.clone();
        let id = self.agent.whole(async move { runtime.create_container(&sandbox, spec).await }).await;
        let id = id.map_err(|error| self.failed("CreateContainerError", error.to_string()))?;
        self.normal("Created", "Container created");
        Ok(id)
    }

    fn spec(
        &self,
        image: Image,
        volumes: &BTreeMap<String, Mounted>,
    ) -> Result<gifee_oci::spec::ContainerSpec, String> {
        let (pod, container) = (&self.pod, &self.member.container);
        let facts = Facts {
            pod_addresses: self.ground.addresses.clone(),
            host_addresses: self.agent.config.addresses.clone(),
            services: self.agent.service_variables(pod),
            allocatable: self.agent.allocatable(),
        };
        let mut environment = environment(pod, container, self.claim.as_ref(), &self.ground, &facts)
            .map_err(|error| error.to_string())?;
        let mounts =
            mounts(container, volumes, &self.paths, &environment).map_err(|error| error.to_string())?;
        if environment.iter().all(|(name, _)| name != "HOSTNAME") {
            let host = if members::host_network(pod) {
                rustix::system::uname().nodename().to_string_lossy().into_owned()
            } else {
                crate::resolver::names(pod, &self.agent.config.cluster_domain).0
            };
            environment.insert(0, ("HOSTNAME".to_owned(), host));
        }
        let parts = Parts {
            image,
            number: self.number,
            environment,
            mounts,
            target: self.target.clone(),
            memory_capacity: self.agent.machine.memory_bytes,
            seccomp_default: self.agent.config.seccomp_default,
            seccomp_folder: self.agent.config.root.join("seccomp"),
            log_rotation: self.agent.config.log_rotation,
        };
        container::spec(pod, &self.member, &self.paths, parts)
    }

    async fn start(&self, id: &str) -> Result<(), Failed> {
        let (runtime, own) = (self.agent.runtime.clone(), id.to_owned());
        match self.agent.whole(async move { runtime.start_container(&own).await }).await {
            Ok(()) => {
                self.normal("Started", "Container started");
                Ok(())
            }
            Err(error) => {
                self.mailbox.container(id);
                Err(self.failed("RunContainerError", error.to_string()))
            }
        }
    }

    async fn post_start(&self, id: &str) -> Result<(), Failed> {
        let lifecycle = self.member.container.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()) else { return Ok(()) };
        let target = Target {
            container: &self.member.container,
            id,
            address: self.ground.addresses.first().copied(),
            runtime: self.agent.runtime.as_ref(),
        };
        let ran = tokio::select! {
            ran = lifecycle::run(hook, &target) => ran,
            () = self.cancel.cancelled() => return Err(Failed::Cancelled),
        };
        let Err(reason) = ran else { return Ok(()) };
        self.agent.warning(&self.pod, Some(&self.member), "FailedPostStartHook", "PostStartHook failed");
        self.normal("Killing", "FailedPostStartHook");
        let grace = members::spec(&self.pod).termination_grace_period_seconds.unwrap_or(30);
        let stop = Stop { signal: None, grace: Duration::from_secs(u64::try_from(grace).unwrap_or(30)) };
        // If it cannot be stopped now, the planner sees it run, and its probes decide.
        if let Err(error) = self.agent.runtime.stop_container(id, stop).await {
            tracing::warn!(id, %error, "a container was not stopped");
        }
        self.mailbox.container(id);
        Err(Failed::Because("PostStartHookError", reason))
    }
}

fn make_message_file(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, [])?;
    // Whoever the container runs as may write to it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

/// `1.234s`, `56ms`.
fn describe(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{}ms", took.as_millis())
    } else {
        format!("{:.3}s", took.as_secs_f64())
    }
}
