//! Changes of Deployments at a rate, and how long their controller takes to have observed each.

use super::{Outcome, Stage, Step};
use crate::error::{Error, Result, While};
use async_trait::async_trait;
use futures_util::StreamExt;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Event, ListOptions, PatchKind, WatchOptions};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long after the last change its observation is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Shortest time between two lots of changes.
const LOT: Duration = Duration::from_millis(10);

/// Changes the Deployments of a namespace in turn.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Changes {
    namespace: String,
    per_second: u32,
    seconds: u32,
}

/// Changes that were made and are not observed yet, and the times of those that are.
#[derive(Default)]
struct Account {
    /// By Deployment: generation and when it was written.
    open: HashMap<ObjectKey, Vec<(i64, Instant)>>,
    /// By Deployment: the newest generation observed, and when.
    seen: HashMap<ObjectKey, i64>,
    times: Vec<Duration>,
}

impl Account {
    fn made(&mut self, key: ObjectKey, generation: i64, at: Instant) {
        if self.seen.get(&key).is_some_and(|seen| *seen >= generation) {
            self.times.push(at.elapsed());
        } else {
            self.open.entry(key).or_default().push((generation, at));
        }
    }

    fn observed(&mut self, key: ObjectKey, generation: i64) {
        if let Some(open) = self.open.get_mut(&key) {
            let times = &mut self.times;
            open.retain(|(one, at)| {
                let done = *one <= generation;
                if done {
                    times.push(at.elapsed());
                }
                !done
            });
        }
        self.seen.insert(key, generation);
    }

    fn waiting(&self) -> usize {
        self.open.values().map(Vec::len).sum()
    }
}

#[async_trait]
impl Step for Changes {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let gvr = Gvr::new("apps", "v1", "deployments");
        let listed = stage.client.list_all(&gvr, &self.namespace, &ListOptions::default()).await;
        let keys: Vec<ObjectKey> =
            listed.while_doing(|| "listing Deployments".into())?.items.iter().map(|one| one.key()).collect();
        if keys.is_empty() {
            return Err(Error::field("namespace", format!("there is no Deployment in {:?}", self.namespace)));
        }
        let account = Arc::new(Mutex::new(Account::default()));
        let options = WatchOptions { send_initial_events: true, bookmarks: true, ..WatchOptions::default() };
        let watch = stage.client.watch(&gvr, &self.namespace, &options).await;
        let mut watch = watch.while_doing(|| "watching Deployments".into())?;
        let told = Arc::new(tokio::sync::Notify::new());
        let (seen, tell) = (account.clone(), told.clone());
        let mut beside = JoinSet::new();
        beside.spawn(async move {
            while let Some(Ok(event)) = watch.next().await {
                if let Event::Added(object) | Event::Modified(object) = event {
                    let observed = object.value_at(&["status", "observedGeneration"]);
                    let observed = observed.and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
                    seen.lock().observed(object.key(), observed.unwrap_or_default());
                    tell.notify_one();
                }
            }
        });
        self.make(stage, &gvr, &keys, &account).await;
        let observed = async {
            while account.lock().waiting() > 0 {
                told.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, observed).await.is_err() {
            return Err(Error::Time { what: "changes to be observed".into(), seconds: PATIENCE.as_secs() });
        }
        let times = std::mem::take(&mut account.lock().times);
        Ok(Outcome { latencies: vec![("observed", times.clone())], ..Outcome::of(times.len()) })
    }
}

impl Changes {
    /// Makes all changes; returns when they are made.
    async fn make(&self, stage: &Stage, gvr: &Gvr, keys: &[ObjectKey], account: &Arc<Mutex<Account>>) {
        let mut tick = interval(LOT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let begun = Instant::now();
        let total = self.per_second as usize * self.seconds as usize;
        let mut made = 0;
        let mut calls = JoinSet::new();
        while made < total {
            tick.tick().await;
            let due = (begun.elapsed().as_secs_f64() * f64::from(self.per_second)) as usize;
            while made < due.min(total) {
                let key = keys[made % keys.len()].clone();
                let patch = json!({ "spec": { "revisionHistoryLimit": 10 + (made / keys.len() + 1) % 2 } });
                let (client, gvr, account) = (stage.client.clone(), gvr.clone(), account.clone());
                calls.spawn(async move {
                    if let Ok(object) = client.patch(&gvr, &key, PatchKind::Merge, patch).await {
                        account.lock().made(key, object.generation(), Instant::now());
                    }
                });
                made += 1;
            }
            while calls.try_join_next().is_some() {}
        }
        while calls.join_next().await.is_some() {}
    }
}
