//! Acting as somebody else: `kubectl --as`.
//!
//! Invariant: each part of the identity asked for is authorized by itself, for who really asks. The constrained modes
//! come first, each needing the right to impersonate such a user and the right to do it for this very request; the
//! unconstrained verb `impersonate` is the last. Answers to apiserver's `WithConstrainedImpersonation`.

use crate::server::Server;
use gifee_base::{Status, name};
use gifee_policy::authenticate::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account};
use gifee_policy::authorize::refusal;
use gifee_policy::{Attributes, User};
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const NODES: &str = "system:nodes";
const PRIVILEGED: &str = "system:masters";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many groups or extra values on, all of them are asked for at once before each by itself; upstream's figure.
const MANY: usize = 4;
/// The right for every node, whichever the request names.
const ASSOCIATED: &str = "impersonate:associated-node";

/// Who a request acts as.
pub struct Acting {
    /// The user.
    pub user: Arc<User>,
    /// The constrained verb that allowed it; empty for the unconstrained one.
    pub constraint: String,
}

/// Whom the headers ask to be, if anybody; `attributes` makes those of the request as it came.
///
/// # Errors
/// 403 if who asks may not; 400 if they ask for more without a user.
pub async fn impersonate(
    server: &Server,
    headers: &HeaderMap,
    attributes: impl FnOnce() -> Attributes,
) -> Result<Option<Acting>, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let asked = Asked { server, wanted: &wanted, request: attributes() };
    let mut first = None;
    for mode in MODES {
        let Some(outcome) = asked.attempt(mode).await else { continue };
        match outcome {
            Ok(user) => {
                let constraint = mode.verb.strip_prefix("impersonate:").map_or("", |_| mode.verb).to_owned();
                return Ok(Some(Acting { user: Arc::new(user), constraint }));
            }
            Err(status) => {
                first.get_or_insert(status);
            }
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// The identity in the headers.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = text(USER);
    if name.is_empty() {
        let more = headers.keys().map(http::HeaderName::as_str);
        let mut more =
            more.filter(|name| *name == UID || *name == GROUP || name.starts_with(EXTRA)).peekable();
        if more.peek().is_none() {
            return Ok(None);
        }
        let more: Vec<_> = more.collect();
        return Err(Status::bad_request(format!("requested {more:?} without impersonating a user name")));
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        extra.entry(key).or_default().push(value.to_owned());
    }
    let groups = headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok());
    let groups = groups.map(str::to_owned).collect();
    Ok(Some(User { name: name.to_owned(), uid: text(UID).to_owned(), groups, extra }))
}

/// One way to be allowed.
struct Mode {
    /// The verb on the parts of the identity.
    verb: &'static str,
    /// What the verb on the request itself begins with; empty: none is needed.
    on: &'static str,
    /// Whether the mode is for such a user at all, asked for by such a user.
    fits: fn(&User, &User) -> bool,
}

/// All modes, in the order in which they are tried.
const MODES: &[Mode] = &[
    Mode { verb: ASSOCIATED, on: "impersonate-on:associated-node:", fits: associated },
    Mode {
        verb: "impersonate:arbitrary-node",
        on: "impersonate-on:arbitrary-node:",
        fits: |wanted, _| only_name(wanted) && node(&wanted.name).is_some(),
    },
    Mode {
        verb: "impersonate:serviceaccount",
        on: "impersonate-on:serviceaccount:",
        fits: |wanted, _| only_name(wanted) && account(&wanted.name).is_some(),
    },
    Mode {
        verb: "impersonate:user-info",
        on: "impersonate-on:user-info:",
        fits: |wanted, _| node(&wanted.name).is_none() && account(&wanted.name).is_none(),
    },
    Mode { verb: "impersonate", on: "", fits: |_, _| true },
];

fn only_name(user: &User) -> bool {
    user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty()
}

/// Namespace and name of the service account that a user name stands for.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (name::dns_label(namespace).is_empty() && name::dns_subdomain(account).is_empty())
        .then_some((namespace, account))
}

fn node(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|node| name::dns_subdomain(node).is_empty())
}

/// Whether a service account that runs on a node asks to be that node.
fn associated(wanted: &User, requestor: &User) -> bool {
    let own = requestor.extra.get("authentication.kubernetes.io/node-name");
    let own = own.filter(|values| values.len() == 1).map(|values| values[0].as_str());
    only_name(wanted)
        && account(&requestor.name).is_some()
        && node(&wanted.name).is_some_and(|node| own == Some(node))
}

/// A wish, and the request it is for, under the name of who really asks.
struct Asked<'a> {
    server: &'a Server,
    wanted: &'a User,
    request: Attributes,
}

impl Asked<'_> {
    /// Tries one mode; None if it is not for such a user.
    async fn attempt(&self, mode: &Mode) -> Option<Result<User, Status>> {
        if !(mode.fits)(self.wanted, &self.request.user) {
            return None;
        }
        Some(self.allowed(mode).await)
    }

    async fn allowed(&self, mode: &Mode) -> Result<User, Status> {
        let constrained = !mode.on.is_empty();
        if constrained {
            let mut on = self.request.clone();
            on.verb = format!("{}{}", mode.on, on.verb);
            self.server.authorize(&self.seen(mode, on)).await?;
        }
        let mut user = self.wanted.clone();
        self.name(mode, constrained, &mut user).await?;
        if !user.uid.is_empty() {
            self.part(mode, AUTHENTICATION, "uids", &user.uid).await?;
        }
        self.groups(mode, constrained).await?;
        self.extra(mode, constrained).await?;
        let always = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        let has = |group: &str| user.groups.iter().any(|one| one == group);
        if !has(always) && !has(UNAUTHENTICATED) {
            user.groups.push(always.to_owned());
        }
        Ok(user)
    }

    /// The question about one part of the identity.
    fn question(&self, mode: &Mode, group: &str, resource: &str, name: &str) -> Attributes {
        Attributes {
            user: self.request.user.clone(),
            verb: mode.verb.into(),
            is_resource: true,
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    /// A question as it is asked for one's own node: the answer must not depend on which node that is.
    fn seen(&self, mode: &Mode, mut attributes: Attributes) -> Attributes {
        if mode.verb == ASSOCIATED {
            let mut user = User::clone(&attributes.user);
            let keys = user.extra.keys().cloned().collect();
            user.extra =
                BTreeMap::from([("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)]);
            attributes.user = Arc::new(user);
            if attributes.verb == ASSOCIATED {
                attributes.name = "*".into();
            }
        }
        attributes
    }

    async fn part(&self, mode: &Mode, group: &str, resource: &str, name: &str) -> Result<(), Status> {
        self.server.authorize(&self.seen(mode, self.question(mode, group, resource, name))).await
    }

    async fn name(&self, mode: &Mode, constrained: bool, user: &mut User) -> Result<(), Status> {
        let wanted = self.wanted;
        let group = if constrained { AUTHENTICATION } else { "" };
        let mut question = self.question(mode, group, "users", &wanted.name);
        let what = match (node(&wanted.name), account(&wanted.name)) {
            (Some(node), _) if constrained => {
                (question.resource, question.name) = ("nodes".into(), node.into());
                user.groups = vec![NODES.to_owned()];
                "a node"
            }
            (_, Some((namespace, account))) => {
                question.resource = "serviceaccounts".into();
                (question.namespace, question.name) = (namespace.into(), account.into());
                if wanted.groups.is_empty() {
                    let groups = service_account(namespace, account, "").groups;
                    user.groups = groups.into_iter().filter(|group| group != AUTHENTICATED).collect();
                }
                "a service account"
            }
            _ => "",
        };
        if constrained && !what.is_empty() && !wanted.groups.is_empty() {
            let quoted: Vec<String> = wanted.groups.iter().map(|group| format!("{group:?}")).collect();
            let quoted = quoted.join(" ");
            let why = format!("when impersonating {what}, cannot impersonate groups [{quoted}]");
            return Err(refusal(&question, &why));
        }
        self.server.authorize(&self.seen(mode, question)).await
    }

    async fn groups(&self, mode: &Mode, constrained: bool) -> Result<(), Status> {
        let wanted = &self.wanted.groups;
        let group = if constrained { AUTHENTICATION } else { "" };
        let refused = |name: &str, why: &str| Err(refusal(&self.question(mode, group, "groups", name), why));
        if constrained && wanted.iter().any(String::is_empty) {
            return refused("", "impersonating the empty string group is not allowed");
        }
        if constrained && wanted.iter().any(|group| group == PRIVILEGED) {
            return refused(PRIVILEGED, "impersonating the system:masters group is not allowed");
        }
        if constrained && wanted.len() >= MANY && self.part(mode, group, "groups", "*").await.is_ok() {
            return Ok(());
        }
        for name in wanted {
            self.part(mode, group, "groups", name).await?;
        }
        Ok(())
    }

    async fn extra(&self, mode: &Mode, constrained: bool) -> Result<(), Status> {
        let wanted = &self.wanted.extra;
        if constrained && let Some(why) = wanted.iter().find_map(|(key, values)| bad_extra(key, values)) {
            return Err(refusal(&self.question(mode, AUTHENTICATION, "userextras", ""), &why));
        }
        let ask = async |key: &str, value: &str| {
            let mut question = self.question(mode, AUTHENTICATION, "userextras", value);
            question.subresource = key.to_owned();
            self.server.authorize(&self.seen(mode, question)).await
        };
        let many = wanted.len() >= MANY || wanted.values().map(Vec::len).sum::<usize>() >= MANY;
        if constrained && many && ask("*", "*").await.is_ok() {
            return Ok(());
        }
        for (key, values) in wanted {
            for value in values {
                ask(key, value).await?;
            }
        }
        Ok(())
    }
}

/// What the constrained modes do not take as extra attributes.
fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let prefixed = key
        .split_once('/')
        .is_some_and(|(domain, path)| name::dns_subdomain(domain).is_empty() && !path.is_empty());
    if !prefixed {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: {why}"
        ));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    if values.iter().any(String::is_empty) {
        return Some("impersonating the empty string value in extra is not allowed".to_owned());
    }
    None
}
