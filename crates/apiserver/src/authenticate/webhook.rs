//! Tokens that another server knows: it is asked with a TokenReview.
//!
//! Answers to upstream's `webhook` token authenticator and the cache before it.

use crate::delegate::{Delegate, Key, Memory};
use gifee_policy::User;
use gifee_policy::authenticate::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// Answers remembered.
const REMEMBERED: usize = 10_000;

/// Whose token it is and for which audiences; or why it is nobody's, if there is something to say.
pub type Outcome = Result<(Arc<User>, Vec<String>), String>;

/// The server that knows tokens.
pub struct Webhook {
    delegate: Delegate,
    version: &'static str,
    life: Duration,
    audiences: Vec<String>,
    memory: Memory<Outcome>,
}

impl Webhook {
    /// `version` of the review is `v1` or `v1beta1`; answers are remembered for `life`; `audiences` are this server's
    /// own, which an answer that names none is for.
    pub fn new(delegate: Delegate, version: &'static str, life: Duration, audiences: Vec<String>) -> Self {
        Self { delegate, version, life, audiences, memory: Memory::new(REMEMBERED) }
    }

    fn key(token: &str, audiences: &[String]) -> Key {
        let mut hash = Sha256::new();
        for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// What is remembered of a token.
    pub fn known(&self, token: &str, audiences: &[String]) -> Option<Outcome> {
        self.memory.get(&Self::key(token, audiences))
    }

    /// Asks whose token it is.
    pub async fn ask(&self, token: &str, audiences: &[String]) -> Outcome {
        let review = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.version), "kind": "TokenReview",
            "metadata": {}, "spec": { "token": token, "audiences": audiences }, "status": { "user": {} },
        });
        let answer = match self.delegate.ask(&review).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "the token webhook failed");
                return Err(error);
            }
        };
        let outcome = self.read(&answer["status"], audiences);
        // Refusals with a reason are errors, which upstream's cache does not keep.
        if !matches!(&outcome, Err(why) if !why.is_empty()) {
            self.memory.put(Self::key(token, audiences), outcome.clone(), self.life);
        }
        outcome
    }

    fn read(&self, status: &Value, audiences: &[String]) -> Outcome {
        let own = texts(&status["audiences"]);
        let got = if own.is_empty() { &self.audiences } else { &own };
        let matching: Vec<String> = audiences.iter().filter(|one| got.contains(one)).cloned().collect();
        if matching.is_empty() {
            return Err(String::new());
        }
        if status["authenticated"] != true {
            return Err(status["error"].as_str().unwrap_or_default().to_owned());
        }
        let user = &status["user"];
        let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
        let extra = user["extra"].as_object().into_iter().flatten();
        let mut found = User {
            name: text("username"),
            uid: text("uid"),
            groups: texts(&user["groups"]),
            extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
        };
        let added = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
        if found.name != ANONYMOUS && !found.groups.iter().any(added) {
            found.groups.push(AUTHENTICATED.to_owned());
        }
        Ok((Arc::new(found), matching))
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
