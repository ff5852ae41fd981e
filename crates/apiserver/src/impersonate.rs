//! Acting as somebody else: `kubectl --as`.
//!
//! Invariant: each part of the identity asked for is authorized by itself, for who really asks. Answers to
//! apiserver's `WithImpersonation`.

use crate::server::Server;
use gifee_base::Status;
use gifee_policy::authenticate::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account};
use gifee_policy::{Attributes, User};
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// Whom the headers ask to be, if anybody.
///
/// # Errors
/// 403 if who asks may not; 400 if they ask for groups without a user.
pub async fn impersonate(server: &Server, user: Arc<User>, headers: &HeaderMap) -> Result<Arc<User>, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = text(USER);
    if name.is_empty() {
        let parts = headers.keys().map(|name| name.as_str());
        let mut asked =
            parts.filter(|name| *name == UID || *name == GROUP || name.starts_with(EXTRA)).peekable();
        if asked.peek().is_none() {
            return Ok(user);
        }
        let asked: Vec<_> = asked.collect();
        return Err(Status::bad_request(format!("requested {asked:?} without impersonating a user")));
    }
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let wanted = identity(name, text(UID), groups, extra(headers));
    for attributes in asked(&user, &wanted, headers) {
        server.authorize(&attributes).await?;
    }
    Ok(Arc::new(wanted))
}

fn extra(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        extra.entry(key).or_default().push(value.to_owned());
    }
    extra
}

/// Namespace and name of the service account that a user name stands for.
fn account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn identity(name: &str, uid: &str, mut groups: Vec<String>, extra: BTreeMap<String, Vec<String>>) -> User {
    if let (Some((namespace, account)), true) = (account(name), groups.is_empty()) {
        groups = service_account(namespace, account, "").groups;
    }
    let always = if name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|group| group == always) {
        groups.push(always.to_owned());
    }
    User { name: name.to_owned(), uid: uid.to_owned(), groups, extra }
}

/// What the user must be allowed to impersonate.
fn asked(user: &Arc<User>, wanted: &User, headers: &HeaderMap) -> Vec<Attributes> {
    let one = |group: &str, resource: &str, namespace: &str, name: &str| Attributes {
        user: user.clone(),
        verb: "impersonate".into(),
        is_resource: true,
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    };
    let mut all = vec![match account(&wanted.name) {
        Some((namespace, name)) => one("", "serviceaccounts", namespace, name),
        None => one("", "users", "", &wanted.name),
    }];
    for group in headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()) {
        all.push(one("", "groups", "", group));
    }
    if !wanted.uid.is_empty() {
        all.push(one("authentication.k8s.io", "uids", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        for value in values {
            let mut attributes = one("authentication.k8s.io", "userextras", "", value);
            attributes.subresource.clone_from(key);
            all.push(attributes);
        }
    }
    all
}
