//! The keys of an issuer elsewhere: found by its discovery document, fetched when they are needed.
//!
//! Invariant: however many unknown tokens come, keys are fetched once per [`PAUSE`] at most, and what comes is bounded.
//! Answers to go-oidc's remote key set.

use crate::body::Body;
use crate::outbound::{Endpoint, Outbound, Trust};
use gifee_policy::authenticate::configuration::Issuer;
use gifee_policy::authenticate::oidc::JwkSet;
use http::Request;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two fetches.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest time for which keys are believed without being looked at again.
const AGE: Duration = Duration::from_secs(3_600);
/// How long a fetch may take; upstream's figure.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a document; a longer one is refused.
const DOCUMENT_BYTES: usize = 1 << 20;

/// Keys and when they were fetched.
#[derive(Clone)]
struct Fetched {
    keys: Arc<JwkSet>,
    at: Instant,
}

/// The keys of an issuer.
pub struct Keys {
    outbound: Arc<Outbound>,
    issuer: Issuer,
    fetched: parking_lot::RwLock<Option<Fetched>>,
    last: tokio::sync::Mutex<Option<Instant>>,
}

impl Keys {
    /// Of an issuer; fetched at first use.
    pub fn new(outbound: Arc<Outbound>, issuer: Issuer) -> Self {
        Self {
            outbound,
            issuer,
            fetched: parking_lot::RwLock::default(),
            last: tokio::sync::Mutex::default(),
        }
    }

    /// The keys that are here, unless they are old.
    pub fn present(&self) -> Option<Arc<JwkSet>> {
        let fetched = self.fetched.read();
        fetched.as_ref().filter(|fetched| fetched.at.elapsed() < AGE).map(|fetched| fetched.keys.clone())
    }

    /// The keys, fetched anew unless somebody has just done so.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn fetch(&self) -> Result<Arc<JwkSet>, String> {
        let mut last = self.last.lock().await;
        let held = self.fetched.read().clone();
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return held
                .map(|held| held.keys)
                .ok_or_else(|| "oidc: authenticator not initialized".to_owned());
        }
        *last = Some(Instant::now());
        match tokio::time::timeout(TIMEOUT, self.documents()).await {
            Ok(Ok(keys)) => {
                let keys = Arc::new(keys);
                *self.fetched.write() = Some(Fetched { keys: keys.clone(), at: Instant::now() });
                Ok(keys)
            }
            Ok(Err(error)) => {
                tracing::warn!(issuer = %self.issuer.url, %error, "the keys of an issuer cannot be fetched");
                held.map(|held| held.keys).ok_or(error)
            }
            Err(_) => held.map(|held| held.keys).ok_or_else(|| "fetching keys: timed out".to_owned()),
        }
    }

    async fn documents(&self) -> Result<JwkSet, String> {
        let place = match self.issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", self.issuer.url.trim_end_matches('/')),
            place => place.to_owned(),
        };
        let found = self.get(&place).await?;
        let named = found["issuer"].as_str().unwrap_or_default();
        if named != self.issuer.url {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {named:?}",
                self.issuer.url
            ));
        }
        let place = found["jwks_uri"].as_str().ok_or("provider did not return JWKS URL")?;
        let found = self.get(place).await?;
        // A key of a kind that is not known here does not spoil the others.
        let keys = found["keys"].as_array().into_iter().flatten();
        Ok(JwkSet { keys: keys.filter_map(|key| serde_json::from_value(key.clone()).ok()).collect() })
    }

    async fn get(&self, url: &str) -> Result<Value, String> {
        let mut endpoint = Endpoint::from_url(url).map_err(|error| error.to_string())?;
        if !self.issuer.certificate_authority.is_empty() {
            endpoint.trust = Trust::Bundle(self.issuer.certificate_authority.as_bytes().into());
        }
        let request =
            Request::get(endpoint.path.as_str()).body(Body::empty()).map_err(|error| error.to_string())?;
        let response = self.outbound.send(&endpoint, request).await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("{url}: {}", response.status()));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES).collect().await;
        let body = body.map_err(|error| format!("{url}: {error}"))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }
}
