//! Runs the probes of running containers, and remembers their verdicts.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::task::AbortHandle;

use super::{Mailbox, Verdict, Worker};
use crate::agent::Agent;
use crate::pod::{ContainerView, Member, Role, View, Why};
use crate::probes::{self, Change, Kind, Machine, Outcome, Target};

/// The probes of one run of a container.
pub(super) struct Probes {
    id: String,
    started: bool,
    ready: bool,
    unhealthy: Option<Why>,
    startup: Option<AbortHandle>,
    others: Vec<AbortHandle>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.startup.iter().chain(&self.others).for_each(AbortHandle::abort);
    }
}

impl Worker {
    /// Begins the probes of containers that run, ends those of containers that do not.
    pub(super) fn probe(&mut self, view: &View) {
        for member in self.members.clone().iter() {
            let container = view.container(member.name());
            let running = container.running().filter(|_| !container.starting()).map(|run| run.id.clone());
            let probed = self.memories.get(member.name()).and_then(|memory| memory.probes.as_ref());
            let same = probed.map(|probes| &probes.id) == running.as_ref();
            let probes = match running {
                _ if matches!(member.role, Role::Init | Role::Ephemeral) => continue,
                Some(id) if !same => Some(self.begin(member, id)),
                Some(_) => {
                    self.begin_others(view, member);
                    continue;
                }
                None => None,
            };
            self.memories.entry(member.name().to_owned()).or_default().probes = probes;
            self.begin_others(view, member);
        }
    }

    /// Whether a run counts as started and ready before its probes have said anything.
    fn initial(&self, member: &Member, id: &str) -> (bool, bool) {
        // A restarted agent goes on from what the one before it reported.
        let status = self.pod.status.as_ref();
        let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
        let reported = lists.into_iter().flatten().flatten().flatten().find(|status| {
            let full = status.container_id.as_deref();
            full.and_then(|full| full.strip_prefix(crate::pod::status::SCHEME)) == Some(id)
        });
        let (started, ready) = reported.map_or((false, false), |old| (old.started == Some(true), old.ready));
        let container = &member.container;
        (container.startup_probe.is_none() || started, container.readiness_probe.is_none() || ready)
    }

    fn begin(&self, member: &Member, id: String) -> Probes {
        let (started, ready) = self.initial(member, &id);
        let startup = match &member.container.startup_probe {
            Some(probe) if !started => Some(self.prober(Kind::Startup, probe, member, &id, None)),
            _ => None,
        };
        Probes { id, started, ready, unhealthy: None, startup, others: Vec::new() }
    }

    /// Liveness and readiness wait for the startup probe.
    fn begin_others(&mut self, view: &View, member: &Member) {
        let Some(probes) = self.memories.get(member.name()).and_then(|memory| memory.probes.as_ref()) else {
            return;
        };
        if !probes.started || !probes.others.is_empty() {
            return;
        }
        let (id, ready) = (probes.id.clone(), probes.ready);
        let mut others = Vec::new();
        for kind in [Kind::Readiness, Kind::Liveness] {
            // An ending pod is no longer restarted, but may still stop being ready.
            if kind == Kind::Liveness && view.ending.is_some() {
                continue;
            }
            if let Some(probe) = kind.of(&member.container) {
                let verdict = (kind == Kind::Readiness).then_some(ready);
                others.push(self.prober(kind, probe, member, &id, verdict));
            }
        }
        if let Some(probes) = self.memories.get_mut(member.name()).and_then(|memory| memory.probes.as_mut()) {
            probes.others = others;
        }
    }

    fn prober(
        &self,
        kind: Kind,
        probe: &Probe,
        member: &Member,
        id: &str,
        verdict: Option<bool>,
    ) -> AbortHandle {
        let prober = Prober {
            agent: self.agent.clone(),
            mailbox: self.mailbox.clone(),
            pod: self.pod.clone(),
            member: member.clone(),
            id: id.to_owned(),
            address: self.ground.addresses.first().copied(),
            kind,
            probe: probe.clone(),
        };
        // Not one of the worker's tasks, whose ends it waits for: it is ended with the probes it belongs to.
        tokio::spawn(prober.probe(verdict)).abort_handle()
    }

    pub(super) fn take_verdict(&mut self, verdict: Verdict) {
        let memory = self.memories.get_mut(&verdict.container);
        let Some(probes) = memory.and_then(|memory| memory.probes.as_mut()) else { return };
        if probes.id != verdict.id {
            return;
        }
        let passed = verdict.change == Change::Passed;
        match verdict.kind {
            Kind::Startup if passed => {
                probes.started = true;
                if let Some(task) = probes.startup.take() {
                    task.abort();
                }
            }
            Kind::Startup => probes.unhealthy = Some(Why::Startup),
            Kind::Liveness if !passed => probes.unhealthy = Some(Why::Liveness),
            Kind::Liveness => {}
            Kind::Readiness => probes.ready = passed,
        }
    }

    /// Puts the verdicts into a view of the container.
    pub(super) fn judge(&self, member: &Member, view: &mut ContainerView) {
        let Some(running) = view.running() else { return };
        let probes = self.memories.get(member.name()).and_then(|memory| memory.probes.as_ref());
        let Some(probes) = probes.filter(|probes| probes.id == running.id) else {
            // Not yet begun; they are in a moment.
            (view.started, view.ready) = self.initial(member, &running.id.clone());
            return;
        };
        view.started = probes.started;
        view.ready = probes.ready;
        view.unhealthy = probes.unhealthy.map(|why| {
            let kind = if why == Why::Startup { Kind::Startup } else { Kind::Liveness };
            (why, kind.of(&member.container).and_then(|probe| probe.termination_grace_period_seconds))
        });
    }
}

struct Prober {
    agent: Arc<Agent>,
    mailbox: Arc<Mailbox>,
    pod: Arc<k8s_openapi::api::core::v1::Pod>,
    member: Member,
    id: String,
    address: Option<std::net::IpAddr>,
    kind: Kind,
    probe: Probe,
}

impl Prober {
    /// Probes until it is ended.
    async fn probe(self, verdict: Option<bool>) {
        let delay = u64::try_from(self.probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(delay)).await;
        let mut machine = Machine::new(self.kind, &self.probe, verdict);
        let mut ticks = tokio::time::interval(probes::period(&self.probe));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let outcome = probes::run(&self.probe, &self.target(&self.member.container)).await;
            self.mailbox.probed(self.member.name(), self.kind, !matches!(outcome, Outcome::Failure(_)));
            self.tell(&outcome);
            if let Some(change) = machine.record(&outcome) {
                let (container, id) = (self.member.name().to_owned(), self.id.clone());
                self.mailbox.verdict(Verdict { container, id, kind: self.kind, change });
                if change == Change::Failed && self.kind != Kind::Readiness {
                    return;
                }
            }
        }
    }

    fn target<'a>(&'a self, container: &'a Container) -> Target<'a> {
        Target { container, id: &self.id, address: self.address, runtime: self.agent.runtime.as_ref() }
    }

    fn tell(&self, outcome: &Outcome) {
        let (reason, message) = match outcome {
            Outcome::Success => return,
            Outcome::Warning(text) => {
                ("ProbeWarning", format!("{} probe warning: {text}", self.kind.as_str()))
            }
            Outcome::Failure(text) => ("Unhealthy", format!("{} probe failed: {text}", self.kind.as_str())),
        };
        self.agent.warning(&self.pod, Some(&self.member), reason, message);
    }
}
