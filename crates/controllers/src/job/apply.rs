//! Does what was planned for a Job: pods claimed, made and deleted; status, pods let go, status.

use super::Jobs;
use super::plan::{Creation, Plan};
use super::spec::Status;
use super::track::{Applied, Note, settle, track};
use super::view::{INDEX, INDEX_FAILURES, INDEX_IGNORED, Pod, TRACKING, View};
use crate::calls;
use crate::replicaset;
use bytes::Bytes;
use gifee_base::{Gvr, Object};
use gifee_client::{Error as ClientError, PatchKind};
use gifee_reconcile::{Context, Reference, Result, patch};
use serde_json::{Value, json};

/// The variable that tells a container the index of its pod.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// How long the fixed part of a generated name can be.
const GENERATED_NAME_MAXIMUM: usize = 58;

impl Jobs {
    pub(super) async fn apply(&self, view: &View, plan: &Plan, old: Value) -> Result<()> {
        let (key, now) = (view.job.key(), self.context.clock.now());
        let claims = (view.claims.adopt.as_slice(), view.claims.release.as_slice());
        self.control(&view.job).claim(&super::jobs(), claims, Some(TRACKING)).await?;
        let (applied, managed) = self.manage(view, plan).await;
        let tracking = track(view, plan, &applied, now);
        let (object, old) = self.write(&view.job, old, &tracking.status).await?;
        self.tell(view, &tracking.notes);
        if let Some(memory) = self.memories.lock().get_mut(&key) {
            memory.backoff = plan.backoff;
        }
        let pods: Vec<&Pod> = tracking.release.iter().map(|at| &view.pods[*at]).collect();
        let (failed, released) =
            calls::each(pods.iter().map(|pod| self.release(view, pod, false)).collect()).await;
        let held: Vec<usize> = failed.iter().map(|at| tracking.release[*at]).collect();
        let (status, notes) = settle(view, &tracking, &held, self.context.clock.now());
        self.write(&object.unwrap_or_else(|| (*view.job).clone()), old, &status).await?;
        self.tell(view, &notes);
        released?;
        managed
    }

    async fn manage(&self, view: &View, plan: &Plan) -> (Applied, Result<()>) {
        let mut applied = Applied::default();
        if !plan.delete.is_empty() {
            let calls = plan.delete.iter().map(|at| self.delete(view, &view.pods[*at], plan.uncount));
            let (failed, outcome) = calls::each(calls.collect()).await;
            applied.undeleted = failed.iter().map(|at| plan.delete[*at]).collect();
            return (applied, outcome);
        }
        let bodies: Vec<Bytes> = plan.create.iter().map(|one| body(view, one).to_string().into()).collect();
        let (created, outcome) = self.control(&view.job).create(&bodies).await;
        applied.created = created;
        (applied, outcome)
    }

    async fn delete(&self, view: &View, pod: &Pod, uncount: bool) -> Result<(), ClientError> {
        if uncount && pod.tracked {
            // Only as it was seen: one that has ended meanwhile is to be counted.
            self.release(view, pod, true).await?;
        }
        self.control(&view.job).delete(&pod.brief.object).await
    }

    /// Takes the finalizer from a pod; one that is gone has none.
    async fn release(&self, view: &View, pod: &Pod, pinned: bool) -> Result<(), ClientError> {
        free(&self.context, &pod.brief.object, pinned).await?;
        if let Some(memory) = self.memories.lock().get_mut(&view.job.key()) {
            memory.released.insert(pod.uid().to_owned());
        }
        Ok(())
    }

    /// Writes the status unless it is there; the object as it is now, if it was written, and its status.
    async fn write(&self, job: &Object, old: Value, status: &Status) -> Result<(Option<Object>, Value)> {
        let new = status.write(&old);
        let Some(change) = patch::status(job, &old, &new) else { return Ok((None, old)) };
        let key = job.key();
        let object = self.context.client.patch_status(&super::jobs(), &key, PatchKind::Merge, change).await?;
        self.expected_jobs.wrote(&key, object.revision());
        Ok((Some(object), new))
    }

    fn tell(&self, view: &View, notes: &[Note]) {
        let about = Reference::new(&view.job, &super::job());
        for Note { warning, cause } in notes {
            match warning {
                true => self.context.events.warning(about.clone(), &cause.reason, cause.message.clone()),
                false => self.context.events.normal(about.clone(), &cause.reason, cause.message.clone()),
            }
        }
    }
}

/// Takes the finalizer from a pod; one that is gone has none.
pub(super) async fn free(context: &Context, pod: &Object, pinned: bool) -> Result<(), ClientError> {
    let mut change = json!({ "metadata": {
        "uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [TRACKING],
    } });
    if pinned {
        change = patch::pinned(pod, change);
    }
    match context.client.patch(&Gvr::core("pods"), &pod.key(), PatchKind::Strategic, change).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// A pod to make.
fn body(view: &View, creation: &Creation) -> Value {
    let mut pod = replicaset::pod(&view.job, &super::job(), &view.spec.template);
    let metadata = &mut pod["metadata"];
    match metadata["finalizers"].as_array_mut() {
        Some(finalizers) if finalizers.iter().any(|one| one == TRACKING) => {}
        Some(finalizers) => finalizers.push(TRACKING.into()),
        None => metadata["finalizers"] = json!([TRACKING]),
    }
    let Some(index) = creation.index else { return pod };
    metadata["annotations"][INDEX] = index.to_string().into();
    metadata["labels"][INDEX] = index.to_string().into();
    if let Some((failures, ignored)) = creation.failures {
        metadata["annotations"][INDEX_FAILURES] = failures.to_string().into();
        if ignored > 0 {
            metadata["annotations"][INDEX_IGNORED] = ignored.to_string().into();
        }
    }
    let (name, suffix) = (view.job.name(), format!("-{index}-"));
    let kept = name.len().min(GENERATED_NAME_MAXIMUM - suffix.len());
    metadata["generateName"] = format!("{}{suffix}", name.get(..kept).unwrap_or(name)).into();
    pod["spec"]["hostname"] = format!("{name}-{index}").into();
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            tell_index(container);
        }
    }
    pod
}

fn tell_index(container: &mut Value) {
    let present = container["env"].as_array().into_iter().flatten().any(|one| one["name"] == INDEX_VARIABLE);
    if present {
        return;
    }
    let path = format!("metadata.labels['{INDEX}']");
    let variable = json!({ "name": INDEX_VARIABLE, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    match container["env"].as_array_mut() {
        Some(list) => list.push(variable),
        None => container["env"] = json!([variable]),
    }
}
