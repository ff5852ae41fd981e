//! What the scheduler writes: bindings, conditions, events.

use crate::scheduler::{Binding, Report};
use gifee_base::{Clock, Gvk, Gvr, clock};
use gifee_client::{Client, PatchKind, Result};
use gifee_reconcile::events::Severity;
use gifee_reconcile::{Recorder, Reference};
use serde_json::json;
use std::sync::Arc;

use crate::pod::Pod;

/// Where effects go; cheap to clone.
#[derive(Clone)]
pub struct Effects {
    /// Calls the API.
    pub client: Client,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Records events.
    pub events: Recorder,
}

fn pods() -> Gvr {
    Gvr::core("pods")
}

fn reference(pod: &Pod) -> Reference {
    let kind = Gvk::new("", "v1", "Pod");
    Reference {
        api_version: kind.api_version(),
        kind: kind.kind.to_string(),
        namespace: pod.key.namespace.to_string(),
        name: pod.key.name.to_string(),
        uid: pod.uid.to_string(),
        resource_version: pod.revision.to_string(),
        field_path: String::new(),
    }
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
        let message = format!("Successfully assigned {} to {node}", pod.key);
        self.events.record(reference(pod), None, Severity::Normal, "Scheduled", "Binding", message);
        Ok(())
    }

    /// Says why a pod has no place. A gated pod gets the condition only.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn report(&self, report: &Report) -> Result<()> {
        let pod = &report.pod;
        if report.reason != "SchedulingGated" {
            let message = report.message.clone();
            self.events.record(
                reference(pod),
                None,
                Severity::Warning,
                "FailedScheduling",
                "Scheduling",
                message,
            );
        }
        let Some(condition) = report.condition() else { return Ok(()) };
        let mut body = json!({
            "type": "PodScheduled", "status": condition.status, "reason": condition.reason,
            "message": condition.message, "observedGeneration": condition.observed_generation,
        });
        // The time of the last transition stays where the status does: conditions merge by type.
        if pod.condition.as_ref().is_none_or(|old| old.status != condition.status) {
            body["lastTransitionTime"] = clock::format_time(self.clock.now()).into();
        }
        let patch = json!({ "metadata": { "uid": &*pod.uid }, "status": { "conditions": [body] } });
        self.client.patch_status(&pods(), &pod.key, PatchKind::Strategic, patch).await?;
        Ok(())
    }
}
