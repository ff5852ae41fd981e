//! What a controller is given.

use crate::caches::Caches;
use crate::driver::Counts;
use crate::events::{self, Recorder};
use gifee_base::{Clock, SystemClock};
use gifee_client::{Client, Meters, Queue};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Client, caches, clock and recorder of one process under one identity; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Calls the API.
    pub client: Client,
    /// Shared caches.
    pub caches: Arc<Caches>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: Recorder,
    /// Ends everything that was started with this context.
    pub shutdown: CancellationToken,
    counts: Arc<Mutex<BTreeMap<&'static str, Arc<Counts>>>>,
    meters: Option<Arc<Meters>>,
}

impl Context {
    /// With the machine's clock, and a recorder of core events for `component`.
    pub fn new(client: Client, component: &str, shutdown: CancellationToken) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let source = events::Source::component(component);
        let events = Recorder::start(client.clone(), clock.clone(), source, shutdown.clone());
        Self::with(client, clock, events, shutdown)
    }

    /// With a clock and recorder of one's own.
    pub fn with(
        client: Client,
        clock: Arc<dyn Clock>,
        events: Recorder,
        shutdown: CancellationToken,
    ) -> Self {
        let caches = Caches::new(client.clone(), shutdown.clone());
        Self { client, caches, clock, events, shutdown, counts: Arc::default(), meters: None }
    }

    /// The same caches with another recorder: for a controller whose events carry a name of their own.
    #[must_use]
    pub fn recording(&self, component: &str) -> Self {
        let events = self.events.renamed(component);
        Self { events, ..self.clone() }
    }

    /// The same with queues that are measured.
    #[must_use]
    pub fn measured(self, meters: Option<Arc<Meters>>) -> Self {
        Self { meters, ..self }
    }

    /// Measures a queue, if queues are measured here.
    pub fn measure<K: Hash + Eq + Clone + Send + Sync + 'static>(&self, name: &str, queue: &Arc<Queue<K>>) {
        if let Some(meters) = &self.meters {
            queue.measure(meters, &name.trim_end_matches("-controller").replace('-', "_"));
        }
    }

    /// What a controller has done so far.
    pub fn counts(&self, name: &'static str) -> Arc<Counts> {
        self.counts.lock().entry(name).or_default().clone()
    }

    /// The names of all controllers that have been driven, with what they have done.
    pub fn all_counts(&self) -> Vec<(&'static str, Arc<Counts>)> {
        self.counts.lock().iter().map(|(name, counts)| (*name, counts.clone())).collect()
    }
}
