//! May this user do this? An ordered chain of authorizers, of which the first with an opinion decides.
//!
//! Answers to upstream's `union` authorizer with modes Node and RBAC and the privileged group.

pub mod bootstrap;
pub mod configuration;
pub mod escalation;
pub mod node;
pub mod rbac;
pub mod review;

use crate::{Attributes, Lookup, User};
use gifee_base::Status;
use std::sync::Arc;

/// Members may do everything, whatever the roles say: the way back in.
pub const PRIVILEGED_GROUP: &str = "system:masters";

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and by what.
    Allow(Arc<str>),
    /// Refused whatever others say, and why.
    Deny(Arc<str>),
    /// Not this authorizer's business, or not allowed by it; a reason if there is something to say.
    NoOpinion(Arc<str>),
}

/// A rule as `SelfSubjectRulesReview` lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs, or `*`.
    pub verbs: Vec<String>,
    /// API groups, or `*`.
    pub api_groups: Vec<String>,
    /// Resources, `resource/subresource`, `*/subresource` or `*`.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub resource_names: Vec<String>,
    /// URL paths, a trailing `*` for a prefix.
    pub non_resource_urls: Vec<String>,
}

/// What is known of somebody's rights in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Why there may be others; empty if there are none.
    pub incomplete: String,
}

impl Rules {
    /// Every right there is.
    pub fn everything() -> Self {
        Self { rules: escalation::everything(), incomplete: String::new() }
    }
}

/// The authorizers of a server.
#[derive(Default)]
pub struct Authorizer {
    rbac: rbac::Rbac,
}

impl Authorizer {
    /// With Node and RBAC, as upstream's `--authorization-mode=Node,RBAC`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides a request.
    pub fn authorize(&self, attributes: &Attributes, lookup: &dyn Lookup) -> Decision {
        if attributes.user.groups.iter().any(|group| group == PRIVILEGED_GROUP) {
            return Decision::Allow(Arc::default());
        }
        let reason = match node::authorize(attributes, lookup) {
            Decision::NoOpinion(reason) => reason,
            decided => return decided,
        };
        match self.rbac.authorize(attributes, lookup) {
            Decision::NoOpinion(_) if !reason.is_empty() => Decision::NoOpinion(reason),
            decided => decided,
        }
    }

    /// The rules that hold for a user in a namespace.
    pub fn rules(&self, user: &User, namespace: &str, lookup: &dyn Lookup) -> Rules {
        let mut rules = self.rbac.rules(user, namespace, lookup);
        if user.groups.iter().any(|group| group == PRIVILEGED_GROUP) {
            rules.extend(
                Rules::everything()
                    .rules
                    .into_iter()
                    .filter(|rule| !rules.contains(rule))
                    .collect::<Vec<_>>(),
            );
        }
        let incomplete = match node::node_of(&user.name, &user.groups) {
            Some(_) => "node authorizer does not support user rule resolution".to_owned(),
            None => String::new(),
        };
        Rules { rules, incomplete }
    }
}

/// The refusal of a request, in upstream's words.
pub fn refusal(attributes: &Attributes, reason: &str) -> Status {
    let user = &attributes.user.name;
    let mut why = if attributes.is_resource {
        let mut resource = attributes.resource.clone();
        if !attributes.subresource.is_empty() {
            resource = format!("{resource}/{}", attributes.subresource);
        }
        let scope = if attributes.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", attributes.namespace)
        };
        format!(
            "User {user:?} cannot {} resource {resource:?} in API group {:?} {scope}",
            attributes.verb, attributes.group
        )
    } else {
        format!("User {user:?} cannot {} path {:?}", attributes.verb, attributes.path)
    };
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    if attributes.is_resource {
        return Status::forbidden(&attributes.group, &attributes.resource, &attributes.name, &why);
    }
    let mut status = Status::forbidden("", "", "", &why);
    status.message = format!("forbidden: {why}");
    status
}

#[cfg(test)]
mod tests;
