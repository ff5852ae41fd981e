//! The conditions of a pod that its node writes.
//!
//! Invariant: `lastTransitionTime` changes exactly when `status` changes; conditions of others are not touched.
//! Answers to the kubelet's `status/generate.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::members::{self, Member, Role};
use super::phase::Phase;
use super::view::Resizing;

/// The reason of a pod that the node got rid of.
pub const EVICTED: &str = "Evicted";
/// The reason of a pod that made room for a critical one.
pub const PREEMPTED: &str = "Preempting";

/// The conditions of a pod whose resources change: it waits for that; it is being done.
pub const RESIZE: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// The condition of a pod that the node got rid of, beside those that it has.
pub fn disruption(pod: &Pod, message: &str, all: &mut Vec<PodCondition>, now: Timestamp) {
    let name = "DisruptionTarget";
    if all.iter().any(|one| one.type_ == name && one.status == "True") {
        return;
    }
    all.retain(|one| one.type_ != name);
    let verdict =
        Verdict { status: true, reason: Some("TerminationByKubelet"), message: Some(message.to_owned()) };
    all.push(render(name, verdict, &[], pod.metadata.generation, now));
}

/// The conditions of a change of resources, beside those that the pod has.
pub fn resizing(pod: &Pod, state: &Resizing, all: &mut Vec<PodCondition>, now: Timestamp) {
    let old = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    all.retain(|one| !RESIZE.contains(&&*one.type_));
    if let Some(pending) = &state.allotment.pending {
        let message = Some(pending.message.clone());
        let verdict = Verdict { status: true, reason: Some(pending.reason), message };
        all.push(render(RESIZE[0], verdict, old, pending.generation, now));
    }
    if state.generation.is_some() {
        let failed = state.failure.as_ref();
        let message = failed.map(|(message, _)| message.clone());
        let verdict = Verdict { status: true, reason: failed.map(|_| "Error"), message };
        all.push(render(RESIZE[1], verdict, old, state.generation, now));
    }
}

/// What a condition says.
struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Verdict {
        Verdict { status: true, reason: None, message: None }
    }

    fn no(reason: &'static str, message: Option<String>) -> Verdict {
        Verdict { status: false, reason: Some(reason), message }
    }
}

/// The conditions in upstream's order, those of others last.
pub fn conditions(
    pod: &Pod,
    members: &[Member],
    statuses: &[ContainerStatus],
    phase: Phase,
    sandbox_ready: bool,
    now: Timestamp,
) -> Vec<PodCondition> {
    let old = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let start = Verdict { status: sandbox_ready, reason: None, message: None };
    let containers = containers_ready(members, statuses, phase);
    let ready = ready(pod, old, &containers);
    let own = [
        ("PodReadyToStartContainers", start),
        ("Initialized", initialized(members, statuses, phase)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Verdict::yes()),
    ];
    let foreign = old.iter().filter(|one| own.iter().all(|(name, _)| *name != one.type_)).cloned();
    let foreign: Vec<PodCondition> = foreign.collect();
    let mut all: Vec<PodCondition> = Vec::with_capacity(own.len() + foreign.len());
    for (name, verdict) in own {
        all.push(render(name, verdict, old, pod.metadata.generation, now));
    }
    all.extend(foreign);
    all
}

fn render(
    name: &str,
    verdict: Verdict,
    old: &[PodCondition],
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let same = old.iter().find(|one| one.type_ == name && one.status == status);
    PodCondition {
        last_probe_time: None,
        last_transition_time: same.and_then(|one| one.last_transition_time.clone()).or(Some(Time(now))),
        message: verdict.message,
        observed_generation: generation,
        reason: verdict.reason.map(str::to_owned),
        status: status.to_owned(),
        type_: name.to_owned(),
    }
}

fn find<'a>(statuses: &'a [ContainerStatus], member: &Member) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == member.name())
}

/// `containers with <what> status: [a b]`, for those of the names that are not empty.
fn describe(lists: [(&str, Vec<&str>); 2]) -> Option<String> {
    let parts: Vec<String> = lists
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("containers with {what} status: [{}]", names.join(" ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn containers_ready(members: &[Member], statuses: &[ContainerStatus], phase: Phase) -> Verdict {
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for member in members.iter().filter(|member| matches!(member.role, Role::Sidecar | Role::Main)) {
        match find(statuses, member) {
            None => unknown.push(member.name()),
            Some(status) if !status.ready => unready.push(member.name()),
            Some(_) => {}
        }
    }
    match phase {
        Phase::Succeeded if unknown.is_empty() => Verdict::no("PodCompleted", None),
        Phase::Failed => Verdict::no("PodFailed", None),
        _ => match describe([("unknown", unknown), ("unready", unready)]) {
            Some(message) => Verdict::no("ContainersNotReady", Some(message)),
            None => Verdict::yes(),
        },
    }
}

fn ready(pod: &Pod, old: &[PodCondition], containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict { message: containers.message.clone(), ..*containers };
    }
    let mut messages = Vec::new();
    for gate in members::spec(pod).readiness_gates.iter().flatten() {
        let name = &gate.condition_type;
        match old.iter().find(|one| one.type_ == *name) {
            None => messages
                .push(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
            Some(one) if one.status != "True" => messages.push(format!(
                "the status of pod readiness gate {name:?} is not \"True\", but {}",
                one.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", Some(messages.join(", ")))
    }
}

fn initialized(members: &[Member], statuses: &[ContainerStatus], phase: Phase) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for member in members.iter().filter(|member| matches!(member.role, Role::Init | Role::Sidecar)) {
        match find(statuses, member) {
            None => unknown.push(member.name()),
            Some(status) if member.role == Role::Init && !status.ready => incomplete.push(member.name()),
            Some(status) if member.role == Role::Sidecar && status.started != Some(true) => {
                incomplete.push(member.name());
            }
            Some(_) => {}
        }
    }
    if phase == Phase::Succeeded && unknown.is_empty() {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    let started = members.iter().filter(|member| member.role == Role::Main).any(|member| {
        find(statuses, member).is_some_and(|status| {
            let ran = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
                state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            };
            ran(&status.state) || ran(&status.last_state)
        })
    });
    match describe([("unknown", unknown), ("incomplete", incomplete)]) {
        Some(message) if !started => Verdict::no("ContainersNotInitialized", Some(message)),
        _ => Verdict::yes(),
    }
}
