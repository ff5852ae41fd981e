//! Drives the scheduler: watches feed it, its steps are carried out beside it.
//!
//! Invariants: a step is carried out once; how it went is told before the next one of its pod.

use crate::effects::Effects;
use crate::feed::{Feed, Watched};
use crate::scheduler::{Binding, Nominate, Report, Scheduler, Step};
use futures_util::future::join_all;
use gifee_base::ObjectKey;
use gifee_client::cache::follow;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many steps are under way at most; the next decision waits for one of them.
const STEPS_MAXIMUM: usize = 128;

/// How long a pod waits for its volumes before another node is looked for.
const VOLUMES_TIMEOUT: Duration = Duration::from_secs(600);

/// A scheduler, and what wakes it.
pub struct Shared {
    pub(crate) scheduler: Mutex<Scheduler>,
    changed: Notify,
    /// Claims or volumes have changed.
    pub stored: Notify,
    pub(crate) effects: Effects,
}

impl Shared {
    /// A scheduler that knows nothing yet.
    pub fn new(scheduler: Scheduler, effects: Effects) -> Arc<Self> {
        Arc::new(Self {
            scheduler: Mutex::new(scheduler),
            changed: Notify::new(),
            stored: Notify::new(),
            effects,
        })
    }

    /// Schedules until the shutdown.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let feed = |what: Watched| {
            let feed = Arc::new(Feed::new(self.clone(), what));
            follow(self.effects.client.clone(), what.scope(), feed, shutdown.clone())
        };
        {
            let others = Watched::ALL.iter().filter(|what| {
                !matches!(what, Watched::Nodes | Watched::Pods | Watched::Groups | Watched::Devices(_))
            });
            let mut scheduler = self.scheduler.lock();
            scheduler.await_known(others.map(|what| what.bit()).sum());
            scheduler.await_devices();
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = join_all(Watched::ALL.map(feed)) => {}
            () = self.decide() => {}
        }
    }

    /// Tells the scheduler something, and wakes it.
    pub fn tell(&self, change: impl FnOnce(&mut Scheduler, Instant)) {
        change(&mut self.scheduler.lock(), Instant::now());
        self.changed.notify_one();
    }

    /// Decides, one pod after the other; effects run beside it.
    async fn decide(self: &Arc<Self>) {
        let permits = Arc::new(Semaphore::new(STEPS_MAXIMUM));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            while tasks.try_join_next().is_some() {}
            let step = self.next().await;
            let shared = self.clone();
            // What waits for volumes holds nobody up: there are no more of these than pods that wait.
            let permit = Some(permit).filter(|_| !matches!(&step, Step::Bind(one) if one.waits()));
            tasks.spawn(async move {
                shared.apply(step).await;
                drop(permit);
            });
        }
    }

    async fn next(&self) -> Step {
        loop {
            let deadline = {
                let mut scheduler = self.scheduler.lock();
                if let Some(step) = scheduler.next(Instant::now()) {
                    return step;
                }
                scheduler.deadline()
            };
            match deadline {
                Some(at) => {
                    // Either way the state is looked at again.
                    let _ = tokio::time::timeout_at(at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    async fn apply(&self, step: Step) {
        match step {
            Step::Bind(mut binding) if binding.waits() => match self.prepare(&mut binding).await {
                Ok(()) => Box::pin(self.apply(Step::Bind(binding))).await,
                Err((plugin, why)) => {
                    tracing::warn!(pod = %binding.pod.key, node = %binding.node, plugin, why, "preparing failed");
                    let wanted = self.scheduler.lock().is_binding(&binding.pod);
                    self.tell(|scheduler, now| scheduler.bind_failed(&binding.pod, !wanted, now));
                    if wanted {
                        let message = format!("running PreBind plugin {plugin:?}: {why}");
                        let (pod, nominate, advice) = (binding.pod, Nominate::Keep, None);
                        self.report(&Report { pod, reason: "SchedulerError", message, nominate, advice })
                            .await;
                    }
                }
            },
            Step::Bind(binding) => match self.bind(&binding).await {
                Ok(()) => self.scheduler.lock().bound(&binding.pod),
                Err(error) => {
                    tracing::warn!(pod = %binding.pod.key, node = %binding.node, %error, "binding failed");
                    self.unreserve(&binding).await;
                    let gone = error.is_not_found();
                    self.tell(|scheduler, now| scheduler.bind_failed(&binding.pod, gone, now));
                    if !gone {
                        let message = format!("binding rejected: {error}");
                        let (pod, nominate, advice) = (binding.pod, Nominate::Keep, None);
                        self.report(&Report { pod, reason: "SchedulerError", message, nominate, advice })
                            .await;
                    }
                }
            },
            Step::Report(report) => self.report(&report).await,
            Step::Deallocate(claim) => self.deallocate(&claim).await,
            Step::Group(report) => {
                if let Err(error) = self.effects.report_group(&report).await {
                    tracing::debug!(group = %report.key, %error, "cannot write what became of a group");
                }
            }
            Step::Ask(question) => {
                let answer = self.consult(&question).await;
                self.tell(|scheduler, now| scheduler.answered(&question.pod.key, answer, now));
            }
            Step::Preempt(preemption) => {
                let outcome = self.effects.preempt(&preemption).await;
                if let Err(error) = &outcome {
                    tracing::warn!(pod = %preemption.pod.key, %error, "cannot make room");
                }
                self.tell(|scheduler, now| scheduler.preempted(&preemption.pod, outcome.is_ok(), now));
            }
        }
    }

    async fn bind(&self, binding: &Binding) -> gifee_client::Result<()> {
        if !self.effects.extenders.is_empty() && self.bind_elsewhere(binding).await? {
            self.effects.tell_bound(binding);
            return Ok(());
        }
        self.effects.bind(binding).await
    }

    /// Says which volumes a pod's claims are to have, and waits until they have them.
    pub(crate) async fn bind_volumes(&self, binding: &Binding) -> Result<(), String> {
        let identity = |key: &ObjectKey| {
            let scheduler = self.scheduler.lock();
            scheduler.cluster.storage.claim(key).map(|claim| claim.uid.to_string()).unwrap_or_default()
        };
        self.effects.bind_volumes(binding, &identity).await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + VOLUMES_TIMEOUT;
        loop {
            let changed = self.stored.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let scheduler = self.scheduler.lock();
                if !scheduler.is_binding(&binding.pod) {
                    return Err("pod does not exist any more".into());
                }
                if let Some(outcome) = scheduler.cluster.storage.outcome(&binding.volumes, &binding.node) {
                    return outcome.map_err(|why| format!("binding volumes: {why}"));
                }
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err("binding volumes: context deadline exceeded".into());
            }
        }
    }

    async fn report(&self, report: &Report) {
        match self.effects.report(report).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => {
                tracing::warn!(pod = %report.pod.key, %error, "cannot write why a pod has no place");
            }
        }
    }
}
