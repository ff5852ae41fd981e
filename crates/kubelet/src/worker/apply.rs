//! Starts what a plan asks for, and takes note of what came of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::start::{self, Start};
use super::stop::Stopping;
use super::{Done, Worker};
use crate::container;
use crate::hooks;
use crate::pod::plan::duration;
use crate::pod::{Action, Failure, Member, Plan, Restart, Setup, View, Why, Work, members, qos};

/// Between two looks for images that could not be had.
const LOOK: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause between two tries to set a pod up.
const SETUP_PAUSE_MAXIMUM: i64 = 60;

impl Worker {
    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::SetUp => self.set_up(),
            Action::TearDown => self.step(|run, mut ground| async move {
                let result = hooks::tear_down(&run, &mut ground).await;
                Done::TornDown(Box::new(ground), result)
            }),
            Action::Purge => self.step(|run, mut ground| async move {
                let result = hooks::purge(&run, &mut ground).await;
                Done::Purged(Box::new(ground), result)
            }),
            Action::Delete => {
                // Not before the server knows how it ended.
                if self.report.settled() {
                    self.setup = Setup::Running;
                    self.delete();
                }
            }
            Action::Start { container, number } => self.start(&container, number),
            Action::Cancel { container } => {
                let memory = self.memories.entry(container).or_default();
                if let Some(cancel) = &memory.cancel {
                    cancel.cancel();
                }
                memory.work = Some(Work::Starting { cancelled: true });
            }
            Action::Stop { container, id, deadline, why } => self.stop(&container, id, deadline, why),
            Action::Resize { containers, footing } => self.resize(containers, *footing),
            Action::Remove { container, id } => self.remove(container, id),
        }
    }

    fn member(&self, name: &str) -> Option<Member> {
        self.members.iter().find(|member| member.name() == name).cloned()
    }

    fn step<F>(&mut self, step: impl FnOnce(hooks::Run, hooks::Ground) -> F)
    where
        F: Future<Output = Done> + Send + 'static,
    {
        self.setup = Setup::Running;
        let (run, ground) = (self.run_context(), self.ground.clone());
        self.spawn(step(run, ground));
    }

    fn set_up(&mut self) {
        if self.claim.is_none() {
            self.claim_references();
        }
        // A sandbox died, before the eyes of this agent or of none.
        // The step writes them.
        self.footing = Some(qos::pod_resources(&self.pod, None));
        let died = self.ground.sandbox.is_none() && !self.ground.dead.is_empty();
        if died && matches!(self.setup, Setup::Done | Setup::Needed) {
            self.ground.attempt += 1;
        }
        self.step(|run, mut ground| async move {
            let agent = run.agent.clone();
            let _permit = agent.starts.acquire().await;
            let result = hooks::set_up(&run, &mut ground).await;
            Done::SetUp(Box::new(ground), result)
        });
    }

    /// Watches what the pod names.
    pub(super) fn claim_references(&mut self) {
        let mailbox = self.mailbox.clone();
        let claim = self.agent.references.claim(&self.pod, move || mailbox.references());
        self.claim = Some(Arc::new(claim));
    }

    fn start(&mut self, name: &str, number: i32) {
        let (Some(member), Some(claim)) = (self.member(name), self.claim.clone()) else { return };
        let target = member.target.as_ref().and_then(|target| {
            let attempts = self.attempts.get(target)?;
            attempts.first().filter(|attempt| attempt.running()).map(|attempt| attempt.id.clone())
        });
        let cancel = CancellationToken::new();
        let memory = self.memories.entry(name.to_owned()).or_default();
        memory.work = Some(Work::Starting { cancelled: false });
        memory.cancel = Some(cancel.clone());
        memory.actuated = Some(member.container.resources.clone().unwrap_or_default());
        if memory.owed == Some(Why::Resized) {
            // Not the container's fault.
        } else if number > 0 && self.attempts.get(name).is_some_and(|attempts| !attempts.is_empty()) {
            memory.restarts.next(self.agent.clock.now());
        }
        let start = Start {
            agent: self.agent.clone(),
            mailbox: self.mailbox.clone(),
            pod: self.pod.clone(),
            member,
            number,
            ground: self.ground.clone(),
            paths: self.paths.clone(),
            claim,
            target,
            cancel,
        };
        let name = name.to_owned();
        self.spawn(async move { Done::Started(name, start.run().await) });
    }

    fn stop(&mut self, name: &str, id: String, deadline: jiff::Timestamp, why: Why) {
        let Some(member) = self.member(name) else { return };
        let memory = self.memories.entry(name.to_owned()).or_default();
        let hasten = matches!(memory.work, Some(Work::Stopping { .. }));
        memory.owed = match why {
            Why::Ending => None,
            Why::Changed | Why::Resized => Some(why),
            Why::Liveness | Why::Startup => (member.restart != Restart::Never).then_some(why),
        };
        memory.work = Some(Work::Stopping { deadline });
        let stopping = Stopping {
            agent: self.agent.clone(),
            pod: self.pod.clone(),
            member,
            id: id.clone(),
            deadline,
            why,
            address: self.ground.addresses.first().copied(),
            hasten,
        };
        let name = name.to_owned();
        self.spawn(async move {
            stopping.run().await;
            Done::Stopped(name, id)
        });
    }

    fn remove(&mut self, name: String, id: String) {
        self.memories.entry(name.clone()).or_default().work = Some(Work::Removing);
        let agent = self.agent.clone();
        let number = self
            .attempts
            .get(&name)
            .and_then(|all| all.iter().find(|one| one.id == id))
            .map(|one| one.number);
        let logs = self.paths.logs(members::namespace(&self.pod), members::name(&self.pod));
        let message = number.map(|number| container::message_path(&self.paths, &name, number));
        let log = number.map(|number| logs.join(container::log_path(&name, number)));
        self.spawn(async move {
            let (runtime, own) = (agent.runtime.clone(), id.clone());
            let removed = agent.whole(async move { runtime.remove_container(&own).await }).await;
            if let Err(error) = &removed {
                tracing::warn!(id, %error, "a dead container was not removed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            } else {
                // A run that is made again under the same number writes them anew.
                message.as_deref().map(remove_with_rotated);
                log.as_deref().map(remove_with_rotated);
            }
            Done::Removed(name, id, removed.is_ok())
        });
    }

    pub(super) async fn finish(&mut self, done: Done) {
        match done {
            Done::SetUp(ground, result) => {
                self.ground = *ground;
                self.stepped(result, Setup::Done);
            }
            Done::TornDown(ground, result) => {
                self.ground = *ground;
                self.claim = None;
                self.stepped(result, Setup::Undone);
            }
            Done::Purged(ground, result) => {
                self.ground = *ground;
                self.purged = result.is_ok();
                self.stepped(result, Setup::Undone);
            }
            Done::Refreshed((volumes, failed)) => self.refreshed(volumes, failed),
            Done::Started(name, result) => {
                // The runtime's own event may come later than this.
                let attempts = self.attempts.get(&name).into_iter().flatten();
                let open = attempts.filter(|attempt| attempt.exit_code().is_none());
                for id in open.map(|attempt| attempt.id.clone()).collect::<Vec<_>>() {
                    self.look(&id).await;
                }
                self.started(&name, result);
            }
            Done::Stopped(name, id) => {
                self.look(&id).await;
                let ended = self
                    .attempts
                    .get(&name)
                    .is_none_or(|all| all.iter().all(|one| one.id != id || !one.running()));
                let memory = self.memories.entry(name).or_default();
                if ended || matches!(memory.work, Some(Work::Stopping { .. })) {
                    memory.work = None;
                }
            }
            Done::Removed(name, id, removed) => {
                if removed {
                    self.look(&id).await;
                }
                self.memories.entry(name).or_default().work = None;
            }
            Done::Reported(reported) => self.reported(*reported),
            Done::Resized(resized) => self.resized(resized),
            Done::Looked(present) => self.looked(&present),
            Done::Deleted => self.setup = Setup::Deleted,
        }
    }

    fn stepped(&mut self, result: Result<(), hooks::Failed>, done: Setup) {
        match result {
            Ok(()) => {
                self.setup_failures = 0;
                self.setup = done;
            }
            Err(failed) => {
                self.agent.warning(&self.pod, None, failed.reason, failed.message);
                let pause = (1_i64 << self.setup_failures.min(6)).min(SETUP_PAUSE_MAXIMUM);
                self.setup_failures += 1;
                self.setup = Setup::Failed(self.agent.clock.now() + SignedDuration::from_secs(pause));
            }
        }
    }

    fn started(&mut self, name: &str, result: Result<(), start::Failed>) {
        let now = self.agent.clock.now();
        let memory = self.memories.entry(name.to_owned()).or_default();
        memory.work = None;
        memory.cancel = None;
        match result {
            Ok(()) => {
                memory.failure = None;
                memory.owed = None;
                memory.tries = Default::default();
            }
            Err(start::Failed::Cancelled) => {}
            Err(start::Failed::Because(reason, message)) => {
                // A container that ran has the back-off of restarts; the others have this one.
                let ran = matches!(reason, "RunContainerError" | "PostStartHookError");
                let before = memory.tries.delay(now);
                memory.tries.next(now);
                let delay = if ran { before } else { memory.tries.delay(now) };
                memory.failure = Some(Failure { reason, message, at: now, retry_at: now + duration(delay) });
            }
        }
    }

    /// Looks now and then whether images have come that could not be pulled: nobody tells of an import.
    pub(super) fn look_for_images(&mut self, view: &View) {
        let missing = |member: &&Member| {
            let policy = member.container.image_pull_policy.as_deref();
            let failure = view.container(member.name()).failure.as_ref();
            policy != Some("Always")
                && failure.is_some_and(|one| {
                    one.retry_at > view.now && matches!(one.reason, "ErrImagePull" | "ErrImageNeverPull")
                })
        };
        let missing: Vec<(String, String)> = view
            .members
            .iter()
            .filter(missing)
            .filter_map(|member| Some((member.name().to_owned(), member.container.image.clone()?)))
            .collect();
        if missing.is_empty() || view.ending.is_some() || self.looking {
            self.look_at = self.look_at.filter(|_| self.looking);
            return;
        }
        match self.look_at {
            Some(at) if at <= view.now => {}
            Some(_) => return,
            None => return self.look_at = Some(view.now + LOOK),
        }
        self.look_at = Some(view.now + LOOK);
        self.looking = true;
        let agent = self.agent.clone();
        self.spawn(async move {
            let mut present = Vec::new();
            for (name, image) in missing {
                if agent.images.present(&image).await {
                    present.push(name);
                }
            }
            Done::Looked(present)
        });
    }

    fn looked(&mut self, present: &[String]) {
        self.looking = false;
        let now = self.agent.clock.now();
        for name in present {
            if let Some(failure) = self.memories.get_mut(name).and_then(|memory| memory.failure.as_mut()) {
                failure.retry_at = now;
            }
        }
    }

    /// Objects that the pod names, or the pod itself, changed: volumes follow, and what failed is tried again.
    pub(super) fn references_changed(&mut self) {
        let now = self.agent.clock.now();
        if let Setup::Failed(_) = self.setup
            && self.ending.is_none()
        {
            self.setup = Setup::Failed(now);
        }
        for memory in self.memories.values_mut() {
            if let Some(failure) =
                memory.failure.as_mut().filter(|one| one.reason == "CreateContainerConfigError")
            {
                failure.retry_at = now;
            }
        }
        self.refresh();
    }

    /// Brings the volumes up to date.
    pub(super) fn refresh(&mut self) {
        if self.setup != Setup::Done || self.ending.is_some() {
            return;
        }
        if self.refreshing {
            self.refresh_again = true;
            return;
        }
        self.refreshing = true;
        let (run, ground) = (self.run_context(), self.ground.clone());
        self.spawn(async move { Done::Refreshed(hooks::refresh(&run, &ground).await) });
    }

    /// Brings the volumes up to date if one of them holds what is about to expire.
    pub(super) fn refresh_old(&mut self) {
        let now = self.agent.clock.now();
        let due = |volume: &crate::volumes::Mounted| volume.refresh_at.is_some_and(|at| at <= now);
        if !self.refreshing && self.ground.volumes.values().any(due) {
            self.refresh();
        }
    }

    fn refreshed(
        &mut self,
        volumes: std::collections::BTreeMap<String, crate::volumes::Mounted>,
        failed: Vec<hooks::Failed>,
    ) {
        self.refreshing = false;
        self.ground.volumes.extend(volumes);
        if !failed.is_empty() {
            // Tokens are tried again in a while; what an object lacks comes with its next change.
            let later = self.agent.clock.now() + SignedDuration::from_secs(10);
            for refresh in self.ground.volumes.values_mut().filter_map(|volume| volume.refresh_at.as_mut()) {
                *refresh = later.max(*refresh);
            }
        }
        for one in failed {
            self.agent.warning(&self.pod, None, one.reason, one.message);
        }
        if std::mem::take(&mut self.refresh_again) {
            self.refresh();
        }
    }

    /// Events of containers that begin to wait for their next start.
    pub(super) fn tell_of_waiting(&mut self, plan: &Plan) {
        for member in self.members.clone().iter() {
            let memory = self.memories.entry(member.name().to_owned()).or_default();
            let waiting = plan.waiting.get(member.name());
            let reason = waiting.map(|waiting| waiting.reason.clone());
            if memory.told == reason {
                continue;
            }
            memory.told.clone_from(&reason);
            let Some(waiting) = waiting else { continue };
            match waiting.reason.as_str() {
                "CrashLoopBackOff" => {
                    let (container, pod) = (member.name(), members::describe(&self.pod));
                    let message = format!("Back-off restarting failed container {container} in pod {pod}");
                    self.agent.warning(&self.pod, Some(member), "BackOff", message);
                }
                "ImagePullBackOff" => {
                    self.agent.normal(&self.pod, Some(member), "BackOff", waiting.message.clone());
                    self.agent.warning(&self.pod, Some(member), "Failed", "Error: ImagePullBackOff");
                }
                _ => {}
            }
        }
    }
}

/// Removes a file, and what was put aside of it. What is not there need not be removed.
fn remove_with_rotated(path: &std::path::Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|one| one.starts_with(name)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
