//! What a service-account token says, and whether what it says still holds.
//!
//! Invariant: an object that was deleted or made anew under the same name ends every token that is bound to it.
//! Answers to upstream's `pkg/serviceaccount` claims and their validator.

use super::service_account;
use super::token::Error;
use crate::{Lookup, User};
use gifee_base::{Object, ObjectKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Seconds that clocks may differ by, and for which a deletion is overlooked: upstream's figure.
const LEEWAY_SECONDS: i64 = 60;

/// A named object with its UID, in a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Name.
    pub name: String,
    /// UID.
    #[serde(default)]
    pub uid: String,
}

/// The claims under `kubernetes.io`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Private {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub serviceaccount: Bound,
    /// The pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// The secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Bound>,
    /// The node that it is bound to, or the node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
    /// From when on its use is reported as stale, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// All claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    pub aud: Vec<String>,
    /// Until when, in Unix seconds.
    pub exp: i64,
    /// Since when.
    pub iat: i64,
    /// Issuer.
    pub iss: String,
    /// Identifier.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Kubernetes' own.
    #[serde(rename = "kubernetes.io")]
    pub private: Private,
    /// Not before.
    pub nbf: i64,
    /// Subject: the user.
    pub sub: String,
}

fn refused<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused(why.into()))
}

/// Whether an object was deleted longer ago than is overlooked, at `now` in Unix seconds.
fn long_deleted(object: &Object, now: i64) -> bool {
    object.deleting()
        && object.decode::<Deleted>().ok().is_none_or(|deleted| {
            let at = deleted.metadata.deletion_timestamp.parse::<jiff::Timestamp>();
            at.is_ok_and(|at| at.as_second() < now - LEEWAY_SECONDS)
        })
}

#[derive(Deserialize)]
struct Deleted {
    metadata: Deletion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    deletion_timestamp: String,
}

/// The service account of a token, if it is still the same.
pub(super) fn account(
    lookup: &dyn Lookup,
    namespace: &str,
    account: &Bound,
    now: i64,
) -> Result<Arc<Object>, Error> {
    let name = &account.name;
    match lookup.get("", "serviceaccounts", &ObjectKey::new(namespace, name)) {
        None => refused(format!("serviceaccounts {name:?} not found")),
        Some(object) if long_deleted(&object, now) => {
            refused(format!("service account {namespace}/{name} has been deleted"))
        }
        Some(object) if object.uid() != account.uid => {
            refused(format!("service account UID ({}) does not match claim ({})", object.uid(), account.uid))
        }
        Some(object) => Ok(object),
    }
}

fn still(lookup: &dyn Lookup, what: &str, key: &ObjectKey, uid: &str, now: i64) -> Result<(), Error> {
    match lookup.get("", &format!("{what}s"), key) {
        Some(object) if !long_deleted(&object, now) => {
            if object.uid() == uid {
                return Ok(());
            }
            let found = object.uid();
            refused(format!("{what} UID ({found}) does not match service account {what} ref claim ({uid})"))
        }
        _ => refused("service account token has been invalidated"),
    }
}

impl Claims {
    /// Whether the token is good at `now` in Unix seconds; if so, what the audit log is to say.
    pub(super) fn check(&self, now: i64, lookup: &dyn Lookup) -> Result<Vec<(&'static str, String)>, Error> {
        if now > self.exp + LEEWAY_SECONDS {
            return refused("service account token has expired");
        }
        if now + LEEWAY_SECONDS < self.nbf || now + LEEWAY_SECONDS < self.iat {
            return refused("service account token is not valid yet");
        }
        let private = &self.private;
        account(lookup, &private.namespace, &private.serviceaccount, now)?;
        if let Some(secret) = &private.secret {
            still(lookup, "secret", &ObjectKey::new(&private.namespace, &secret.name), &secret.uid, now)?;
        }
        if let Some(pod) = &private.pod {
            still(lookup, "pod", &ObjectKey::new(&private.namespace, &pod.name), &pod.uid, now)?;
        } else if let Some(node) = &private.node {
            still(lookup, "node", &ObjectKey::cluster(&node.name), &node.uid, now)?;
        }
        let stale = private.warnafter.filter(|after| *after != 0 && now > *after).map(|after| {
            let text = format!("subject: {}, seconds after warning threshold: {}", self.sub, now - after);
            ("authentication.k8s.io/stale-token", text)
        });
        Ok(stale.into_iter().collect())
    }

    /// Who the token speaks for.
    pub(super) fn identity(&self) -> User {
        let private = &self.private;
        let account = &private.serviceaccount;
        let mut user = service_account(&private.namespace, &account.name, &account.uid);
        let mut extra = |key: &str, value: &str| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        if !self.jti.is_empty() {
            extra("credential-id", &format!("JTI={}", self.jti));
        }
        if let Some(pod) = &private.pod {
            extra("pod-name", &pod.name);
            extra("pod-uid", &pod.uid);
        }
        if let Some(node) = &private.node {
            extra("node-name", &node.name);
            if !node.uid.is_empty() {
                extra("node-uid", &node.uid);
            }
        }
        user
    }
}
