//! What to do next with a pod.
//!
//! Invariant: the plan of a view in which the actions of the last plan are under way has none of them again, and a
//! pod at rest has an empty plan. Answers to `kuberuntime.computePodActions` and to the pod workers' termination.

use std::collections::BTreeMap;
use std::time::Duration;

use gifee_oci::spec::Resources;
use jiff::{SignedDuration, Timestamp};

use super::back_off::describe;
use super::members::{self, Member, Role};
use super::resize;
use super::view::{Attempt, AttemptState, ContainerView, Ending, Setup, View, Work};

/// How long `ErrImagePull` is shown before `ImagePullBackOff`.
const PULL_FAILURE_SHOWN: SignedDuration = SignedDuration::from_secs(2);

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The pod ends.
    Ending,
    /// Its image was changed.
    Changed,
    /// The liveness probe failed.
    Liveness,
    /// The startup probe failed.
    Startup,
    /// What it was given only holds for a new run.
    Resized,
}

impl Why {
    /// The message of the `Killing` event.
    pub fn message(self, container: &str) -> String {
        match self {
            Why::Ending => format!("Stopping container {container}"),
            Why::Changed => format!("Container {container} definition changed, will be restarted"),
            Why::Liveness => format!("Container {container} failed liveness probe, will be restarted"),
            Why::Startup => format!("Container {container} failed startup probe, will be restarted"),
            Why::Resized => format!("Container {container} resize requires restart"),
        }
    }
}

/// One thing to do. Each is started at once and takes its own time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do the steps of [`crate::hooks::HOOKS`].
    SetUp,
    /// Pull, create, start.
    Start {
        /// The member.
        container: String,
        /// Its restart count from then on.
        number: i32,
    },
    /// Give up a start that has not got as far as creating.
    Cancel {
        /// The member.
        container: String,
    },
    /// `preStop`, signal, kill at the deadline.
    Stop {
        /// The member.
        container: String,
        /// The run.
        id: String,
        /// When it is killed.
        deadline: Timestamp,
        /// Why.
        why: Why,
    },
    /// Remove a dead run.
    Remove {
        /// The member.
        container: String,
        /// The run.
        id: String,
    },
    /// Bring other limits into force.
    Resize {
        /// Name and run of the containers.
        containers: Vec<(String, String)>,
        /// The pod's own limits while that is being done, and after.
        footing: Box<[Resources; 2]>,
    },
    /// Undo the steps, last first; records and logs stay.
    TearDown,
    /// Delete the object: all that was asked is done.
    Delete,
    /// Remove records, logs and folders: nothing of it stays on the node.
    Purge,
}

/// Why a container is waiting, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `CrashLoopBackOff` and so on.
    pub reason: String,
    /// For a person.
    pub message: String,
}

/// What to do, and when to look again if nothing happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be started, all at once.
    pub actions: Vec<Action>,
    /// Why containers wait.
    pub waiting: BTreeMap<String, Waiting>,
    /// When the view changes by time alone.
    pub wake: Option<Timestamp>,
    /// Nothing of the pod will run again.
    pub finished: bool,
    /// All that the pod was given is in force.
    pub resized: bool,
}

/// Makes the plan.
pub fn plan(view: &View) -> Plan {
    let mut planner = Planner { view, plan: Plan::default() };
    planner.collect_garbage();
    let done = planner.done();
    if view.ending.is_some() || view.removed || view.reported_terminal() || done {
        planner.plan.finished = true;
        planner.end();
    } else {
        planner.run();
    }
    planner.plan
}

struct Planner<'a> {
    view: &'a View,
    plan: Plan,
}

impl Planner<'_> {
    fn wake(&mut self, at: Timestamp) {
        self.plan.wake = Some(self.plan.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Dead runs but the newest and the one before it, and runs that were made but never started.
    fn collect_garbage(&mut self) {
        for member in self.view.members.iter() {
            let container = self.view.container(member.name());
            if container.work.is_some() {
                continue;
            }
            let mut ended = container.attempts.iter().filter(|attempt| !attempt.running()).peekable();
            let stale = ended.next_if(|attempt| attempt.state == AttemptState::Created);
            let kept = if container.running().is_some() { 1 } else { 2 };
            if let Some(attempt) = stale.or_else(|| ended.nth(kept)) {
                let (container, id) = (member.name().to_owned(), attempt.id.clone());
                self.plan.actions.push(Action::Remove { container, id });
            }
        }
    }

    /// Whether every main container has ended for good, or an init container has failed for good.
    fn done(&self) -> bool {
        let ended = |member: &Member| {
            let container = self.view.container(member.name());
            container.work.is_none()
                && container
                    .latest()
                    .and_then(Attempt::exit_code)
                    .is_some_and(|code| !container.owed && !member.restarts_after(code))
        };
        let failed_init = self.view.members.iter().any(|member| {
            let code = self.view.container(member.name()).latest().and_then(Attempt::exit_code);
            member.role == Role::Init && code.is_some_and(|code| code != 0) && ended(member)
        });
        let mut main = self.view.members.iter().filter(|member| member.role == Role::Main).peekable();
        (failed_init && !self.view.main_started()) || (main.peek().is_some() && main.all(ended))
    }

    fn run(&mut self) {
        match self.view.setup {
            Setup::Running => return,
            Setup::Failed(retry_at) if retry_at > self.view.now => return self.wake(retry_at),
            Setup::Needed | Setup::Undone | Setup::Deleted | Setup::Failed(_) => {
                return self.plan.actions.push(Action::SetUp);
            }
            Setup::Done if self.view.live_sandbox().is_none() => {
                return self.plan.actions.push(Action::SetUp);
            }
            Setup::Done => {}
        }
        self.resize();
        if !self.initialize() {
            return;
        }
        let view = self.view;
        for member in view.members.iter().filter(|member| matches!(member.role, Role::Main | Role::Ephemeral))
        {
            self.keep(member);
        }
    }

    /// Brings the init containers forward; true once the main ones may run.
    fn initialize(&mut self) -> bool {
        let view = self.view;
        let begun = view.main_started();
        for member in view.members.iter().filter(|member| matches!(member.role, Role::Init | Role::Sidecar)) {
            let current = view.current(member.name());
            match member.role {
                Role::Init if begun || current.and_then(Attempt::exit_code) == Some(0) => continue,
                Role::Init => {
                    self.keep(member);
                    return false;
                }
                _ => {
                    self.keep(member);
                    let container = view.container(member.name());
                    let started = current.is_some_and(Attempt::running) && container.started;
                    if !begun && (!started || container.starting()) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Starts a container that should run and does not; stops one that should not run as it does.
    fn keep(&mut self, member: &Member) {
        let view = self.view;
        let container = view.container(member.name());
        if container.owed && (container.starting() || container.running().is_none()) {
            // It looks as if it were over, and is not.
            self.wait(member.name(), "ContainerCreating", String::new());
        }
        if container.work.is_some() {
            return;
        }
        if container.latest().is_some_and(|attempt| attempt.state == AttemptState::Created) {
            // Made and never started: it is removed as garbage first, and then made again.
            return;
        }
        match view.current(member.name()) {
            Some(attempt) if attempt.running() => self.check(member, container, attempt),
            Some(attempt)
                if !container.owed
                    && attempt.exit_code().is_some_and(|code| !member.restarts_after(code)) => {}
            _ if member.role == Role::Ephemeral && container.latest().is_some() => {}
            _ => self.start(member, container),
        }
    }

    fn check(&mut self, member: &Member, container: &ContainerView, attempt: &Attempt) {
        let why = match &container.unhealthy {
            Some((why, grace)) => Some((*why, *grace)),
            None if attempt.hash != member.hash() => Some((Why::Changed, None)),
            None => {
                let stale = container.stale.as_ref();
                let again = stale.is_some_and(|had| resize::restarts(&member.container, had));
                again.then_some((Why::Resized, None))
            }
        };
        if let Some((why, grace)) = why {
            let grace = grace.unwrap_or_else(|| grace_seconds(self.view));
            self.stop(member, attempt, self.view.now + SignedDuration::from_secs(grace.max(1)), why);
        }
    }

    /// Brings other limits into force where nothing has to be started again for that.
    fn resize(&mut self) {
        let view = self.view;
        let state = &view.resizing;
        if state.under_way || state.generation.is_none() {
            return;
        }
        if let Some((_, retry_at)) = &state.failure
            && *retry_at > view.now
        {
            return self.wake(*retry_at);
        }
        let mut containers = Vec::new();
        let mut stale = false;
        for member in view.members.iter() {
            let container = view.container(member.name());
            let (Some(had), Some(run)) = (&container.stale, container.running()) else { continue };
            stale = true;
            if container.work.is_none() && !resize::restarts(&member.container, had) {
                containers.push((member.name().to_owned(), run.id.clone()));
            }
        }
        let changed: Vec<&str> = containers.iter().map(|(name, _)| name.as_str()).collect();
        let after = resize::footing(view, &changed);
        let others = state.footing.as_ref().is_some_and(|footing| *footing != after);
        if !containers.is_empty() || others {
            let before = resize::footing(view, &[]);
            self.plan.actions.push(Action::Resize { containers, footing: Box::new([before, after]) });
        } else {
            let busy = view.containers.values().any(|one| one.work.is_some() || one.owed);
            self.plan.resized = !stale && !busy;
        }
    }

    fn start(&mut self, member: &Member, container: &ContainerView) {
        let name = member.name();
        if self.backs_off(member, container) || self.waits_for_retry(member, container) {
            return;
        }
        let number = match container.latest() {
            Some(attempt) => attempt.number + 1,
            None => self
                .view
                .reported(name)
                .filter(|status| status.container_id.is_some())
                .map_or(0, |status| status.restart_count + 1),
        };
        self.plan.actions.push(Action::Start { container: name.to_owned(), number });
    }

    /// Whether a container that ended has to wait before it is started again.
    fn backs_off(&mut self, member: &Member, container: &ContainerView) -> bool {
        let Some(Attempt { state: AttemptState::Exited { finished, .. }, .. }) = container.latest() else {
            return false;
        };
        let until = *finished + duration(container.back_off);
        if until <= self.view.now {
            return false;
        }
        self.wake(until);
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            describe(container.back_off),
            member.name(),
            members::describe(&self.view.pod)
        );
        self.wait(member.name(), "CrashLoopBackOff", message);
        true
    }

    fn waits_for_retry(&mut self, member: &Member, container: &ContainerView) -> bool {
        let Some(failure) = &container.failure else { return false };
        if failure.retry_at <= self.view.now {
            return false;
        }
        let shown_until = failure.at + PULL_FAILURE_SHOWN;
        if failure.reason == "ErrImagePull" && shown_until <= self.view.now {
            let image = member.container.image.as_deref().unwrap_or_default();
            let message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failure.message);
            self.wait(member.name(), "ImagePullBackOff", message);
        } else {
            if failure.reason == "ErrImagePull" {
                self.wake(shown_until);
            }
            self.wait(member.name(), failure.reason, failure.message.clone());
        }
        self.wake(failure.retry_at);
        true
    }

    fn wait(&mut self, container: &str, reason: &str, message: String) {
        self.plan.waiting.insert(container.to_owned(), Waiting { reason: reason.to_owned(), message });
    }

    fn stop(&mut self, member: &Member, attempt: &Attempt, deadline: Timestamp, why: Why) {
        let (container, id) = (member.name().to_owned(), attempt.id.clone());
        self.plan.actions.push(Action::Stop { container, id, deadline, why });
    }

    /// Stops what runs: main containers together, then sidecars, the last one first; then tears down.
    fn end(&mut self) {
        let view = self.view;
        let deadline = match &view.ending {
            Some(Ending { deadline, .. }) => *deadline,
            None => view.now + SignedDuration::from_secs(grace_seconds(view)),
        };
        let mut left = false;
        for member in view.members.iter().filter(|member| member.role != Role::Sidecar) {
            left |= self.finish(member, deadline);
        }
        for member in view.members.iter().rev().filter(|member| member.role == Role::Sidecar) {
            if left {
                // A start that is under way would only be in the way.
                self.cancel(member);
            } else {
                left = self.finish(member, deadline);
            }
        }
        if left || view.busy() {
            return;
        }
        self.clear();
    }

    /// Makes a container end; true while it has not.
    fn finish(&mut self, member: &Member, deadline: Timestamp) -> bool {
        let container = self.view.container(member.name());
        match (&container.work, container.running()) {
            (Some(Work::Starting { .. }), _) => {
                self.cancel(member);
                true
            }
            (Some(Work::Stopping { deadline: old }), Some(attempt)) => {
                // A second deletion with a shorter grace period hastens the first.
                if deadline + SignedDuration::from_secs(1) < *old {
                    self.stop(member, attempt, deadline, Why::Ending);
                }
                true
            }
            (Some(_), _) => true,
            (None, Some(attempt)) => {
                self.stop(member, attempt, deadline, Why::Ending);
                true
            }
            (None, None) => false,
        }
    }

    fn cancel(&mut self, member: &Member) {
        if self.view.container(member.name()).work == Some(Work::Starting { cancelled: false }) {
            self.plan.actions.push(Action::Cancel { container: member.name().to_owned() });
        }
    }

    /// Nothing runs: gives back what the pod had.
    fn clear(&mut self) {
        match self.view.setup {
            Setup::Running => {}
            Setup::Failed(retry_at) if retry_at > self.view.now => self.wake(retry_at),
            Setup::Undone | Setup::Deleted if self.view.removed => self.plan.actions.push(Action::Purge),
            Setup::Undone if self.view.pod.metadata.deletion_timestamp.is_some() => {
                self.plan.actions.push(Action::Delete);
            }
            Setup::Undone | Setup::Deleted => {}
            Setup::Needed | Setup::Done | Setup::Failed(_) => self.plan.actions.push(Action::TearDown),
        }
    }
}

/// The grace period of a pod that was not asked to end by a deletion.
pub fn grace_seconds(view: &View) -> i64 {
    members::spec(&view.pod).termination_grace_period_seconds.unwrap_or(30).max(1)
}

/// A duration to add to a timestamp.
pub fn duration(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// When `activeDeadlineSeconds` is over.
pub fn active_deadline(view: &View) -> Option<Timestamp> {
    let seconds = members::spec(&view.pod).active_deadline_seconds?;
    let reported = view.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let start = reported.map_or(view.start_time, |time| time.0);
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}
