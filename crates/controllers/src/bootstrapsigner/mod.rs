//! Signs the public description of the cluster with each bootstrap token, so that who knows a token can believe it.
//!
//! Answers to upstream's `bootstrapsigner` controller.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::tokencleaner::{scope, text};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{FieldSelector, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "bootstrap-signer-controller";
const NAMESPACE: &str = "kube-public";
const MAP: &str = "cluster-info";
const SIGNATURE: &str = "jws-kubeconfig-";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let secrets = context.caches.scope(scope());
        let fields = FieldSelector::parse(&format!("metadata.name={MAP}")).unwrap_or_default();
        let namespace = NAMESPACE.to_owned();
        let maps = context.caches.scope(Scope { fields, namespace, ..Scope::all(Gvr::core("configmaps")) });
        secrets.synced().await;
        maps.synced().await;
        let key = ObjectKey::new(NAMESPACE, MAP);
        for cache in [&secrets, &maps] {
            let (sink, key) = (queue.clone(), key.clone());
            cache.subscribe(move |_| sink.add(key.clone()));
        }
        let controller = Arc::new(Signer { context: context.clone(), secrets, maps });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Signer {
    context: Context,
    secrets: Arc<Cache>,
    maps: Arc<Cache>,
}

/// A detached signature: header, nothing, signature.
fn sign(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": id }).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = ring::hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// Identifier and secret of a token that may sign.
fn token(secret: &Object, now: Timestamp) -> Option<(String, String)> {
    let (id, part) = (text(secret, "token-id"), text(secret, "token-secret"));
    let expiration = text(secret, "expiration");
    let expired = !expiration.is_empty() && expiration.parse::<Timestamp>().map_or(true, |at| at < now);
    let good = !id.is_empty()
        && !part.is_empty()
        && secret.name() == format!("bootstrap-token-{id}")
        && !expired
        && text(secret, "usage-bootstrap-signing") == "true";
    good.then_some((id, part))
}

/// The data that the map is to have; None: it has it, or there is nothing to sign.
fn plan(map: &Value, tokens: &BTreeMap<String, String>) -> Option<Value> {
    let content = map["data"]["kubeconfig"].as_str()?;
    let mut data = map["data"].clone();
    data.as_object_mut()?.retain(|key, _| !key.starts_with(SIGNATURE));
    for (id, secret) in tokens {
        data[format!("{SIGNATURE}{id}")] = sign(content, id, secret).into();
    }
    (data != map["data"]).then_some(data)
}

#[async_trait]
impl Reconcile<ObjectKey> for Signer {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(map) = self.maps.get(key) else { return Ok(Outcome::Done) };
        let now = self.context.clock.now();
        let tokens = self.secrets.read().all().filter_map(|secret| token(secret, now)).collect();
        let mut value = map.to_value().map_err(|error| Error::invalid(key, error))?;
        let Some(data) = plan(&value, &tokens) else { return Ok(Outcome::Done) };
        value["data"] = data;
        match self.context.client.update(&Gvr::core("configmaps"), key, value).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
            other => Ok(other.map(|_| Outcome::Done)?),
        }
    }
}
