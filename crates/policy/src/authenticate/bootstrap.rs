//! Bootstrap tokens: Secrets in `kube-system` that let a machine join.
//!
//! Answers to upstream's `bootstrap` token authenticator. A token that is not one, or whose Secret does not allow it,
//! is nobody's: another authenticator may know it.

use super::AUTHENTICATED;
use crate::{Lookup, User};
use base64::Engine;
use gifee_base::ObjectKey;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Name of the Secrets, before the identifier.
pub const SECRET_PREFIX: &str = "bootstrap-token-";
const NAMESPACE: &str = "kube-system";
const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";

#[derive(Deserialize)]
struct Secret {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl Secret {
    fn text(&self, key: &str) -> String {
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(self.data.get(key).map_or("", String::as_str));
        bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

fn part(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Identifier and secret of a token of the form `abcdef.0123456789abcdef`.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    token.split_once('.').filter(|(id, secret)| part(id, 6) && part(secret, 16))
}

/// Whether a group may stand in `auth-extra-groups`.
fn group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("system:bootstrappers:") else { return false };
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, ':' | '-');
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    rest.len() <= 256 && rest.chars().all(inner) && rest.starts_with(outer) && rest.ends_with(outer)
}

/// Whether a token's `expiration` has come; what is no time has come, too.
pub fn expired(expiration: &str, now: i64) -> bool {
    !expiration.is_empty() && expiration.parse::<jiff::Timestamp>().map_or(true, |at| at.as_second() < now)
}

/// Who a bootstrap token stands for at `now` in Unix seconds.
pub fn user(token: &str, now: i64, lookup: &dyn Lookup) -> Option<User> {
    let (id, secret) = parse(token)?;
    let object = lookup.get("", "secrets", &ObjectKey::new(NAMESPACE, &format!("{SECRET_PREFIX}{id}")))?;
    if object.deleting() {
        return None;
    }
    let found = object.decode::<Secret>().ok()?;
    let same = found.text("token-secret");
    // Constant time: the secret is guessed from outside.
    #[allow(deprecated)]
    let same = ring::constant_time::verify_slices_are_equal(same.as_bytes(), secret.as_bytes()).is_ok();
    if !same
        || found.kind != SECRET_TYPE
        || found.text("token-id") != id
        || expired(&found.text("expiration"), now)
        || found.text("usage-bootstrap-authentication") != "true"
    {
        return None;
    }
    let extra = found.text("auth-extra-groups");
    let mut groups = vec![GROUP.to_owned()];
    for name in extra.split(',').filter(|name| !name.is_empty()) {
        if !group(name) {
            return None;
        }
        groups.push(name.to_owned());
    }
    groups.sort();
    groups.dedup();
    groups.push(AUTHENTICATED.to_owned());
    Some(User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() })
}
