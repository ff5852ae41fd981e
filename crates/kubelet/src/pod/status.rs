//! The status of a pod as its node writes it.
//!
//! Invariant: a function of the view and its plan alone; restart counts never go back, and a final phase stays.
//! Answers to the kubelet's `generateAPIPodStatus` and `convertStatusToAPIStatus`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, PodIP, PodStatus, ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{EVICTED, PREEMPTED, conditions, disruption, resizing};
use super::members::{self, Member, Restart, Role};
use super::phase::{Phase, phase};
use super::plan::Plan;
use super::qos;
use super::view::{Attempt, AttemptState, View};

/// What stands before the runtime's id in `containerID`.
pub const SCHEME: &str = "gifee://";

/// Makes the status.
pub fn status(view: &View, plan: &Plan) -> PodStatus {
    let all: Vec<(Role, ContainerStatus)> =
        view.members.iter().map(|member| (member.role, container_status(view, plan, member))).collect();
    let pick = |wanted: &[Role]| -> Vec<ContainerStatus> {
        all.iter().filter(|(role, _)| wanted.contains(role)).map(|(_, status)| status.clone()).collect()
    };
    let (main, init) = (pick(&[Role::Main]), pick(&[Role::Init, Role::Sidecar]));
    let ephemeral = pick(&[Role::Ephemeral]);
    let every: Vec<ContainerStatus> = init.iter().chain(&main).cloned().collect();
    let (phase, reason, message) = verdict(view, plan, &every);
    let sandbox_ready = view.live_sandbox().is_some() && !plan_is_over(view);
    let mut conditions = conditions(&view.pod, &view.members, &every, phase, sandbox_ready, view.now);
    resizing(&view.pod, &view.resizing, &mut conditions, view.now);
    let failed = view.ending.as_ref().and_then(|ending| ending.failed.as_ref());
    match failed {
        Some((reason, message)) if reason == EVICTED => {
            disruption(&view.pod, message, &mut conditions, view.now);
        }
        Some((reason, _)) if reason == PREEMPTED => {
            let message = "Pod was preempted by Kubelet to accommodate a critical pod.";
            disruption(&view.pod, message, &mut conditions, view.now);
        }
        _ => {}
    }
    let old = view.pod.status.as_ref();
    let start_time =
        old.and_then(|status| status.start_time.clone()).unwrap_or(Time(seconds(view.start_time)));
    let mut new = PodStatus {
        conditions: Some(conditions),
        container_statuses: non_empty(main),
        init_container_statuses: non_empty(init),
        ephemeral_container_statuses: non_empty(ephemeral),
        message,
        observed_generation: view.pod.metadata.generation,
        phase: Some(phase.as_str().to_owned()),
        qos_class: Some(qos::class(&view.pod).as_str().to_owned()),
        reason,
        start_time: Some(start_time),
        ..PodStatus::default()
    };
    addresses(view, &mut new);
    new
}

fn plan_is_over(view: &View) -> bool {
    matches!(view.setup, super::Setup::Undone | super::Setup::Deleted)
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Phase, reason and message.
fn verdict(
    view: &View,
    plan: &Plan,
    statuses: &[ContainerStatus],
) -> (Phase, Option<String>, Option<String>) {
    if let Some((reason, message)) = view.ending.as_ref().and_then(|ending| ending.failed.clone()) {
        return (Phase::Failed, Some(reason), Some(message));
    }
    if view.reported_terminal() {
        // A final phase stays, whatever is seen later.
        let old = view.pod.status.clone().unwrap_or_default();
        let phase = if old.phase.as_deref() == Some("Failed") { Phase::Failed } else { Phase::Succeeded };
        return (phase, old.reason, old.message);
    }
    let policy = Restart::parse(members::spec(&view.pod).restart_policy.as_deref());
    let over = plan.finished && !view.busy();
    (phase(&view.members, policy, statuses, over), None, None)
}

fn addresses(view: &View, status: &mut PodStatus) {
    let hosts: Vec<String> = view.host_addresses.iter().map(ToString::to_string).collect();
    status.host_ip = hosts.first().cloned();
    status.host_ips = non_empty(hosts.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    let sandbox = view.sandbox.as_ref().filter(|sandbox| !sandbox.addresses.is_empty());
    let ips: Vec<String> = match sandbox {
        Some(_) if members::host_network(&view.pod) => hosts,
        Some(sandbox) => sandbox.addresses.iter().map(ToString::to_string).collect(),
        None => {
            let old = view.pod.status.as_ref().and_then(|old| old.pod_ips.as_deref()).unwrap_or_default();
            old.iter().map(|one| one.ip.clone()).collect()
        }
    };
    status.pod_ip = ips.first().cloned();
    status.pod_ips = non_empty(ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn container_status(view: &View, plan: &Plan, member: &Member) -> ContainerStatus {
    let observed = view.container(member.name());
    let waiting =
        plan.waiting.get(member.name()).map(|waiting| (waiting.reason.clone(), waiting.message.clone()));
    // A run counts once its start is over, postStart included; until then the one before it is shown.
    let begun = |attempt: &&Attempt| match attempt.state {
        AttemptState::Created => false,
        AttemptState::Running { .. } => !observed.starting(),
        AttemptState::Exited { .. } => true,
    };
    let mut attempts = observed.attempts.iter().filter(begun);
    let mut status = blank(view, member);
    let Some(latest) = attempts.next() else {
        without_attempt(view, plan, member, &mut status, waiting);
        return status;
    };
    let previous = attempts.next().map(terminated);
    identify(&mut status, latest);
    match &latest.state {
        AttemptState::Running { since } => {
            let running = ContainerStateRunning { started_at: Some(Time(seconds(*since))) };
            status.state = Some(ContainerState { running: Some(running), ..ContainerState::default() });
            status.last_state = previous.or(status.last_state);
            status.started = Some(observed.started);
            status.ready = observed.started && observed.ready && member.role != Role::Init;
            let had = observed.stale.as_ref().or(member.container.resources.as_ref());
            status.resources = Some(had.cloned().unwrap_or_default());
        }
        AttemptState::Exited { code, .. } => {
            status.ready = *code == 0 && member.role == Role::Init;
            if let Some((reason, message)) = waiting.filter(|_| !plan.finished) {
                status.state = Some(waiting_state(reason, message));
                status.last_state = Some(terminated(latest));
            } else {
                status.state = Some(terminated(latest));
                status.last_state = previous.or(status.last_state);
            }
        }
        AttemptState::Created => {}
    }
    status
}

/// `PodInitializing` or `ContainerCreating`.
fn waiting_by_default(view: &View) -> (String, String) {
    let init = view.members.iter().any(|one| matches!(one.role, Role::Init | Role::Sidecar));
    (if init { "PodInitializing" } else { "ContainerCreating" }.to_owned(), String::new())
}

fn blank(view: &View, member: &Member) -> ContainerStatus {
    let resources = member.container.resources.clone().unwrap_or_default();
    let requests = resources.requests.clone().filter(|requests| !requests.is_empty());
    let mounts: Vec<VolumeMountStatus> = member
        .container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| VolumeMountStatus {
            mount_path: mount.mount_path.clone(),
            name: mount.name.clone(),
            read_only: mount.read_only.filter(|readonly| *readonly),
            recursive_read_only: mount.read_only.filter(|readonly| *readonly).map(|_| {
                match mount.recursive_read_only.as_deref() {
                    // Which it is.
                    Some("Enabled" | "IfPossible") => "Enabled".to_owned(),
                    _ => "Disabled".to_owned(),
                }
            }),
            ..VolumeMountStatus::default()
        })
        .collect();
    ContainerStatus {
        allocated_resources: requests,
        image: member.container.image.clone().unwrap_or_default(),
        last_state: Some(ContainerState::default()),
        name: member.name().to_owned(),
        resources: (resources != ResourceRequirements::default()).then_some(resources),
        restart_count: view.reported(member.name()).map_or(0, |old| old.restart_count),
        started: Some(false),
        volume_mounts: non_empty(mounts),
        ..ContainerStatus::default()
    }
}

fn identify(status: &mut ContainerStatus, attempt: &Attempt) {
    status.container_id = Some(format!("{SCHEME}{}", attempt.id));
    status.image.clone_from(&attempt.image);
    status.image_id.clone_from(&attempt.image_id);
    status.restart_count = attempt.number.max(status.restart_count);
}

/// The status of a container that the runtime has no run of.
fn without_attempt(
    view: &View,
    plan: &Plan,
    member: &Member,
    status: &mut ContainerStatus,
    waiting: Option<(String, String)>,
) {
    let old = view.reported(member.name());
    let ran = old.filter(|old| old.container_id.is_some());
    if let Some(old) = ran {
        status.container_id.clone_from(&old.container_id);
        status.image_id.clone_from(&old.image_id);
        let end = old.state.as_ref().and_then(|state| state.terminated.clone());
        let state = end.map(|end| ContainerState { terminated: Some(end), ..ContainerState::default() });
        let state = state.unwrap_or_else(lost);
        if plan.finished {
            let init = member.role == Role::Init;
            status.ready = init && state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
            status.state = Some(state);
            return;
        }
        status.last_state = Some(state);
    }
    let (reason, message) = waiting.unwrap_or_else(|| waiting_by_default(view));
    status.state = Some(waiting_state(reason, message));
}

fn lost() -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: 137,
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        reason: Some("ContainerStatusUnknown".to_owned()),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn waiting_state(reason: String, message: String) -> ContainerState {
    let message = (!message.is_empty()).then_some(message);
    let waiting = ContainerStateWaiting { message, reason: Some(reason) };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(attempt: &Attempt) -> ContainerState {
    let AttemptState::Exited { started, finished, code, signal, reason, message } = &attempt.state else {
        return ContainerState::default();
    };
    let terminated = ContainerStateTerminated {
        container_id: Some(format!("{SCHEME}{}", attempt.id)),
        exit_code: *code,
        finished_at: Some(Time(seconds(*finished))),
        message: (!message.is_empty()).then(|| message.clone()),
        reason: Some(reason.clone()),
        signal: *signal,
        started_at: started.map(|started| Time(seconds(started))),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// `metav1.Time` has whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
