//! From a container of a pod to what the runtime is told.
//!
//! Invariant: pure. Answers to the kubelet's `generateContainerConfig` and `applyPlatformSpecificContainerConfig`.

mod message;
pub mod mounts;
mod security;
#[cfg(test)]
mod tests;

use gifee_oci::images::Image;
use gifee_oci::spec::{ContainerSpec, LogRotation, Mount, PidMode};
use k8s_openapi::api::core::v1::Pod;
use std::path::PathBuf;

use crate::environment::expand_all;
use crate::labels;
use crate::paths::PodPaths;
use crate::pod::{Member, members, qos};

pub use message::termination_message;

/// What a container is made of besides its spec.
pub struct Parts {
    /// The image, which is present.
    pub image: Image,
    /// Its restart count.
    pub number: i32,
    /// Variables.
    pub environment: Vec<(String, String)>,
    /// Mounts of its volumes.
    pub mounts: Vec<Mount>,
    /// The runtime's id of the container whose processes it sees.
    pub target: Option<String>,
    /// Bytes of memory of the machine.
    pub memory_capacity: i64,
    /// Whether a container that asks for no filter of system calls gets the default one.
    pub seccomp_default: bool,
    /// Where profiles with a name are.
    pub seccomp_folder: PathBuf,
    /// When its log begins a new file.
    pub log_rotation: LogRotation,
}

/// The file that a container leaves its last words in.
pub fn message_path(paths: &PodPaths, name: &str, number: i32) -> PathBuf {
    paths.container(name).join(format!("{number}.message"))
}

/// The log of a run, relative to the pod's folder of logs.
pub fn log_path(name: &str, number: i32) -> PathBuf {
    PathBuf::from(name).join(format!("{number}.log"))
}

/// The spec, or why it cannot be carried out (`CreateContainerConfigError`).
pub fn spec(pod: &Pod, member: &Member, paths: &PodPaths, parts: Parts) -> Result<ContainerSpec, String> {
    let container = &member.container;
    let security = security::security(pod, container, parts.seccomp_default, &parts.seccomp_folder);
    let user = security::user(pod, member, &parts.image)?;
    let mut mounts = parts.mounts;
    let has = |mounts: &[Mount], path: &str| mounts.iter().any(|mount| mount.container_path == *path);
    if !has(&mounts, "/etc/hosts") {
        let hosts = Mount {
            host_path: paths.hosts(),
            container_path: PathBuf::from("/etc/hosts"),
            readonly: security.readonly_rootfs,
            ..Mount::default()
        };
        mounts.push(hosts);
    }
    let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if !message.is_empty() {
        let file = Mount {
            host_path: message_path(paths, member.name(), parts.number),
            container_path: PathBuf::from(message),
            ..Mount::default()
        };
        mounts.push(file);
    }
    Ok(ContainerSpec {
        name: member.name().to_owned(),
        labels: labels::container(pod, member),
        annotations: labels::container_annotations(member, parts.number),
        image: container.image.clone().unwrap_or_default(),
        command: expand_all(container.command.as_ref(), &parts.environment),
        args: expand_all(container.args.as_ref(), &parts.environment),
        working_dir: container.working_dir.clone().filter(|folder| !folder.is_empty()),
        mounts,
        user,
        security,
        resources: qos::container_resources(container),
        oom_score_adj: Some(qos::oom_score_adj(pod, container, parts.memory_capacity)),
        pid: pid(pod, parts.target),
        log_path: Some(log_path(member.name(), parts.number)),
        log_rotation: parts.log_rotation,
        tty: container.tty == Some(true),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        env: parts.environment,
        ..ContainerSpec::default()
    })
}

fn pid(pod: &Pod, target: Option<String>) -> Option<PidMode> {
    let spec = members::spec(pod);
    match target {
        Some(id) if spec.host_pid != Some(true) && spec.share_process_namespace != Some(true) => {
            Some(PidMode::Target(id))
        }
        _ => None,
    }
}
