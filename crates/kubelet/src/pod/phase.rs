//! The phase of a pod out of the statuses of its containers.
//!
//! Answers to the kubelet's `getPhase`.

use k8s_openapi::api::core::v1::ContainerStatus;

use super::members::{Member, Restart, Role};

/// The five words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all init containers have ended, or a container was never started.
    Pending,
    /// A container runs, or is started again.
    Running,
    /// All ended with code 0, for good.
    Succeeded,
    /// All ended for good, one of them badly.
    Failed,
}

impl Phase {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }
}

#[derive(Default)]
struct Counts {
    pending_init: usize,
    failed_init: bool,
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
    unknown: usize,
    main_started: bool,
}

/// The phase; `finished` says that nothing will run again.
pub fn phase(members: &[Member], policy: Restart, statuses: &[ContainerStatus], finished: bool) -> Phase {
    let counts = count(members, statuses);
    if counts.failed_init && policy == Restart::Never && !again(members, statuses, Role::Init) {
        return Phase::Failed;
    }
    if (counts.pending_init > 0 && !counts.main_started) && !finished {
        return Phase::Pending;
    }
    if counts.waiting > 0 && !finished {
        return Phase::Pending;
    }
    if counts.running > 0 && counts.unknown == 0 {
        return Phase::Running;
    }
    if finished && counts.running == 0 {
        let all =
            counts.stopped > 0 && counts.stopped == counts.succeeded && counts.waiting + counts.unknown == 0;
        return if all && counts.pending_init == 0 && !counts.failed_init {
            Phase::Succeeded
        } else {
            Phase::Failed
        };
    }
    if counts.stopped > 0 && counts.unknown == 0 {
        return match policy {
            Restart::Always => Phase::Running,
            _ if again(members, statuses, Role::Main) => Phase::Running,
            _ if counts.stopped == counts.succeeded => Phase::Succeeded,
            Restart::Never => Phase::Failed,
            Restart::OnFailure => Phase::Running,
        };
    }
    Phase::Pending
}

/// Whether one of those that have ended is started again by a policy or a rule of its own.
fn again(members: &[Member], statuses: &[ContainerStatus], role: Role) -> bool {
    let mut all = members.iter().filter(|member| member.role == role);
    all.any(|member| {
        let status = statuses.iter().find(|status| status.name == member.name());
        let states = status.map(|status| [status.state.as_ref(), status.last_state.as_ref()]);
        let ended = states.into_iter().flatten().flatten().find_map(|state| state.terminated.as_ref());
        let running =
            status.and_then(|status| status.state.as_ref()).is_some_and(|one| one.running.is_some());
        !running && ended.is_some_and(|end| member.restarts_after(end.exit_code))
    })
}

fn count(members: &[Member], statuses: &[ContainerStatus]) -> Counts {
    let mut counts = Counts::default();
    for member in members {
        let status = statuses.iter().find(|status| status.name == member.name());
        match member.role {
            Role::Init => count_init(&mut counts, status),
            Role::Sidecar => {
                if status.is_none_or(|status| status.started != Some(true)) {
                    counts.pending_init += 1;
                }
            }
            Role::Main => count_main(&mut counts, status),
            Role::Ephemeral => {}
        }
    }
    counts
}

fn count_init(counts: &mut Counts, status: Option<&ContainerStatus>) {
    let state = status.and_then(|status| status.state.as_ref());
    let last = status.and_then(|status| status.last_state.as_ref()).and_then(|last| last.terminated.as_ref());
    match state {
        Some(state) if state.terminated.is_some() => {
            counts.failed_init |= state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
        }
        Some(state) if state.waiting.is_some() && last.is_some() => {
            counts.failed_init |= last.is_some_and(|end| end.exit_code != 0);
            counts.pending_init += 1;
        }
        _ => counts.pending_init += 1,
    }
}

fn count_main(counts: &mut Counts, status: Option<&ContainerStatus>) {
    let Some(status) = status else {
        counts.unknown += 1;
        return;
    };
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    counts.main_started |= state.waiting.is_none() || last.is_some();
    if state.running.is_some() {
        counts.running += 1;
    } else if let Some(end) = &state.terminated {
        counts.stopped += 1;
        counts.succeeded += usize::from(end.exit_code == 0);
    } else if last.is_some() {
        counts.stopped += 1;
    } else {
        counts.waiting += 1;
    }
}
