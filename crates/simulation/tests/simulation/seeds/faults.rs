//! What goes wrong between the parts and the API server, and in the store: delays, refusals, lost answers, watches that
//! break off.

use super::model::Model;
use super::random::Random;
use async_trait::async_trait;
use bytes::Bytes;
use gifee_base::Status;
use gifee_client::{Body, Client, Error, Transport};
use gifee_store::{Engine, Entry, Outcome, Page, Range, Revision, Store, Watch, Write};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The faults of a story.
pub struct Faults {
    random: Mutex<Random>,
    on: AtomicBool,
    /// How often each kind has happened.
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// All kinds of faults.
pub const FAULTS: [&str; 10] = [
    "a call is delayed",
    "a write is refused with a conflict",
    "a call never arrives",
    "an answer is lost",
    "a watch breaks off",
    "a commit is delayed",
    "the wall clock jumps",
    "controllers and scheduler crash",
    "everything crashes",
    "a node falls silent",
];

/// What becomes of one call.
enum Fate {
    Well,
    /// It is refused with a conflict.
    Refused,
    /// It never arrives.
    Unsent,
    /// It is done, and nobody is told.
    Unanswered,
}

impl Faults {
    /// None yet.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(Random::new(seed ^ 0xfa17)),
            on: AtomicBool::new(false),
            counts: Mutex::default(),
        })
    }

    /// Begins or ends them.
    pub fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// One of [`FAULTS`] has happened.
    pub fn happened(&self, kind: &'static str) {
        assert!(FAULTS.contains(&kind), "{kind}");
        *self.counts.lock().entry(kind).or_default() += 1;
    }

    /// How often each kind has happened.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }

    fn on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn fate(&self) -> (Duration, Fate) {
        let mut random = self.random.lock();
        let delay =
            if random.happens(300) { Duration::from_millis(random.below(400)) } else { Duration::ZERO };
        let fate = match random.below(1_000) {
            0..20 => Fate::Refused,
            20..40 => Fate::Unsent,
            40..60 => Fate::Unanswered,
            _ => Fate::Well,
        };
        (delay, fate)
    }

    fn pause(&self, milliseconds: u64) -> Duration {
        Duration::from_millis(self.random.lock().below(milliseconds))
    }

    /// A client whose calls meet these faults.
    pub fn between(self: &Arc<Self>, client: Client) -> Client {
        let faults = self.clone();
        client.through(|inner| Arc::new(Faulty { inner, faults }))
    }
}

struct Faulty {
    inner: Arc<dyn Transport>,
    faults: Arc<Faults>,
}

fn lost(path: &str) -> Error {
    Error::Transport { path: path.to_owned(), source: "the connection broke off".into() }
}

#[async_trait]
impl Transport for Faulty {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Error> {
        if !self.faults.on() {
            return self.inner.call(request).await;
        }
        let path = request.uri().path().to_owned();
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let changes = matches!(request.method().as_str(), "PUT" | "PATCH");
        let (delay, fate) = self.faults.fate();
        if !delay.is_zero() {
            self.faults.happened("a call is delayed");
        }
        sleep(delay).await;
        match fate {
            Fate::Refused if changes => {
                self.faults.happened("a write is refused with a conflict");
                let status = Status::conflict("", "any", "one", "the object has been modified");
                let body = serde_json::to_vec(&status.to_value()).unwrap_or_default();
                let response = http::Response::builder().status(409).body(Body::whole(body.into()));
                return response.map_err(|_| lost(&path));
            }
            Fate::Unsent => {
                self.faults.happened("a call never arrives");
                return Err(lost(&path));
            }
            _ => {}
        }
        let response = self.inner.call(request).await?;
        if watches {
            let life = self.faults.pause(40_000);
            let faults = self.faults.clone();
            let broken = async move {
                sleep(life).await;
                faults.happened("a watch breaks off");
            };
            return Ok(response.map(|body| body.until(broken)));
        }
        match fate {
            Fate::Unanswered => {
                self.faults.happened("an answer is lost");
                Err(lost(&path))
            }
            _ => Ok(response),
        }
    }
}

/// A store that takes its time, and whose every commit the model sees.
pub struct Watched {
    /// The store.
    pub inner: Engine,
    /// Sees commits.
    pub model: Arc<Mutex<Model>>,
    /// Delays.
    pub faults: Arc<Faults>,
    /// Cancelled when the process that has it open dies: from then on nothing is written any more.
    pub dead: CancellationToken,
}

#[async_trait]
impl Store for Watched {
    async fn write(&self, write: Write) -> Result<Outcome, gifee_store::Error> {
        if self.faults.on() {
            self.faults.happened("a commit is delayed");
            sleep(self.faults.pause(8)).await;
        }
        if self.dead.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let outcome = self.inner.write(write.clone()).await?;
        if let Outcome::Done(revision) = outcome {
            self.model.lock().commit(write.key(), write.value(), revision);
        }
        Ok(outcome)
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), gifee_store::Error> {
        self.inner.get(key).await
    }

    async fn range(&self, range: Range) -> Result<Page, gifee_store::Error> {
        self.inner.range(range).await
    }

    async fn watch(&self, start: Bytes, end: Bytes, after: Revision) -> Result<Watch, gifee_store::Error> {
        self.inner.watch(start, end, after).await
    }

    async fn revision(&self) -> Result<Revision, gifee_store::Error> {
        self.inner.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), gifee_store::Error> {
        self.inner.compact(revision).await
    }
}
