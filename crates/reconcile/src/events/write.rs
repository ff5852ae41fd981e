//! Writes events to the API, one after the other, from a bounded queue.
//!
//! A server that is away is tried again a few times; a server that refuses an event (its namespace is
//! being deleted, say) is not.

use super::correlate::{self, Correlator};
use super::series::{self, Series};
use super::{Api, Record};
use gifee_base::{Clock, Gvr, ObjectKey, clock};
use gifee_client::{Client, Error, PatchKind};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TRIES_MAXIMUM: u32 = 8;
const BACKOFF_BASE: Duration = Duration::from_millis(250);

pub(super) async fn run(
    client: Client,
    clock: Arc<dyn Clock>,
    api: Api,
    mut records: mpsc::Receiver<Record>,
    shutdown: CancellationToken,
) {
    let mut correlator = Correlator::new();
    let mut series = Series::new();
    loop {
        let record = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            record = records.recv() => record,
        };
        let Some(record) = record else { return };
        let now = clock.now();
        let call = match api {
            Api::Core => correlator.observe(record.clone(), now).map(core),
            Api::Events => series.observe(record.clone(), now).map(events),
        };
        let Some(call) = call else { continue };
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            outcome = call.perform(&client) => outcome,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, event = %call.key, "an event was not written");
            match api {
                Api::Core => correlator.forget(&record),
                Api::Events => series.forget(&record),
            }
        }
    }
}

/// A write: a patch if the event should be there already, and the whole event if it is not.
struct Call {
    gvr: Gvr,
    key: ObjectKey,
    patch: Option<Value>,
    whole: Value,
}

impl Call {
    async fn perform(&self, client: &Client) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            let outcome = self.attempt(client).await;
            tries += 1;
            match outcome {
                Err(Error::Transport { .. }) if tries < TRIES_MAXIMUM => {
                    tokio::time::sleep(BACKOFF_BASE * 2_u32.pow(tries)).await;
                }
                Err(error) if error.is_already_exists() => return Ok(()),
                other => return other,
            }
        }
    }

    async fn attempt(&self, client: &Client) -> Result<(), Error> {
        if let Some(patch) = &self.patch {
            match client.patch(&self.gvr, &self.key, PatchKind::Merge, patch).await {
                Err(error) if error.is_not_found() => {}
                other => return other.map(|_| ()),
            }
        }
        client.create(&self.gvr, &self.key.namespace, &self.whole).await.map(|_| ())
    }
}

fn key(record: &Record, name: &str) -> ObjectKey {
    let namespace = match record.regarding.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    ObjectKey::new(namespace, name)
}

fn core(write: correlate::Write) -> Call {
    let (name, record, count, first, at) = match write {
        correlate::Write::Create { name, record, at } => (name, record, 1, at, at),
        correlate::Write::Count { name, record, count, first, at } => (name, record, count, first, at),
    };
    let key = key(&record, &name);
    let mut source = json!({ "component": &*record.source.component });
    if !record.source.host.is_empty() {
        source["host"] = (*record.source.host).into();
    }
    let (first, last) = (clock::format_time(first), clock::format_time(at));
    let patch = json!({ "count": count, "lastTimestamp": last, "message": record.message });
    let whole = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": name, "namespace": &*key.namespace },
        "involvedObject": record.regarding.to_value(),
        "reason": record.reason, "message": record.message, "type": record.severity.as_str(),
        "source": source, "firstTimestamp": first, "lastTimestamp": last, "count": count,
        "eventTime": null, "reportingComponent": &*record.source.component,
        "reportingInstance": &*record.source.host,
    });
    Call { gvr: Gvr::core("events"), key, patch: (count > 1).then_some(patch), whole }
}

fn events(write: series::Write) -> Call {
    let (name, record, state) = match write {
        series::Write::Create { name, record, at } => (name, record, (1, at, at)),
        series::Write::Series { name, record, count, first, at } => (name, record, (count, first, at)),
    };
    let (count, first, at): (i32, Timestamp, Timestamp) = state;
    let key = key(&record, &name);
    let instance = match &*record.source.host {
        "" => record.source.component.to_string(),
        host => format!("{}-{host}", record.source.component),
    };
    let mut whole = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": name, "namespace": &*key.namespace },
        "eventTime": clock::format_micro_time(first),
        "reportingController": &*record.source.component, "reportingInstance": instance,
        "action": record.action, "reason": record.reason, "regarding": record.regarding.to_value(),
        "note": record.message, "type": record.severity.as_str(),
    });
    if let Some(related) = &record.related {
        whole["related"] = related.to_value();
    }
    let mut patch = None;
    if count > 1 {
        let series = json!({ "count": count, "lastObservedTime": clock::format_micro_time(at) });
        whole["series"] = series.clone();
        patch = Some(json!({ "series": series }));
    }
    Call { gvr: Gvr::new("events.k8s.io", "v1", "events"), key, patch, whole }
}
