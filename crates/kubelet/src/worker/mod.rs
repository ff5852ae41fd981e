//! One worker for each pod: observes, plans, applies, and waits for something to happen.
//!
//! Invariant: a worker decides nothing itself; it looks at everything anew after every message, and what takes time
//! runs beside it as a task whose end is a message. Messages are flags and latest values, so that a mailbox is
//! bounded by what a pod has. Answers to the kubelet's pod workers and PLEG.

mod apply;
mod mailbox;
mod observe;
mod probing;
mod report;
mod resize;
mod start;
mod stop;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gifee_oci::spec::Resources;
use gifee_oci::status::{ContainerStatus, SandboxState, SandboxStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use mailbox::{Mailbox, Shown, Verdict};

use crate::agent::Agent;
use crate::hooks::{Ground, Run};
use crate::labels;
use crate::paths::PodPaths;
use crate::pod::back_off::BackOff;
use crate::pod::resize::Allotment;
use crate::pod::{Attempt, Ending, Failure, Member, Setup, View, Why, Work, members};
use crate::references::Claim;

/// What is remembered of one container besides its runs.
#[derive(Default)]
struct Memory {
    work: Option<Work>,
    /// Gives up the start that is under way.
    cancel: Option<CancellationToken>,
    failure: Option<Failure>,
    /// Between restarts.
    restarts: BackOff,
    /// Between tries to get it started.
    tries: BackOff,
    probes: Option<probing::Probes>,
    /// The last reason for waiting that an event told of.
    told: Option<String>,
    /// Why it was stopped to be started again.
    owed: Option<Why>,
    /// The resources that its run has; none if it began before this agent.
    actuated: Option<ResourceRequirements>,
}

/// The end of a task.
enum Done {
    SetUp(Box<Ground>, Result<(), crate::hooks::Failed>),
    TornDown(Box<Ground>, Result<(), crate::hooks::Failed>),
    Purged(Box<Ground>, Result<(), crate::hooks::Failed>),
    Refreshed((BTreeMap<String, crate::volumes::Mounted>, Vec<crate::hooks::Failed>)),
    Started(String, Result<(), start::Failed>),
    Stopped(String, String),
    Removed(String, String, bool),
    Reported(Box<report::Reported>),
    Resized(resize::Resized),
    Looked(Vec<String>),
    Deleted,
}

/// What the runtime already has of a pod when its worker begins.
#[derive(Default)]
pub struct Records {
    /// Its sandboxes.
    pub sandboxes: Vec<SandboxStatus>,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
}

/// A pod's worker.
pub struct Worker {
    agent: Arc<Agent>,
    mailbox: Arc<Mailbox>,
    paths: PodPaths,
    pod: Arc<Pod>,
    revision: u64,
    members: Arc<Vec<Member>>,
    claim: Option<Arc<Claim>>,
    /// Grace period and first sight of the deletion, or of the object's absence.
    deletion: Option<(i64, Timestamp)>,
    ending: Option<Ending>,
    /// Why the node wants to be rid of it; told once.
    evicted: Option<(&'static str, String)>,
    removed: bool,
    ground: Ground,
    setup: Setup,
    setup_failures: u32,
    attempts: BTreeMap<String, Vec<Attempt>>,
    memories: BTreeMap<String, Memory>,
    start_time: Timestamp,
    refreshing: bool,
    /// Something changed while volumes were being brought up to date.
    refresh_again: bool,
    /// When it is looked whether images came that could not be had.
    look_at: Option<Timestamp>,
    looking: bool,
    /// What the node has given the pod.
    allotment: Arc<Allotment>,
    /// The generation whose change of resources is not yet in force.
    resizing: Option<i64>,
    changing_limits: bool,
    resize_failure: Option<(String, Timestamp)>,
    footing: Option<Resources>,
    report: report::Report,
    tasks: JoinSet<Done>,
    purged: bool,
}

impl Worker {
    /// A worker for a pod of which the runtime has these records.
    pub fn new(
        agent: Arc<Agent>,
        mailbox: Arc<Mailbox>,
        pod: Arc<Pod>,
        revision: u64,
        records: Records,
    ) -> Worker {
        let now = agent.clock.now();
        let allotment = mailbox.allotment();
        let pod = crate::pod::resize::overlay(pod, &allotment.given);
        let mut worker = Worker {
            paths: agent.paths.pod(members::uid(&pod)),
            members: Arc::new(members::members(&pod)),
            mailbox,
            revision,
            claim: None,
            deletion: None,
            ending: None,
            evicted: None,
            removed: false,
            ground: Ground::default(),
            setup: Setup::Needed,
            setup_failures: 0,
            attempts: BTreeMap::new(),
            memories: BTreeMap::new(),
            start_time: now,
            refreshing: false,
            refresh_again: false,
            look_at: None,
            looking: false,
            resizing: allotment.generation,
            allotment,
            changing_limits: false,
            resize_failure: None,
            footing: None,
            report: report::Report::default(),
            tasks: JoinSet::new(),
            purged: false,
            pod,
            agent,
        };
        worker.adopt(records);
        worker
    }

    /// Takes over what runs.
    fn adopt(&mut self, mut records: Records) {
        records.sandboxes.sort_by_key(labels::sandbox_attempt);
        for status in &records.sandboxes {
            let uid = members::uid(&self.pod).to_owned();
            self.agent.sandboxes.lock().insert(status.id.clone(), uid);
            self.ground.attempt = labels::sandbox_attempt(status);
            self.ground.network = labels::sandbox_network(status);
            self.ground.dead.extend(self.ground.sandbox.take());
            match status.state {
                SandboxState::Ready => self.ground.sandbox = Some(status.id.clone()),
                SandboxState::NotReady => self.ground.dead.push(status.id.clone()),
            }
        }
        if let (Some(_), Some(status)) = (&self.ground.sandbox, &self.pod.status) {
            let reported = status.pod_ips.iter().flatten();
            self.ground.addresses = reported.filter_map(|one| one.ip.parse().ok()).collect();
        }
        for status in &records.containers {
            self.take_status(status);
        }
        for (name, attempts) in &self.attempts {
            let Some(latest) = attempts.first() else { continue };
            let used = records.containers.iter().find(|status| status.id == latest.id);
            let used = used.and_then(|status| status.started_at).map(labels::timestamp);
            let memory = self.memories.entry(name.clone()).or_default();
            memory.restarts = BackOff::after(latest.number, used.unwrap_or(self.start_time));
        }
    }

    /// Makes the pod fail before anything of it begins.
    pub fn refuse(&mut self, reason: &str, message: String) {
        self.agent.warning(&self.pod, None, reason, message.clone());
        let failed = Some((reason.to_owned(), format!("Pod was rejected: {message}")));
        self.ending = Some(Ending { deadline: self.start_time, failed });
    }

    /// Works until nothing of the pod is left, or until it is dropped.
    pub async fn work(mut self) {
        loop {
            self.read_mail().await;
            let mut view = self.observe();
            let plan = crate::pod::plan(&view);
            self.settle_resize(&mut view, &plan);
            self.tell_of_waiting(&plan);
            self.report(&view, &plan);
            self.probe(&view);
            self.look_for_images(&view);
            let wake = self.wake(&view, plan.wake);
            self.show(&view);
            self.refresh_old();
            for action in plan.actions {
                self.apply(action);
            }
            if self.purged {
                return;
            }
            self.wait(wake).await;
        }
    }

    /// Waits for a message, the end of a task, or a time.
    async fn wait(&mut self, wake: Option<Timestamp>) {
        let pause = wake.map(|wake| {
            let left = wake.duration_since(self.agent.clock.now());
            Duration::try_from(left).unwrap_or_default()
        });
        let timer = async {
            match pause {
                // A little late rather than a little early, which would be once more.
                Some(pause) => tokio::time::sleep(pause + Duration::from_millis(1)).await,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            Some(done) = self.tasks.join_next() => Some(done),
            () = self.mailbox.written() => None,
            () = timer => None,
        };
        if let Some(done) = done {
            self.finish_joined(done).await;
        }
        // What ended meanwhile is looked at together.
        while let Some(done) = self.tasks.try_join_next() {
            self.finish_joined(done).await;
        }
    }

    /// Runs a task whose end is a message to this worker.
    fn spawn(&mut self, task: impl Future<Output = Done> + Send + 'static) {
        let tracked = self.agent.tasks.track_future(task);
        self.tasks.spawn(tracked);
    }

    async fn finish_joined(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(done) => self.finish(done).await,
            Err(error) => self.recover(&error),
        }
    }

    /// A task panicked, and does not say which it was: everything under way counts as failed.
    fn recover(&mut self, error: &tokio::task::JoinError) {
        tracing::error!(pod = members::describe(&self.pod), %error, "a task of a pod ended early");
        self.tasks.abort_all();
        let now = self.agent.clock.now();
        if self.setup == Setup::Running {
            self.setup = Setup::Failed(now + jiff::SignedDuration::from_secs(10));
        }
        self.refreshing = false;
        self.changing_limits = false;
        self.looking = false;
        self.report.recover();
        for memory in self.memories.values_mut() {
            memory.work = None;
        }
    }

    fn run_context(&self) -> Run {
        Run {
            agent: self.agent.clone(),
            pod: self.pod.clone(),
            paths: self.paths.clone(),
            claim: self.claim.clone(),
        }
    }

    fn wake(&self, view: &View, plan: Option<Timestamp>) -> Option<Timestamp> {
        let volumes = self.ground.volumes.values().filter_map(|volume| volume.refresh_at).min();
        let volumes = volumes.filter(|_| !self.refreshing && self.setup == Setup::Done);
        let deadline = crate::pod::plan::active_deadline(view).filter(|_| self.ending.is_none());
        let images = self.look_at.filter(|_| !self.looking);
        [plan, volumes, deadline, images, self.report.retry_at()].into_iter().flatten().min()
    }

    fn show(&self, view: &View) {
        let containers = view.containers.iter().map(|(name, container)| {
            let ids = container
                .attempts
                .iter()
                .map(|attempt| (attempt.id.clone(), attempt.number, attempt.running()));
            (name.clone(), ids.collect())
        });
        self.mailbox.show(Shown {
            pod: self.pod.clone(),
            containers: containers.collect(),
            paths: self.paths.clone(),
            network: self.ground.network.clone(),
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The pod is gone, or the agent ends: probes end with it.
        self.memories.clear();
    }
}
