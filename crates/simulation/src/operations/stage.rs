//! What steps run on, and what they come to.

use crate::error::{Error, Result, While};
use crate::fleet::Fleet;
use crate::ledger::{Ledger, Times};
use gifee_base::{Clock, Gvk, Gvr, ObjectKey};
use gifee_client::discovery::Discovery;
use gifee_client::{Client, Resource};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Calls of one step that are under way at once.
pub const AT_ONCE: usize = 128;

/// What steps run on.
pub struct Stage {
    /// May do everything.
    pub client: Client,
    /// Simulated nodes and the ledger of pods.
    pub fleet: Arc<Fleet>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What goes on beside the steps; ends with them.
    pub beside: Mutex<JoinSet<()>>,
    /// How often each prefix of names has been used, so that steps of one kind do not meet.
    used: Mutex<BTreeMap<String, usize>>,
    discovery: tokio::sync::Mutex<Option<Arc<Discovery>>>,
}

/// What a step came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many things it did.
    pub count: usize,
    /// Over which time; none: the whole step.
    pub time: Option<Duration>,
    /// Latencies, each with its name.
    pub latencies: Vec<(&'static str, Vec<Duration>)>,
    /// For people.
    pub notes: Vec<String>,
    /// Whether pods that move are told of.
    pub question: bool,
}

impl Outcome {
    /// So many things.
    pub fn of(count: usize) -> Self {
        Self { count, ..Self::default() }
    }
}

impl Stage {
    /// To run steps on.
    pub fn new(client: Client, fleet: Arc<Fleet>, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            fleet,
            clock,
            beside: Mutex::default(),
            used: Mutex::default(),
            discovery: tokio::sync::Mutex::default(),
        }
    }

    /// The first of `count` numbers that no step has used with a prefix.
    pub fn numbers(&self, prefix: &str, count: usize) -> usize {
        let mut used = self.used.lock();
        let next = used.entry(prefix.to_owned()).or_default();
        let first = *next;
        *next += count;
        first
    }

    /// Where the server keeps objects of a kind.
    ///
    /// # Errors
    /// If it has no such kind.
    pub async fn resource(&self, object: &Value) -> Result<Resource> {
        let text = |name: &str| object[name].as_str().unwrap_or_default();
        let gvk = Gvk::from_api_version(text("apiVersion"), text("kind"));
        let found = |discovery: &Discovery| discovery.kind(&gvk).cloned();
        let mut known = self.discovery.lock().await;
        if let Some(resource) = known.as_deref().and_then(found) {
            return Ok(resource);
        }
        // It may have come with a definition since.
        let discovery =
            Discovery::load(&self.client).await.while_doing(|| "asking for the server's resources".into())?;
        let resource = found(&discovery);
        *known = Some(Arc::new(discovery));
        resource.ok_or_else(|| {
            Error::field(
                "kind",
                format!("the server has no kind {:?} in {:?}", text("kind"), text("apiVersion")),
            )
        })
    }

    /// Where the server keeps what a person calls it: `deployment`, `deploy`, `deployments`, `deployments.apps`.
    ///
    /// # Errors
    /// If it has no such resource.
    pub async fn named(&self, name: &str) -> Result<Resource> {
        let mut known = self.discovery.lock().await;
        if known.is_none() {
            let discovery = Discovery::load(&self.client)
                .await
                .while_doing(|| "asking for the server's resources".into())?;
            *known = Some(Arc::new(discovery));
        }
        let all = known.iter().flat_map(|discovery| &discovery.resources);
        let lower = name.to_ascii_lowercase();
        let (plain, group) = lower.split_once('.').unwrap_or((lower.as_str(), ""));
        let is = |one: &&Resource| {
            let named = *one.gvr.resource == *plain
                || one.singular == plain
                || one.gvk.kind.eq_ignore_ascii_case(plain)
                || one.short_names.iter().any(|short| short == plain);
            named && (group.is_empty() || *one.gvr.group == *group) && one.preferred
        };
        all.into_iter()
            .find(is)
            .cloned()
            .ok_or_else(|| Error::field("kind", format!("the server has no resource type {name:?}")))
    }

    /// Waits until the ledger shows something.
    ///
    /// # Errors
    /// If it does not within the time.
    pub async fn wait(
        &self,
        what: &str,
        timeout: Duration,
        mut done: impl FnMut(&Ledger) -> bool + Send,
    ) -> Result<()> {
        let mut changes = self.fleet.changes();
        let deadline = Instant::now() + timeout;
        loop {
            changes.mark_unchanged();
            if self.fleet.ledger(|ledger| done(ledger)) {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(Error::Time { what: what.into(), seconds: timeout.as_secs() });
            }
        }
    }

    /// Begins to measure pods of a namespace, or of all.
    pub fn measure(&self, namespace: &str) {
        let times = Times { namespace: namespace.into(), ..Times::default() };
        self.fleet.ledger(|ledger| ledger.measured = Some(times));
    }

    /// Ends to measure.
    pub fn measured(&self) -> Times {
        self.fleet.ledger(|ledger| ledger.measured.take()).unwrap_or_default()
    }

    /// Makes a namespace unless it is there, and waits until pods can be made in it.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let object =
            serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        match self.client.create(&Gvr::core("namespaces"), "", object).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            Err(source) => return Err(Error::Call { what: format!("creating namespace {name}"), source }),
        }
        self.account(name).await
    }

    /// Waits for the service account that pods of a namespace need.
    async fn account(&self, namespace: &str) -> Result<()> {
        use futures_util::StreamExt;
        let accounts = Gvr::core("serviceaccounts");
        let key = ObjectKey::new(namespace, "default");
        let what = || format!("waiting for the service account of namespace {namespace}");
        let options =
            gifee_client::WatchOptions { send_initial_events: true, bookmarks: true, ..Default::default() };
        let found = async {
            // A watch that ends before is begun again.
            while lacks(&self.client, &accounts, &key).await {
                let mut watch = self.client.watch(&accounts, namespace, &options).await.while_doing(what)?;
                while let Some(Ok(event)) = watch.next().await {
                    if matches!(&event, gifee_client::Event::Added(object) if object.name() == "default") {
                        break;
                    }
                }
            }
            Ok(())
        };
        let time =
            || Error::Time { what: format!("the service account of namespace {namespace}"), seconds: 60 };
        tokio::time::timeout(Duration::from_secs(60), found).await.map_err(|_| time())?
    }
}

async fn lacks(client: &Client, gvr: &Gvr, key: &ObjectKey) -> bool {
    client.get(gvr, key).await.is_err()
}
