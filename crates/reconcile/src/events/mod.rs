//! Records events about objects, without ever making the caller wait.
//!
//! Invariants: at most 1,000 events wait, later ones are dropped and counted; equal events become one
//! with a count, many similar ones become one; a source that floods an object is cut. Answers to
//! client-go's `tools/record` (core events) and `tools/events` (events.k8s.io).

mod correlate;
mod series;
#[cfg(test)]
mod tests;
mod write;

use gifee_base::{Clock, Gvk, Object};
use gifee_client::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const WAITING_MAXIMUM: usize = 1000;

/// Which of the two APIs a component writes; both end in the same objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `v1`, with counts.
    Core,
    /// `events.k8s.io/v1`, with series.
    Events,
}

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Such as `kubelet` or `deployment-controller`.
    pub component: Arc<str>,
    /// Node name, or empty.
    pub host: Arc<str>,
}

impl Source {
    /// Without a host.
    pub fn component(component: &str) -> Self {
        Self { component: component.into(), host: "".into() }
    }
}

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Nothing to worry about.
    Normal,
    /// Something to worry about.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Resource version, or empty.
    pub resource_version: String,
    /// Part of the object, such as `spec.containers{web}`, or empty.
    pub field_path: String,
}

impl Reference {
    /// To an object of a kind.
    pub fn new(object: &Object, gvk: &Gvk) -> Self {
        Self {
            api_version: gvk.api_version(),
            kind: gvk.kind.to_string(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            resource_version: object.revision().to_string(),
            field_path: String::new(),
        }
    }

    /// To a part of the object.
    #[must_use]
    pub fn field(self, path: impl Into<String>) -> Self {
        Self { field_path: path.into(), ..self }
    }

    fn to_value(&self) -> Value {
        let mut value = json!({});
        for (name, text) in [
            ("apiVersion", &self.api_version),
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("resourceVersion", &self.resource_version),
            ("fieldPath", &self.field_path),
        ] {
            if !text.is_empty() {
                value[name] = text.as_str().into();
            }
        }
        value
    }
}

/// An event as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Who reports.
    pub source: Source,
    /// About what.
    pub regarding: Reference,
    /// A second object, for events.k8s.io.
    pub related: Option<Reference>,
    /// How bad.
    pub severity: Severity,
    /// Why, one word.
    pub reason: String,
    /// What was done or tried, one word, for events.k8s.io.
    pub action: String,
    /// For a person.
    pub message: String,
}

#[derive(Clone)]
enum Sink {
    Queue(mpsc::Sender<Record>),
    Memory(Arc<Mutex<Vec<Record>>>),
}

/// Records events; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    source: Source,
    sink: Sink,
}

impl Recorder {
    /// Writes core events from a task of its own until the shutdown.
    pub fn start(client: Client, clock: Arc<dyn Clock>, source: Source, shutdown: CancellationToken) -> Self {
        Self::start_api(client, clock, source, Api::Core, shutdown)
    }

    /// Writes events of either API from a task of its own until the shutdown.
    pub fn start_api(
        client: Client,
        clock: Arc<dyn Clock>,
        source: Source,
        api: Api,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAXIMUM);
        tokio::spawn(write::run(client, clock, api, receiver, shutdown));
        Self { source, sink: Sink::Queue(sender) }
    }

    /// Keeps events in memory, for tests.
    pub fn memory() -> Self {
        Self { source: Source::component("test"), sink: Sink::Memory(Arc::default()) }
    }

    /// Takes the events that were kept in memory.
    pub fn take(&self) -> Vec<Record> {
        match &self.sink {
            Sink::Memory(records) => std::mem::take(&mut records.lock()),
            Sink::Queue(_) => Vec::new(),
        }
    }

    /// The same recorder under the name of another component.
    #[must_use]
    pub fn renamed(&self, component: &str) -> Self {
        Self {
            source: Source { component: component.into(), host: self.source.host.clone() },
            sink: self.sink.clone(),
        }
    }

    /// Records that something went as it should.
    pub fn normal(&self, regarding: Reference, reason: &str, message: impl Into<String>) {
        self.record(regarding, None, Severity::Normal, reason, "", message.into());
    }

    /// Records that something went wrong.
    pub fn warning(&self, regarding: Reference, reason: &str, message: impl Into<String>) {
        self.record(regarding, None, Severity::Warning, reason, "", message.into());
    }

    /// Records with all that events.k8s.io has.
    pub fn record(
        &self,
        regarding: Reference,
        related: Option<Reference>,
        severity: Severity,
        reason: &str,
        action: &str,
        message: String,
    ) {
        let record = Record {
            source: self.source.clone(),
            regarding,
            related,
            severity,
            reason: reason.to_owned(),
            action: action.to_owned(),
            message,
        };
        match &self.sink {
            Sink::Memory(records) => records.lock().push(record),
            Sink::Queue(sender) => {
                if let Err(error) = sender.try_send(record) {
                    tracing::debug!(%error, "an event was dropped");
                }
            }
        }
    }
}
