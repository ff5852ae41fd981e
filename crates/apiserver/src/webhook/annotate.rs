//! What the audit log has of webhooks: which changed the object, what they say themselves, and which were passed over.
//!
//! Answers to the annotators of upstream's `webhook/mutating` and `webhook/validating`.

use super::hook::Hook;
use crate::audit::{self, Level};
use gifee_base::name;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a webhook itself has to say.
pub fn own(hook: &Hook, annotations: &BTreeMap<String, String>) {
    for (key, value) in annotations {
        let key = format!("{}/{key}", hook.name);
        if key.matches('/').count() == 1 && name::qualified(&key).is_empty() {
            audit::annotate(&key, value);
        } else {
            tracing::warn!(key, webhook = hook.name, "a webhook's audit annotation has no valid key");
        }
    }
}

/// Whether a webhook changed the object. `place` is that of the round and of the webhook.
pub fn mutated(hook: &Hook, place: (usize, usize), mutated: bool) {
    audit::annotate_with(Level::Metadata, || {
        let value = json!({ "configuration": hook.configuration, "webhook": hook.name, "mutated": mutated });
        (key("mutation", place), value.to_string())
    });
}

/// The patch of a webhook.
pub fn patched(hook: &Hook, place: (usize, usize), patch: &Value) {
    audit::annotate_with(Level::Request, || {
        let value = json!({
            "configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch"
        });
        (key("patch", place), value.to_string())
    });
}

/// That a webhook could not be called, which did not count.
pub fn failed_open(hook: &Hook, sort: &str, place: (usize, usize)) {
    audit::annotate_with(Level::Metadata, || (key(&format!("failed-open.{sort}"), place), hook.name.clone()));
}

fn key(sort: &str, (round, index): (usize, usize)) -> String {
    format!("{sort}.webhook.admission.k8s.io/round_{round}_index_{index}")
}
