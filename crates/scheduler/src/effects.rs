//! What the scheduler writes: bindings, conditions, nominations, deletions, events.

use crate::extender::Caller;
use crate::gang::GroupReport;
use crate::groups::CONDITION;
use crate::pod::Pod;
use crate::scheduler::{Binding, Nominate, Preemption, Report};
use crate::storage::SELECTED_NODE;
use futures_util::future::{join_all, try_join_all};
use gifee_base::{Clock, Gvk, Gvr, ObjectKey, clock};
use gifee_client::{Client, DeleteOptions, PatchKind, Result};
use gifee_reconcile::events::Severity;
use gifee_reconcile::{Recorder, Reference};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where effects go; cheap to clone.
#[derive(Clone)]
pub struct Effects {
    /// Calls the API.
    pub client: Client,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Records events.
    pub events: Recorder,
    /// Those who have a say in where pods go.
    pub extenders: Arc<[Caller]>,
}

fn pods() -> Gvr {
    Gvr::core("pods")
}

fn reference(key: &ObjectKey, uid: &str, revision: u64) -> Reference {
    let kind = Gvk::new("", "v1", "Pod");
    Reference {
        api_version: kind.api_version(),
        kind: kind.kind.to_string(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: uid.to_owned(),
        resource_version: if revision > 0 { revision.to_string() } else { String::new() },
        field_path: String::new(),
    }
}

fn about(pod: &Pod) -> Reference {
    reference(&pod.key, &pod.uid, pod.revision)
}

impl Effects {
    /// Binds a pod, and says so.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn bind(&self, binding: &Binding) -> Result<()> {
        let (pod, node) = (&binding.pod, &*binding.node);
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "namespace": &*pod.key.namespace, "name": &*pod.key.name, "uid": &*pod.uid },
            "target": { "kind": "Node", "name": node },
        });
        self.client.create_subresource(&pods(), &pod.key, "binding", body).await?;
        self.tell_bound(binding);
        Ok(())
    }

    /// Says that a pod was bound.
    pub fn tell_bound(&self, binding: &Binding) {
        let (pod, node) = (&binding.pod, &*binding.node);
        let message = format!("Successfully assigned {} to {node}", pod.key);
        self.events.record(about(pod), None, Severity::Normal, "Scheduled", "Binding", message);
    }

    /// Says which volumes claims are to have, and for which node others are to be provisioned.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn bind_volumes(
        &self,
        binding: &Binding,
        identity: &(dyn Fn(&ObjectKey) -> String + Sync),
    ) -> Result<()> {
        for (claim, volume) in &binding.volumes.bind {
            let patch = json!({
                "metadata": { "annotations": { "pv.kubernetes.io/bound-by-controller": "yes" } },
                "spec": { "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": &*claim.namespace,
                    "name": &*claim.name, "uid": identity(claim),
                } },
            });
            let key = ObjectKey::cluster(volume);
            self.client.patch(&Gvr::core("persistentvolumes"), &key, PatchKind::Merge, patch).await?;
        }
        for claim in &binding.volumes.provision {
            let patch = json!({ "metadata": { "annotations": { SELECTED_NODE: &*binding.node } } });
            self.client.patch(&Gvr::core("persistentvolumeclaims"), claim, PatchKind::Merge, patch).await?;
        }
        Ok(())
    }

    /// Says why a pod has no place. A gated pod gets the condition only.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn report(&self, report: &Report) -> Result<()> {
        let pod = &report.pod;
        if report.reason != "SchedulingGated" {
            let message = match &report.advice {
                Some(advice) => format!("{} {advice}", report.message),
                None => report.message.clone(),
            };
            self.events.record(
                about(pod),
                None,
                Severity::Warning,
                "FailedScheduling",
                "Scheduling",
                message,
            );
        }
        let mut status = json!({});
        match &report.nominate {
            Nominate::Keep => {}
            Nominate::Clear => status["nominatedNodeName"] = Value::Null,
            Nominate::Node(node) => status["nominatedNodeName"] = (**node).into(),
        }
        if let Some(condition) = report.condition() {
            let mut body = json!({
                "type": "PodScheduled", "status": condition.status, "reason": condition.reason,
                "message": condition.message, "observedGeneration": condition.observed_generation,
            });
            // The time of the last transition stays where the status does: conditions merge by type.
            if pod.condition.as_ref().is_none_or(|old| old.status != condition.status) {
                body["lastTransitionTime"] = clock::format_time(self.clock.now()).into();
            }
            status["conditions"] = json!([body]);
        }
        match status.as_object().is_some_and(|status| status.is_empty()) {
            true => Ok(()),
            false => self.patch_status(&pod.key, &pod.uid, status).await,
        }
    }

    /// Says what became of a group.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn report_group(&self, report: &GroupReport) -> Result<()> {
        let (status, reason) =
            if report.scheduled { ("True", "Scheduled") } else { ("False", "Unschedulable") };
        let mut condition = json!({ "type": CONDITION, "status": status, "reason": reason,
            "message": report.message, "observedGeneration": report.generation });
        if report.turns {
            condition["lastTransitionTime"] = clock::format_time(self.clock.now()).into();
        }
        let groups = Gvr::new("scheduling.k8s.io", "v1beta1", "podgroups");
        let patch = json!({ "status": { "conditions": [condition] } });
        self.client.patch_status(&groups, &report.key, PatchKind::Strategic, patch).await.map(drop)
    }

    async fn patch_status(&self, key: &ObjectKey, uid: &str, status: Value) -> Result<()> {
        let patch = json!({ "metadata": { "uid": uid }, "status": status });
        self.client.patch_status(&pods(), key, PatchKind::Strategic, patch).await.map(drop)
    }

    /// Tells pods to leave for another.
    ///
    /// # Errors
    /// If the server refuses one.
    pub async fn preempt(&self, preemption: &Preemption) -> Result<()> {
        let cleared = preemption.cleared.iter().map(|pod| async move {
            let status = json!({ "nominatedNodeName": null });
            if let Err(error) = self.patch_status(&pod.key, &pod.uid, status).await {
                tracing::debug!(pod = %pod.key, %error, "cannot clear a nomination");
            }
        });
        join_all(cleared).await;
        let victims = preemption.victims.iter().map(|(key, placed)| self.evict(preemption, key, &placed.uid));
        try_join_all(victims).await.map(drop)
    }

    /// Marks and deletes one pod; one that is gone already is as well.
    async fn evict(&self, preemption: &Preemption, key: &ObjectKey, uid: &str) -> Result<()> {
        let pod = &preemption.pod;
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", pod.scheduler),
            "lastTransitionTime": clock::format_time(self.clock.now()),
        });
        let told = async {
            self.patch_status(key, uid, json!({ "conditions": [condition] })).await?;
            self.client.delete(&pods(), key, &DeleteOptions::of_uid(uid)).await
        };
        match told.await {
            Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let message = format!("Preempted by pod {} on node {}", pod.uid, preemption.node);
        let victim = reference(key, uid, 0);
        self.events.record(victim, Some(about(pod)), Severity::Normal, "Preempted", "Preempting", message);
        Ok(())
    }
}
