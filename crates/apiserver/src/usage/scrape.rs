//! Figures asked of node agents, with the server's own identity.
//!
//! Invariant: of a node one request is under way at a time, and whoever comes meanwhile takes its answer. Answers to
//! metrics-server's scraper; the node's own rates are taken, so that the first answer has some.

use crate::body::Body;
use crate::connect::{kubelet, send};
use crate::server::Server;
use futures_util::{StreamExt, stream};
use gifee_base::Status;
use http::Request;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An answer is good enough for whoever asks within this time; metrics-server's figure is 15 seconds.
pub const FRESH: Duration = Duration::from_secs(10);
/// How long a node may take to answer; then it is left out.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is not asked for during this time is forgotten, and no window is longer.
const KEPT: Duration = Duration::from_secs(120);
/// The window of the first answer: what gifee's node agents wait for.
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// Nodes that are asked at the same time.
const NODES: usize = 64;
/// Bytes of an answer; a longer one is not taken.
const BYTES: usize = 32 << 20;
/// What is asked for.
const PATH: &str = "/stats/summary?only_cpu_and_memory=true";

/// What a node said.
pub struct Scrape {
    /// When it was asked.
    pub at: Timestamp,
    /// What rates are over, as far as that is known.
    pub window: Duration,
    /// What it said.
    pub summary: Summary,
    /// Places of its pods, by UID.
    pub pods: HashMap<String, usize>,
}

/// `/stats/summary`.
#[derive(Debug, Deserialize)]
pub struct Summary {
    /// The machine.
    pub node: Amounts,
    /// Its pods.
    #[serde(default)]
    pub pods: Vec<Pod>,
}

/// A pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Which.
    pub pod_ref: Reference,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Container>,
}

/// Which pod.
#[derive(Debug, Deserialize)]
pub struct Reference {
    /// `metadata.uid`
    pub uid: String,
}

/// A container.
#[derive(Debug, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it uses.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// CPU and memory.
#[derive(Debug, Deserialize)]
pub struct Amounts {
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    usage_nano_cores: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
}

impl Amounts {
    /// Nanoseconds of CPU time per second and bytes of memory, if both are known.
    pub fn known(&self) -> Option<(u64, u64)> {
        self.cpu.as_ref()?.usage_nano_cores.zip(self.memory.as_ref()?.working_set_bytes)
    }
}

/// A node: when it was last asked for, and its last answer.
type Slot = (Instant, Arc<tokio::sync::Mutex<Last>>);

/// The last answer of a node, good or bad.
#[derive(Default)]
struct Last {
    at: Option<Instant>,
    found: Option<Arc<Scrape>>,
}

/// The last answers of nodes.
#[derive(Default)]
pub struct Scrapes {
    /// At most one per node; those that nobody asks for go.
    nodes: Mutex<HashMap<String, Slot>>,
}

impl Scrapes {
    /// What these nodes say; those that do not answer are left out.
    pub async fn of(&self, server: &Arc<Server>, names: Vec<String>) -> HashMap<String, Arc<Scrape>> {
        let now = Instant::now();
        self.nodes.lock().retain(|_, (asked, _)| now.saturating_duration_since(*asked) < KEPT);
        let asking = names.into_iter().map(|name| async move {
            let found = self.one(server, &name).await;
            found.map(|found| (name, found))
        });
        stream::iter(asking).buffer_unordered(NODES).filter_map(std::future::ready).collect().await
    }

    async fn one(&self, server: &Arc<Server>, name: &str) -> Option<Arc<Scrape>> {
        let now = Instant::now();
        let last = {
            let mut nodes = self.nodes.lock();
            let (asked, last) = nodes.entry(name.to_owned()).or_insert_with(|| (now, Arc::default()));
            *asked = now;
            last.clone()
        };
        let mut last = last.lock().await;
        if last.at.is_some_and(|at| at.elapsed() < FRESH) {
            return last.found.clone();
        }
        let asked = tokio::time::timeout(TIMEOUT, ask(server, name)).await;
        let summary = match asked {
            Ok(Ok(summary)) => Some(summary),
            Ok(Err(status)) => {
                tracing::debug!(node = name, message = %status.message, "a node does not say what it uses");
                None
            }
            Err(_) => {
                tracing::debug!(node = name, "a node does not say in time what it uses");
                None
            }
        };
        let gap = last.at.filter(|_| last.found.is_some()).map(|at| at.elapsed());
        last.at = Some(Instant::now());
        last.found = summary.map(|summary| {
            Arc::new(Scrape {
                at: server.config.clock.now(),
                window: gap.filter(|gap| *gap <= KEPT).unwrap_or(FIRST_WINDOW),
                pods: super::places(&summary),
                summary,
            })
        });
        last.found.clone()
    }
}

async fn ask(server: &Arc<Server>, name: &str) -> Result<Summary, Status> {
    let target = kubelet(server, name)?;
    let request = Request::get(PATH).body(Body::empty()).map_err(Status::internal)?;
    let response = send(server, &target, request).await?;
    if !response.status().is_success() {
        return Err(Status::unavailable(format!("{} of {PATH}", response.status())));
    }
    let bytes = Body::wrap(response.into_body()).read(BYTES).await?;
    serde_json::from_slice(&bytes).map_err(Status::internal)
}
