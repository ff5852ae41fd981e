//! What the runtime remembers for the agent: labels and annotations of sandboxes and containers.
//!
//! Invariant: all that a restarted agent needs to go on stands here. The names are those of upstream, so that tools
//! which look at a node know them. Answers to `pkg/kubelet/types/labels.go` and `kuberuntime/labels.go`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use gifee_oci::status::{ContainerState, ContainerStatus, SandboxStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod::{Attempt, AttemptState, Member, members};

/// `metadata.uid` of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const ATTEMPT: &str = "io.kubernetes.sandbox.attempt";
const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
const NETWORK: &str = "gifee.io/network";

type Map = BTreeMap<String, String>;

/// The labels of anything that belongs to a pod.
pub fn pod(pod: &Pod) -> Map {
    [(POD_NAME, members::name(pod)), (POD_NAMESPACE, members::namespace(pod)), (POD_UID, members::uid(pod))]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The labels of a container.
pub fn container(pod_: &Pod, member: &Member) -> Map {
    let mut labels = pod(pod_);
    labels.insert(CONTAINER_NAME.to_owned(), member.name().to_owned());
    labels
}

/// The annotations of a container.
pub fn container_annotations(member: &Member, number: i32) -> Map {
    let container = &member.container;
    let text = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    BTreeMap::from([
        (CONTAINER_HASH.to_owned(), format!("{:x}", member.hash())),
        (RESTART_COUNT.to_owned(), number.to_string()),
        (MESSAGE_PATH.to_owned(), text(&container.termination_message_path, "/dev/termination-log")),
        (MESSAGE_POLICY.to_owned(), text(&container.termination_message_policy, "File")),
    ])
}

/// The annotations of a sandbox: the how-manieth of its pod it is, its name in the network, and how long its containers
/// have to end if the API forgets the pod.
pub fn sandbox_annotations(pod: &Pod, attempt: u32, network: Option<&str>) -> Map {
    let grace = members::spec(pod).termination_grace_period_seconds.unwrap_or(30);
    let mut annotations =
        BTreeMap::from([(ATTEMPT.to_owned(), attempt.to_string()), (GRACE.to_owned(), grace.to_string())]);
    annotations.extend(network.map(|network| (NETWORK.to_owned(), network.to_owned())));
    annotations
}

/// How long the containers of a sandbox have to end.
pub fn sandbox_grace(status: &SandboxStatus) -> Option<i64> {
    status.spec.annotations.get(GRACE)?.parse().ok()
}

/// The how-manieth sandbox of its pod it is.
pub fn sandbox_attempt(status: &SandboxStatus) -> u32 {
    status.spec.annotations.get(ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Its name in the network; none with the host's network.
pub fn sandbox_network(status: &SandboxStatus) -> Option<String> {
    status.spec.annotations.get(NETWORK).cloned()
}

/// The UID of the pod that a sandbox belongs to; `None` if the agent did not make it.
pub fn sandbox_uid(status: &SandboxStatus) -> Option<&str> {
    status.spec.labels.get(POD_UID).map(String::as_str)
}

/// The name and namespace of the pod that a sandbox belongs to.
pub fn sandbox_pod(status: &SandboxStatus) -> (String, String) {
    let get = |key: &str| status.spec.labels.get(key).cloned().unwrap_or_default();
    (get(POD_NAMESPACE), get(POD_NAME))
}

/// The name of the member that a container is a run of.
pub fn container_name(status: &ContainerStatus) -> Option<&str> {
    status.spec.labels.get(CONTAINER_NAME).map(String::as_str)
}

/// Whether the end of the log stands in for a missing termination message.
pub fn falls_back_to_log(status: &ContainerStatus) -> bool {
    status.spec.annotations.get(MESSAGE_POLICY).map(String::as_str) == Some("FallbackToLogsOnError")
}

/// The restart count of a run.
pub fn number(status: &ContainerStatus) -> i32 {
    status.spec.annotations.get(RESTART_COUNT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A run as the planner sees it; `message` is what it left behind.
pub fn attempt(status: &ContainerStatus, message: String) -> Attempt {
    let hash = status.spec.annotations.get(CONTAINER_HASH);
    Attempt {
        id: status.id.clone(),
        sandbox: status.sandbox.clone(),
        number: number(status),
        hash: hash.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0),
        image: status.spec.image.clone(),
        image_id: status.image_id.clone(),
        state: state(status, message),
    }
}

fn state(status: &ContainerStatus, message: String) -> AttemptState {
    match (&status.exit, status.state) {
        // It ended without having run, and not for want of a program: nothing of it counts.
        (Some(exit), _) if status.started_at.is_none() && exit.reason() == "ContainerStatusUnknown" => {
            AttemptState::Created
        }
        (Some(exit), _) => AttemptState::Exited {
            started: status.started_at.map(timestamp),
            finished: timestamp(exit.finished_at),
            code: exit.code,
            signal: None,
            reason: exit.reason().to_owned(),
            message: if message.is_empty() { exit.message.clone().unwrap_or_default() } else { message },
        },
        (None, ContainerState::Running) => {
            AttemptState::Running { since: timestamp(status.started_at.unwrap_or(status.created_at)) }
        }
        (None, _) => AttemptState::Created,
    }
}

/// The system's time as a timestamp.
pub fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH)
}
