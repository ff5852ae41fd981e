//! Waits until Deployments are complete, by their status, as `kubectl rollout status` reads it.

use super::{Outcome, Stage, Step};
use crate::error::{Error, Result, While};
use async_trait::async_trait;
use futures_util::StreamExt;
use gifee_base::{FieldSelector, Gvr, Object, ObjectKey};
use gifee_client::{Event, WatchOptions};
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

const TIMEOUT_SECONDS: u64 = 600;

/// Waits for the Deployments of a namespace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rollout {
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default = "seconds")]
    timeout_seconds: u64,
}

fn seconds() -> u64 {
    TIMEOUT_SECONDS
}

fn number(object: &Object, path: &[&str]) -> u64 {
    let bytes = object.value_at(path).and_then(|bytes| std::str::from_utf8(bytes).ok());
    bytes.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Whether all replicas of a Deployment are of its template, available, and alone.
fn complete(object: &Object) -> bool {
    let status = |name: &str| number(object, &["status", name]);
    let wanted = number(object, &["spec", "replicas"]);
    status("observedGeneration") >= u64::try_from(object.generation()).unwrap_or_default()
        && [status("updatedReplicas"), status("replicas"), status("availableReplicas")] == [wanted; 3]
}

#[async_trait]
impl Step for Rollout {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let fields = match self.name.as_str() {
            "" => FieldSelector::everything(),
            name => FieldSelector::parse(&format!("metadata.name={name}"))
                .map_err(|error| Error::field("name", error))?,
        };
        let options =
            WatchOptions { fields, send_initial_events: true, bookmarks: true, ..WatchOptions::default() };
        let gvr = Gvr::new("apps", "v1", "deployments");
        let watch = stage.client.watch(&gvr, &self.namespace, &options).await;
        let mut watch = watch.while_doing(|| "watching Deployments".into())?;
        let waited = async {
            let (mut waiting, mut all): (HashSet<ObjectKey>, HashSet<ObjectKey>) = Default::default();
            let mut listed = false;
            while let Some(event) = watch.next().await {
                match event.while_doing(|| "watching Deployments".into())? {
                    Event::Added(object) | Event::Modified(object) => {
                        let key = object.key();
                        all.insert(key.clone());
                        if complete(&object) {
                            waiting.remove(&key)
                        } else {
                            waiting.insert(key)
                        };
                    }
                    Event::Deleted(object) => {
                        waiting.remove(&object.key());
                    }
                    Event::Bookmark { initial_events_end, .. } => listed |= initial_events_end,
                }
                if listed && waiting.is_empty() {
                    break;
                }
            }
            Ok(all.len())
        };
        let timeout = Duration::from_secs(self.timeout_seconds);
        let what = || format!("the Deployments of namespace {} to be complete", self.namespace);
        let count = tokio::time::timeout(timeout, waited)
            .await
            .map_err(|_| Error::Time { what: what(), seconds: timeout.as_secs() })??;
        Ok(Outcome::of(count))
    }
}
