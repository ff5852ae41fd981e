//! Users that a front proxy has authenticated and names in headers; both ways: read from a trusted proxy, and written
//! for an extension API server.
//!
//! Invariant: headers are believed only of a connection whose certificate is a front proxy's. Answers to upstream's
//! `headerrequest` authenticator and to the aggregator's proxy.

use super::{AUTHENTICATED, UNAUTHENTICATED};
use crate::User;
use std::collections::BTreeMap;

/// Header with the name of the user.
pub const USER: &str = "x-remote-user";
/// Header with the UID.
pub const UID: &str = "x-remote-uid";
/// Header with one group, repeated.
pub const GROUP: &str = "x-remote-group";
/// What headers with extra attributes begin with.
pub const EXTRA_PREFIX: &str = "x-remote-extra-";

/// What a key cannot have in the name of a header, and the escape itself.
const ESCAPED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a header says something about a user.
pub fn concerns(header: &str) -> bool {
    matches!(header, USER | UID | GROUP) || header.starts_with(EXTRA_PREFIX)
}

/// The user that headers, with names in lower case, name; None if they name none.
pub fn user<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<User> {
    let mut user = User::default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        match name {
            USER if user.name.is_empty() => value.clone_into(&mut user.name),
            UID if user.uid.is_empty() => value.clone_into(&mut user.uid),
            GROUP if !value.is_empty() => user.groups.push(value.to_owned()),
            _ => {
                let Some(key) = name.strip_prefix(EXTRA_PREFIX) else { continue };
                let key = percent_encoding::percent_decode_str(key);
                extra.entry(key.decode_utf8_lossy().into_owned()).or_default().push(value.to_owned());
            }
        }
    }
    if user.name.is_empty() {
        return None;
    }
    if user.name != super::ANONYMOUS
        && !user.groups.iter().any(|one| one == AUTHENTICATED || one == UNAUTHENTICATED)
    {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user.extra = extra;
    Some(user)
}

/// The headers that name a user to an extension API server.
pub fn headers(user: &User) -> Vec<(String, String)> {
    let mut all = vec![(USER.to_owned(), user.name.clone())];
    if !user.uid.is_empty() {
        all.push((UID.to_owned(), user.uid.clone()));
    }
    all.extend(user.groups.iter().map(|group| (GROUP.to_owned(), group.clone())));
    for (key, values) in &user.extra {
        let key = percent_encoding::utf8_percent_encode(key, ESCAPED).to_string();
        all.extend(
            values.iter().map(|value| (format!("{EXTRA_PREFIX}{}", key.to_lowercase()), value.clone())),
        );
    }
    all
}
