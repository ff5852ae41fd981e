//! Images are fetched anew for every pod, so that who may use them is asked each time. Off by default.
//!
//! Answers to upstream's `AlwaysPullImages`.

use super::{Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::Value;

/// The rule.
pub struct AlwaysPullImages;

impl Rule for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, pod: &mut Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        let parts = matches!(request.subresource, "" | "ephemeralcontainers");
        if !request.gvk.group.is_empty() || request.resource != "pods" || !parts || !request.writes() {
            return Ok(());
        }
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                container["imagePullPolicy"] = "Always".into();
            }
        }
        Ok(())
    }

    fn on(&self) -> bool {
        false
    }
}
