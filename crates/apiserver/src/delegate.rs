//! Another server that is asked to decide: who somebody is, or what they may do.
//!
//! Invariant: a question ends within its time, however often it is repeated, and answers that are remembered are
//! bounded in number and age. Answers to upstream's `util/webhook`.

use crate::outbound::{Endpoint, Error, Outbound};
use bytes::Bytes;
use gifee_base::Reason;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often a question that failed in passing is asked; upstream's figure.
const ATTEMPTS: u32 = 5;
/// Pause before it is asked again, growing by a half each time; upstream's figures.
const PAUSE: Duration = Duration::from_millis(500);

/// A server that decides.
pub struct Delegate {
    /// By what it is called.
    pub outbound: Arc<Outbound>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// How long one question may take.
    pub timeout: Duration,
}

impl Delegate {
    /// Posts a review and gives it back as it was answered.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, review: &Value) -> Result<Value, String> {
        let body = Bytes::from(review.to_string());
        let mut pause = PAUSE;
        for attempt in 1.. {
            let error = match self.outbound.post_json(&self.endpoint, body.clone(), self.timeout).await {
                Ok(answer) => return serde_json::from_slice(&answer).map_err(|error| error.to_string()),
                Err(error) => error,
            };
            if attempt >= ATTEMPTS || !passing(&error) {
                return Err(error.to_string());
            }
            tokio::time::sleep(pause).await;
            pause = pause * 3 / 2;
        }
        Err(String::new())
    }
}

/// Whether a failure may be over in a moment.
fn passing(error: &Error) -> bool {
    match error {
        Error::Refused(status) => {
            status.is(Reason::InternalError)
                || status.is(Reason::Timeout)
                || status.is(Reason::TooManyRequests)
        }
        Error::Transport { why, .. } => why.contains("connection reset") || why == "EOF",
        Error::Config(_) => false,
    }
}

/// What a digest stands for.
pub type Key = [u8; 32];

/// Answers that are remembered for a while.
pub struct Memory<T> {
    entries: Mutex<HashMap<Key, (Instant, T)>>,
    maximum: usize,
}

impl<T: Clone> Memory<T> {
    /// At most so many: beyond it what is over is forgotten, and if that is not enough, everything.
    pub fn new(maximum: usize) -> Self {
        Self { entries: Mutex::default(), maximum }
    }

    /// What is remembered.
    pub fn get(&self, key: &Key) -> Option<T> {
        let entries = self.entries.lock();
        let (until, answer) = entries.get(key)?;
        (Instant::now() < *until).then(|| answer.clone())
    }

    /// Remembers an answer; not at all if the time is none.
    pub fn put(&self, key: Key, answer: T, life: Duration) {
        if life.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= self.maximum {
            entries.retain(|_, (until, _)| now < *until);
            if entries.len() >= self.maximum {
                entries.clear();
            }
        }
        entries.insert(key, (now + life, answer));
    }
}
