//! Signs approved requests for upstream's signers.
//!
//! Invariant: this controller never sees the key of the authority: it hands over a request that it has checked, and
//! whoever holds the key bounds what is signed. Answers to upstream's `csrsigning` controllers.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::certificate::{
    CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, Parsed, Request, client_usages, requests,
};
use async_trait::async_trait;
use base64::Engine;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::ObjectKey;
use gifee_client::{Cache, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "certificatesigningrequest-signing-controller";
/// Shortest life of a certificate; upstream's figure.
const SHORTEST: Duration = Duration::from_secs(600);
/// Longest life of a certificate; upstream's default.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A request that may be signed.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// The certificate request, DER. Its signature has not been checked yet.
    pub request: &'a [u8],
    /// As the API names them, such as `client auth`.
    pub usages: &'a [String],
    /// How long the certificate is to be good.
    pub life: Duration,
}

/// Who holds the authority's key: gives the certificate as PEM, or the reason why there is none.
#[derive(Clone)]
pub struct Signer(pub Arc<Sign>);

/// A PEM chain, or why there is none.
pub type Sign = dyn Fn(&Signing<'_>) -> std::result::Result<String, String> + Send + Sync;

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// Runs until the context's shutdown; without a signer it has nothing to do.
pub fn run(context: Context, config: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let Some(signer) = config.signer.clone() else { return context.shutdown.cancelled().await };
        let queue = Arc::new(Queue::new());
        let requests = context.caches.scope(Scope::all(requests()));
        requests.synced().await;
        let sink = queue.clone();
        requests.subscribe(move |change| sink.add(change.object().key()));
        let controller = Arc::new(Signatures { context: context.clone(), requests, signer });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Signatures {
    context: Context,
    requests: Arc<Cache>,
    signer: Signer,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// The request breaks its signer's rules.
    Fail(String),
    Sign(Parsed, Duration),
}

fn life(asked: Option<i64>) -> Duration {
    let asked = asked.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
    asked.map_or(LONGEST, |asked| asked.clamp(SHORTEST, LONGEST))
}

fn plan(request: &Request) -> std::result::Result<Plan, String> {
    let spec = &request.spec;
    let approved = request.condition("Approved").is_some() && request.condition("Denied").is_none();
    let ours = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&spec.signer_name.as_str());
    if !ours || !approved || request.condition("Failed").is_some() || !request.status.certificate.is_empty() {
        return Ok(Plan::Nothing);
    }
    let parsed = request.parse()?;
    let fits = match spec.signer_name.as_str() {
        CLIENT => client_usages(&spec.usages),
        KUBELET_CLIENT => parsed.kubelet_client(&spec.usages),
        KUBELET_SERVING => parsed.kubelet_serving(&spec.usages),
        _ => Ok(()),
    };
    Ok(match fits {
        Err(why) => Plan::Fail(why),
        Ok(()) => Plan::Sign(parsed, life(spec.expiration_seconds)),
    })
}

#[async_trait]
impl Reconcile<ObjectKey> for Signatures {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let request = Request::read(&object);
        let plan = plan(&request).map_err(|why| Error::invalid(format!("parsing the request {key}"), why))?;
        let mut value = object.to_value().map_err(|error| Error::invalid(key, error))?;
        match plan {
            Plan::Nothing => return Ok(Outcome::Done),
            Plan::Fail(why) => {
                let condition = json!({ "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why });
                match &mut value["status"]["conditions"] {
                    Value::Array(list) => list.push(condition),
                    none => *none = json!([condition]),
                }
            }
            Plan::Sign(parsed, life) => {
                let signing = Signing { request: &parsed.der, usages: &request.spec.usages, life };
                let pem = (self.signer.0)(&signing);
                let pem = pem.map_err(|why| Error::invalid(format!("signing the request {key}"), why))?;
                value["status"]["certificate"] = base64::engine::general_purpose::STANDARD.encode(pem).into();
            }
        }
        match self.context.client.update_status(&requests(), key, value).await {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            other => Ok(other.map(|_| Outcome::Done)?),
        }
    }
}
