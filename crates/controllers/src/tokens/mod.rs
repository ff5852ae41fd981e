//! Fills Secrets of type `kubernetes.io/service-account-token` with a token, and removes those whose account is gone.
//!
//! Invariant: this controller never sees the signing key. Answers to upstream's `serviceaccount-token` controller; it
//! writes as kube-controller-manager itself, as upstream's does.

#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{FieldSelector, Gvr, Object, ObjectKey};
use gifee_client::{Cache, DeleteOptions, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use serde_json::Value;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "serviceaccount-token-controller";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// What a token is to say.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// Namespace of account and Secret.
    pub namespace: &'a str,
    /// Name of the account.
    pub account: &'a str,
    /// UID of the account.
    pub account_uid: &'a str,
    /// Name of the Secret.
    pub secret: &'a str,
}

/// Who holds the signing key: gives the token, or the reason why there is none.
#[derive(Clone)]
pub struct Issuer(pub Arc<Issue>);

/// A signed token, or why there is none.
pub type Issue = dyn Fn(&Token<'_>) -> std::result::Result<String, String> + Send + Sync;

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

fn secrets() -> Gvr {
    Gvr::core("secrets")
}

/// All Secrets that hold tokens of accounts.
pub(crate) fn scope() -> Scope {
    let fields = FieldSelector::parse("type=kubernetes.io/service-account-token").unwrap_or_default();
    Scope { fields, ..Scope::all(secrets()) }
}

fn accounts() -> Gvr {
    Gvr::core("serviceaccounts")
}

/// Runs until the context's shutdown; without an issuer it has nothing to do.
pub fn run(context: Context, config: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let Some(issuer) = config.tokens.clone() else { return context.shutdown.cancelled().await };
        let queue = Arc::new(Queue::new());
        let secrets = context.caches.scope(scope());
        let accounts = context.caches.scope(Scope::metadata(accounts()));
        secrets.synced().await;
        accounts.synced().await;
        let sink = queue.clone();
        secrets.subscribe(move |change| sink.add(change.object().key()));
        let (sink, held) = (queue.clone(), secrets.clone());
        accounts.subscribe(move |change| {
            // Only that an account came or went matters to its Secrets.
            let same = |old: &Arc<Object>| change.new.is_some_and(|new| new.uid() == old.uid());
            if change.old.is_some_and(same) {
                return;
            }
            for secret in held.read().namespace(change.object().namespace()) {
                sink.add(secret.key());
            }
        });
        let root_ca = config.root_ca.clone().unwrap_or_default();
        let controller = Arc::new(Tokens { context: context.clone(), secrets, accounts, issuer, root_ca });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Tokens {
    context: Context,
    secrets: Arc<Cache>,
    accounts: Arc<Cache>,
    issuer: Issuer,
    root_ca: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// The account is gone, or is another one.
    Delete,
    /// What is missing or wrong; the token is made then.
    Fill {
        account: String,
        uid: String,
    },
}

fn plan(secret: &Value, account: Option<&Object>, root_ca: &str) -> Plan {
    let annotation = |key: &str| secret["metadata"]["annotations"][key].as_str().unwrap_or_default();
    let (name, uid) = (annotation(ACCOUNT), annotation(UID));
    if name.is_empty() {
        return Plan::Nothing;
    }
    let Some(account) = account.filter(|account| uid.is_empty() || account.uid() == uid) else {
        return Plan::Delete;
    };
    let data = |key: &str| {
        secret["data"][key].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default()
    };
    let complete = data("ca.crt") == root_ca.as_bytes()
        && data("namespace") == account.namespace().as_bytes()
        && !data("token").is_empty()
        && !uid.is_empty();
    if complete {
        Plan::Nothing
    } else {
        Plan::Fill { account: name.to_owned(), uid: account.uid().to_owned() }
    }
}

impl Tokens {
    async fn fill(&self, key: &ObjectKey, mut secret: Value, account: &str, uid: &str) -> Result<()> {
        if secret["data"]["token"].as_str().unwrap_or_default().is_empty() {
            let wanted = Token { namespace: &key.namespace, account, account_uid: uid, secret: &key.name };
            let token = (self.issuer.0)(&wanted)
                .map_err(|why| Error::invalid(format!("signing a token for {key}"), why))?;
            secret["data"]["token"] = STANDARD.encode(token).into();
        }
        secret["data"]["namespace"] = STANDARD.encode(&*key.namespace).into();
        if !self.root_ca.is_empty() {
            secret["data"]["ca.crt"] = STANDARD.encode(&self.root_ca).into();
        }
        secret["metadata"]["annotations"][UID] = uid.into();
        self.context.client.update(&secrets(), key, secret).await?;
        Ok(())
    }

    /// Takes a Secret that is gone out of the list of its account.
    async fn unlist(&self, key: &ObjectKey) -> Result<()> {
        let client = &self.context.client;
        let keys: Vec<ObjectKey> =
            self.accounts.read().namespace(&key.namespace).map(|one| one.key()).collect();
        for account in keys {
            let mut value = match client.get(&accounts(), &account).await {
                Ok(found) => found.to_value().map_err(|error| Error::invalid(&account, error))?,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(list) = value["secrets"].as_array_mut() else { continue };
            let before = list.len();
            list.retain(|one| one["name"] != *key.name);
            if list.len() < before {
                client.update(&accounts(), &account, value).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Tokens {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(cached) = self.secrets.get(key) else {
            self.unlist(key).await?;
            return Ok(Outcome::Done);
        };
        let value = cached.to_value().map_err(|error| Error::invalid(key, error))?;
        let name = value["metadata"]["annotations"][ACCOUNT].as_str().unwrap_or_default();
        let account_key = ObjectKey::new(&key.namespace, name);
        let account = self.accounts.get(&account_key);
        let client = &self.context.client;
        match plan(&value, account.as_deref(), &self.root_ca) {
            Plan::Nothing => {}
            Plan::Fill { account, uid } => match self.fill(key, value, &account, &uid).await {
                Err(error) if error.is_overtaken() => {}
                other => other?,
            },
            Plan::Delete => {
                // The cache of accounts may be behind that of Secrets: look before a token is taken away.
                match client.get(&accounts(), &account_key).await {
                    Ok(live) if plan(&value, Some(&live), &self.root_ca) != Plan::Delete => {
                        return Ok(Outcome::Done);
                    }
                    Err(error) if !error.is_not_found() => return Err(error.into()),
                    _ => {}
                }
                match client.delete(&secrets(), key, &DeleteOptions::of_uid(cached.uid())).await {
                    Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(Outcome::Done)
    }
}
