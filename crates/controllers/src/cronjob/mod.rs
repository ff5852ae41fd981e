//! Starts the Jobs of CronJobs at their times.
//!
//! Invariants: a Job's name says the time that it is for, so that none is started twice; the status says that a Job is
//! active before anything else is planned. Answers to upstream's cronjob controller.

pub mod plan;
pub mod schedule;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey, clock};
use gifee_client::{Cache, DeleteOptions, PatchKind, Propagation, Queue, Scope};
use gifee_reconcile::{
    BY_CONTROLLER, Context, Error, Expectations, Outcome, Reconcile, Reference, Result, owner, patch, work,
};
use plan::{Plan, Start, View, reference};
use serde_json::Value;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "cronjob-controller";
const WORKERS: usize = 5;

fn cron_jobs() -> Gvr {
    Gvr::new("batch", "v1", "cronjobs")
}

fn jobs() -> Gvr {
    Gvr::new("batch", "v1", "jobs")
}

fn cron_job() -> Gvk {
    Gvk::new("batch", "v1", "CronJob")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let context = context.recording("cronjob-controller");
        let schedules = context.caches.scope(Scope::all(cron_jobs()));
        let jobs = context.caches.scope(Scope::all(jobs()));
        jobs.add_index(BY_CONTROLLER);
        schedules.synced().await;
        jobs.synced().await;
        let sink = queue.clone();
        schedules.subscribe(move |change| sink.add(change.object().key()));
        let sink = queue.clone();
        jobs.subscribe(move |change| {
            for job in change.sides() {
                if let Some(owner) = job.controller().filter(|owner| owner.kind == "CronJob") {
                    sink.add(ObjectKey::new(job.namespace(), owner.name));
                }
            }
        });
        let controller = CronJobs {
            expected_jobs: Expectations::new(jobs.clone()),
            expected_schedules: Expectations::new(schedules.clone()),
            context: context.clone(),
            schedules,
            jobs,
        };
        work(&context, NAME, queue, Arc::new(controller), WORKERS).await;
    }
    .boxed()
}

struct CronJobs {
    context: Context,
    schedules: Arc<Cache>,
    jobs: Arc<Cache>,
    expected_jobs: Expectations,
    expected_schedules: Expectations,
}

fn tree(object: &Object) -> Result<Value> {
    object.to_value().map_err(|error| Error::invalid(object.key(), error))
}

impl CronJobs {
    fn observe(&self, object: &Arc<Object>) -> Result<View> {
        let jobs = self.jobs.read();
        let own = jobs.indexed(&BY_CONTROLLER, object.uid());
        let own = own.filter(|job| job.namespace() == object.namespace());
        let jobs = own.map(|job| Ok((job.clone(), tree(job)?))).collect::<Result<_>>()?;
        Ok(View { object: object.clone(), tree: tree(object)?, jobs })
    }

    async fn apply(&self, view: &View, plan: Plan) -> Result<()> {
        let about = Reference::new(&view.object, &cron_job());
        for note in plan.notes {
            match note.warning {
                true => self.context.events.warning(about.clone(), note.reason, note.message),
                false => self.context.events.normal(about.clone(), note.reason, note.message),
            }
        }
        for job in plan.clean.iter().chain(&plan.replace) {
            self.delete(view, &about, job).await?;
        }
        let mut status = plan.status;
        if let Some(start) = plan.start {
            self.start(view, &about, start, &mut status).await?;
        }
        if let Some(change) = patch::status(&view.object, &view.tree["status"], &status) {
            let key = view.object.key();
            let client = &self.context.client;
            let object = client.patch_status(&cron_jobs(), &key, PatchKind::Merge, change).await?;
            self.expected_schedules.wrote(&key, object.revision());
        }
        Ok(())
    }

    async fn delete(&self, view: &View, about: &Reference, job: &Object) -> Result<()> {
        let key = view.object.key();
        self.expected_jobs.deleting(&key, &job.key(), job.uid());
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::of_uid(job.uid()) };
        match self.context.client.delete(&jobs(), &job.key(), &options).await {
            Err(error) if !error.is_not_found() => {
                self.expected_jobs.kept(&key, job.uid());
                let message = format!("Deleted job: {error}");
                self.context.events.warning(about.clone(), "FailedDelete", message);
                Err(error.into())
            }
            _ => {
                let message = format!("Deleted job {}", job.name());
                self.context.events.normal(about.clone(), "SuccessfulDelete", message);
                Ok(())
            }
        }
    }

    async fn start(&self, view: &View, about: &Reference, start: Start, status: &mut Value) -> Result<()> {
        let namespace = view.object.namespace().to_owned();
        let name = start.job["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let made = self.context.client.create(&jobs(), &namespace, start.job).await;
        let job = match made {
            Ok(job) => {
                self.expected_jobs.wrote(&view.object.key(), job.revision());
                let message = format!("Created job {name}");
                self.context.events.normal(about.clone(), "SuccessfulCreate", message);
                job
            }
            Err(error) if crate::pods::namespace_terminating(&error) => return Ok(()),
            // Made before, by a controller that ended before it could say so.
            Err(error) if error.is_already_exists() => {
                let job = self.context.client.get(&jobs(), &ObjectKey::new(&namespace, &name)).await?;
                if !owner::controls(view.object.uid(), &job) {
                    return Err(error.into());
                }
                job
            }
            Err(error) => {
                let message = format!("Error creating job: {error}");
                self.context.events.warning(about.clone(), "FailedCreate", message);
                return Err(error.into());
            }
        };
        if !status.is_object() {
            *status = Value::Object(serde_json::Map::new());
        }
        match status["active"].as_array_mut() {
            Some(active) => active.push(reference(&job)),
            None => status["active"] = vec![reference(&job)].into(),
        }
        status["lastScheduleTime"] = clock::format_time(start.scheduled).into();
        Ok(())
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for CronJobs {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.schedules.get(key) else {
            self.expected_jobs.forget(key);
            self.expected_schedules.forget(key);
            return Ok(Outcome::Done);
        };
        if !self.expected_jobs.met(key) || !self.expected_schedules.met(key) {
            return Ok(Outcome::Done);
        }
        let view = self.observe(&object)?;
        let plan = plan::plan(&view, self.context.clock.now());
        let again = plan.again;
        self.apply(&view, plan).await?;
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }
}
