//! From messages and the runtime's answers to a view.

use std::collections::BTreeMap;

use gifee_oci::status::ContainerStatus;
use jiff::{SignedDuration, Timestamp};

use super::Worker;
use crate::container::{message_path, termination_message};
use crate::labels;
use crate::pod::conditions::EVICTED;
use crate::pod::view::Resizing;
use crate::pod::{Attempt, AttemptState, ContainerView, Ending, Member, Sandbox, Setup, View, Why, members};

/// The message of a pod that ran too long.
const DEADLINE: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");

impl Worker {
    /// Takes everything from the mailbox.
    pub(super) async fn read_mail(&mut self) {
        let mut inbox = self.mailbox.take();
        let allotted = self.take_allotment();
        if let Some((pod, revision)) = inbox.pod.take()
            && revision >= self.revision
        {
            let fields = |pod: &k8s_openapi::api::core::v1::Pod| {
                (pod.metadata.labels.clone(), pod.metadata.annotations.clone())
            };
            // What volumes can show of the pod itself.
            inbox.references |= fields(&self.pod) != fields(&pod);
            let changed = self.pod.metadata.generation != pod.metadata.generation;
            if revision > self.revision {
                self.report.doubt();
            }
            self.revision = revision;
            self.take_pod(pod);
            if changed && self.claim.is_some() {
                // Added containers may name further objects.
                self.claim_references();
            }
            let members = members::members(&self.pod);
            self.members = std::sync::Arc::new(members);
        } else if allotted {
            self.take_pod(self.pod.clone());
            self.members = std::sync::Arc::new(members::members(&self.pod));
        }
        self.removed |= inbox.removed;
        self.evicted = self.evicted.take().or(inbox.evicted);
        if inbox.missed {
            self.list().await;
        }
        for id in &inbox.dirty {
            self.look(id).await;
        }
        if inbox.lost {
            self.sandbox_lost().await;
        }
        if inbox.references {
            self.references_changed();
        }
        for verdict in inbox.verdicts {
            self.take_verdict(verdict);
        }
    }

    /// Asks the runtime about one container.
    pub(super) async fn look(&mut self, id: &str) {
        match self.agent.runtime.container(id).await {
            Ok(status) => self.take_status(&status),
            Err(error) if error.is_not_found() => self.forget(id),
            Err(error) => {
                tracing::warn!(pod = members::describe(&self.pod), id, %error, "a container does not answer");
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.attempts.values_mut().for_each(|attempts| attempts.retain(|attempt| attempt.id != id));
    }

    /// Asks the runtime about all containers, after events were missed.
    async fn list(&mut self) {
        let Ok(all) = self.agent.runtime.containers().await else { return };
        let uid = members::uid(&self.pod).to_owned();
        let own: Vec<ContainerStatus> =
            all.into_iter().filter(|one| one.spec.labels.get(labels::POD_UID) == Some(&uid)).collect();
        let gone: Vec<String> = self
            .attempts
            .values()
            .flatten()
            .map(|attempt| attempt.id.clone())
            .filter(|id| own.iter().all(|one| one.id != *id))
            .collect();
        gone.iter().for_each(|id| self.forget(id));
        own.iter().for_each(|status| self.take_status(status));
        self.sandbox_lost().await;
    }

    /// Looks whether the sandbox is still there, and at all that ran in it.
    async fn sandbox_lost(&mut self) {
        let Some(id) = self.ground.sandbox.clone() else { return };
        let alive = match self.agent.runtime.sandbox(&id).await {
            Ok(status) => status.state == gifee_oci::status::SandboxState::Ready,
            Err(error) => !error.is_not_found(),
        };
        if alive {
            return;
        }
        if self.ending.is_none() && self.setup == Setup::Done {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.agent.normal(&self.pod, None, "SandboxChanged", message);
        }
        self.ground.dead.extend(self.ground.sandbox.take());
        let running: Vec<String> = self
            .attempts
            .values()
            .flatten()
            .filter(|attempt| attempt.exit_code().is_none())
            .map(|attempt| attempt.id.clone())
            .collect();
        for id in running {
            self.look(&id).await;
        }
    }

    pub(super) fn take_status(&mut self, status: &ContainerStatus) {
        let Some(name) = labels::container_name(status).map(str::to_owned) else { return };
        let known = self.attempts.get(&name).and_then(|all| all.iter().find(|one| one.id == status.id));
        if known.is_some_and(|known| known.exit_code().is_some()) {
            // An end never changes, and neither do last words.
            return;
        }
        let message = if status.exit.is_some() { self.last_words(&name, status) } else { String::new() };
        let attempt = labels::attempt(status, message);
        let attempts = self.attempts.entry(name).or_default();
        attempts.retain(|one| one.id != attempt.id);
        attempts.push(attempt);
        attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.number));
    }

    fn last_words(&self, name: &str, status: &ContainerStatus) -> String {
        let failed = status.exit.as_ref().is_some_and(|exit| exit.code != 0);
        let log = status.log_path.as_deref().filter(|_| failed && labels::falls_back_to_log(status));
        termination_message(&message_path(&self.paths, name, labels::number(status)), log)
    }

    /// Everything that is known now.
    pub(super) fn observe(&mut self) -> View {
        let now = self.agent.clock.now();
        let containers: BTreeMap<String, ContainerView> = self
            .members
            .clone()
            .iter()
            .map(|member| (member.name().to_owned(), self.container(member)))
            .collect();
        let mut view = View {
            pod: self.pod.clone(),
            members: self.members.clone(),
            now,
            ending: None,
            removed: self.removed,
            sandbox: self.sandbox(),
            setup: self.setup.clone(),
            containers,
            host_addresses: self.agent.config.addresses.clone(),
            start_time: self.start_time,
            resizing: Resizing {
                allotment: self.allotment.clone(),
                generation: self.resizing,
                under_way: self.changing_limits,
                failure: self.resize_failure.clone(),
                footing: self.footing.clone().filter(|_| self.resizing.is_some()),
            },
        };
        self.note_ending(&view);
        view.ending.clone_from(&self.ending);
        view
    }

    fn sandbox(&self) -> Option<Sandbox> {
        let id = self.ground.sandbox.as_ref();
        let ready = id.is_some();
        let id = id.or(self.ground.dead.last())?.clone();
        // While the steps are done again the pod's addresses are not yet known for sure.
        let addresses =
            if self.setup == Setup::Running && !ready { Vec::new() } else { self.ground.addresses.clone() };
        Some(Sandbox { id, ready, addresses })
    }

    fn container(&self, member: &Member) -> ContainerView {
        let attempts = self.attempts.get(member.name()).cloned().unwrap_or_default();
        let memory = self.memories.get(member.name());
        let finished = match attempts.first() {
            Some(Attempt { state: AttemptState::Exited { finished, .. }, .. }) => Some(*finished),
            _ => None,
        };
        let owed = memory.and_then(|memory| memory.owed);
        let back_off = finished.zip(memory).map(|(finished, memory)| memory.restarts.delay(finished));
        // Nobody is at fault.
        let back_off = back_off.filter(|_| owed != Some(Why::Resized));
        let mut view = ContainerView {
            work: memory.and_then(|memory| memory.work.clone()),
            failure: memory.and_then(|memory| memory.failure.clone()),
            back_off: back_off.unwrap_or_default(),
            owed: owed.is_some(),
            stale: self.stale(member),
            attempts,
            ..ContainerView::default()
        };
        self.judge(member, &mut view);
        view
    }

    /// Notes since when and why the pod has to end. A reason stays, a deadline only comes nearer.
    fn note_ending(&mut self, view: &View) {
        let grace = self.deletion_grace();
        if let Some(grace) = grace
            && self.deletion.is_none_or(|(known, _)| grace < known)
        {
            self.deletion = Some((grace, view.now));
        }
        let mut ending = self.ending.take();
        let late = crate::pod::plan::active_deadline(view).is_some_and(|deadline| deadline <= view.now);
        if late && ending.is_none() && !view.reported_terminal() && !self.all_ended(view) {
            let (reason, message) = DEADLINE;
            self.agent.normal(&self.pod, None, reason, message);
            ending = Some(Ending {
                deadline: view.now + SignedDuration::from_secs(crate::pod::plan::grace_seconds(view)),
                failed: Some((reason.to_owned(), message.to_owned())),
            });
        }
        if let Some((reason, message)) = self.evicted.take()
            && ending.is_none()
            && !view.reported_terminal()
            && !self.all_ended(view)
        {
            self.agent.warning(&self.pod, None, reason, message.clone());
            // Whoever is in want cannot wait.
            let grace = if reason == EVICTED { 1 } else { crate::pod::plan::grace_seconds(view) };
            let deadline = view.now + SignedDuration::from_secs(grace);
            ending = Some(Ending { deadline, failed: Some((reason.to_owned(), message)) });
        }
        if let Some((grace, seen)) = self.deletion {
            let deadline: Timestamp = seen + SignedDuration::from_secs(grace);
            ending = Some(match ending {
                Some(ending) => Ending { deadline: ending.deadline.min(deadline), ..ending },
                None => Ending { deadline, failed: None },
            });
        }
        self.ending = ending;
    }

    fn all_ended(&self, view: &View) -> bool {
        crate::pod::plan(view).finished
    }

    /// The grace period of a pod that was deleted.
    fn deletion_grace(&self) -> Option<i64> {
        let metadata = &self.pod.metadata;
        let spec = members::spec(&self.pod).termination_grace_period_seconds.unwrap_or(30);
        if metadata.deletion_timestamp.is_some() {
            return Some(metadata.deletion_grace_period_seconds.unwrap_or(spec).max(1));
        }
        // Nobody deleted it in time, but it is gone.
        self.removed.then_some(spec.max(1))
    }
}
