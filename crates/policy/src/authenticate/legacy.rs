//! Tokens out of Secrets of type `kubernetes.io/service-account-token`: they never end, so they are good only while
//! the Secret holds them and says nothing against them.
//!
//! Answers to upstream's `pkg/serviceaccount` legacy validator.

use super::claims::{self, Bound};
use super::service_account;
use super::token::Error;
use crate::{Lookup, User};
use base64::Engine;
use gifee_base::ObjectKey;
use serde::{Deserialize, Serialize};

/// Issuer of such tokens.
pub const ISSUER: &str = "kubernetes/serviceaccount";
/// The label that says on which day the token was last used.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label that ends a token.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What a legacy token is made of.
#[derive(Clone, Copy, Debug)]
pub struct Legacy<'a> {
    /// Namespace of account and Secret.
    pub namespace: &'a str,
    /// Name of the account.
    pub account: &'a str,
    /// UID of the account.
    pub account_uid: &'a str,
    /// Name of the Secret.
    pub secret: &'a str,
}

/// The claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    account_uid: String,
    #[serde(default)]
    sub: String,
}

#[derive(Deserialize)]
struct Secret {
    metadata: Metadata,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    token: String,
}

#[derive(Default, Deserialize)]
struct Account {
    #[serde(default)]
    secrets: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    name: String,
}

type Checked = (Vec<(&'static str, String)>, Option<ObjectKey>);

fn refused<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused(why.into()))
}

impl Claims {
    /// The claims of a new token.
    pub(super) fn new(legacy: &Legacy<'_>) -> Self {
        Self {
            iss: ISSUER.into(),
            namespace: legacy.namespace.into(),
            secret: legacy.secret.into(),
            account: legacy.account.into(),
            account_uid: legacy.account_uid.into(),
            sub: format!("system:serviceaccount:{}:{}", legacy.namespace, legacy.account),
        }
    }

    /// Who the token speaks for.
    pub(super) fn identity(&self) -> User {
        service_account(&self.namespace, &self.account, &self.account_uid)
    }

    /// Whether the token is good at `now` in Unix seconds; what the audit log is to say, and the Secret if its
    /// label has to be written.
    pub(super) fn check(&self, token: &str, now: i64, lookup: &dyn Lookup) -> Result<Checked, Error> {
        for (claim, name) in [
            (&self.sub, "sub"),
            (&self.namespace, "namespace"),
            (&self.secret, "secretName"),
            (&self.account, "serviceAccountName"),
            (&self.account_uid, "serviceAccountUID"),
        ] {
            if claim.is_empty() {
                return refused(format!("{name} claim is missing"));
            }
        }
        let (namespace, name) = (&self.namespace, &self.account);
        if self.sub != format!("system:serviceaccount:{namespace}:{name}") {
            return refused("sub claim is invalid");
        }
        let key = ObjectKey::new(namespace, &self.secret);
        let invalidated = "Token has been invalidated";
        let Some(object) = lookup.get("", "secrets", &key) else { return refused(invalidated) };
        let Ok(secret) = object.decode::<Secret>() else { return refused(invalidated) };
        if object.deleting() {
            return refused(invalidated);
        }
        let held = base64::engine::general_purpose::STANDARD.decode(&secret.data.token).unwrap_or_default();
        // Both are behind a signature that was verified: comparing gives nothing away.
        if held != token.as_bytes() {
            return refused("Token does not match server's copy");
        }
        let bound = Bound { name: name.clone(), uid: self.account_uid.clone() };
        let account = claims::account(lookup, namespace, &bound, now)?;
        let shown = format!("{}/{}", self.secret, namespace);
        if secret.metadata.labels.get(INVALID_SINCE).is_some_and(|since| !since.is_empty()) {
            return refused(format!(
                "the token in secret {namespace}/{} for service account {namespace}/{name} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token",
                self.secret
            ));
        }
        let account = account.decode::<Account>().unwrap_or_default();
        let generated = account.secrets.iter().any(|one| one.name == self.secret);
        let annotation = if generated {
            "authentication.k8s.io/legacy-token-autogenerated-secret"
        } else {
            "authentication.k8s.io/legacy-token-manual-secret"
        };
        let today = day(now);
        let used = secret.metadata.labels.get(LAST_USED) != Some(&today);
        Ok((vec![(annotation, shown)], used.then_some(key)))
    }
}

/// The day of a moment, as the label names it.
pub fn day(now: i64) -> String {
    let moment = jiff::Timestamp::from_second(now).unwrap_or_default();
    moment.strftime("%Y-%m-%d").to_string()
}
