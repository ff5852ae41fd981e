//! `authorizer`: checks of what a user may do, put together word by word. Answers to the apiserver's
//! `library/authz.go`.

use std::sync::Arc;

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::Value;

/// Who decides. Implemented by the owner of users and rules.
pub trait Authorize: Send + Sync {
    /// Decides a request. With `account` (namespace and name) it is a service account's, else the user's whose
    /// request is looked at.
    fn authorize(&self, account: Option<(&str, &str)>, request: &Request) -> Decision;
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The path, for what is no resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Verb.
    pub verb: String,
    /// Field selector, in the form of a query.
    pub field_selector: String,
    /// Label selector, in the form of a query.
    pub label_selector: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// Why it could not be decided.
    pub error: Option<String>,
}

/// An authorizer and as much of a request as has been said.
#[derive(Clone)]
pub struct Check<'a> {
    authorizer: &'a (dyn Authorize + 'a),
    account: Option<(String, String)>,
    stage: Stage,
    request: Request,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Path,
    Group,
    Resource,
}

impl<'a> Check<'a> {
    /// The variable `authorizer`.
    pub fn new(authorizer: &'a (dyn Authorize + 'a)) -> Check<'a> {
        Check { authorizer, account: None, stage: Stage::Start, request: Request::default() }
    }

    /// The variable `authorizer.requestResource`: a request that is known already.
    pub fn resource(authorizer: &'a (dyn Authorize + 'a), request: Request) -> Check<'a> {
        Check { authorizer, account: None, stage: Stage::Resource, request }
    }

    pub(in crate::cel) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Start => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "path" => |arguments, _| {
            step(arguments, Stage::Start, Stage::Path, |request, word| request.path = Some(word))
        },
        "group" => {
            |arguments, _| step(arguments, Stage::Start, Stage::Group, |request, word| request.group = word)
        }
        "resource" => |arguments, _| {
            step(arguments, Stage::Group, Stage::Resource, |request, word| request.resource = word)
        },
        "subresource" => |arguments, _| detail(arguments, |request, word| request.subresource = word),
        "namespace" => |arguments, _| detail(arguments, |request, word| request.namespace = word),
        "name" => |arguments, _| detail(arguments, |request, word| request.name = word),
        "fieldSelector" => |arguments, _| detail(arguments, |request, word| request.field_selector = word),
        "labelSelector" => |arguments, _| detail(arguments, |request, word| request.label_selector = word),
        "serviceAccount" => account,
        "check" => check,
        "allowed" => |arguments, _| answer(arguments, |decision| Value::Bool(decision.allowed)),
        "reason" => |arguments, _| answer(arguments, |decision| Value::text(decision.reason.as_str())),
        "errored" => |arguments, _| answer(arguments, |decision| Value::Bool(decision.error.is_some())),
        "error" => {
            |arguments, _| answer(arguments, |decision| Value::text(decision.error.as_deref().unwrap_or("")))
        }
        _ => return None,
    })
}

fn step<'a>(arguments: &[Value<'a>], from: Stage, to: Stage, set: fn(&mut Request, String)) -> Outcome<'a> {
    match arguments {
        [Value::Check(check), Value::String(word)] if check.stage == from => {
            let mut next = (**check).clone();
            next.stage = to;
            set(&mut next.request, word.to_string());
            Ok(Value::Check(Arc::new(next)))
        }
        _ => Err(Error::overload()),
    }
}

fn detail<'a>(arguments: &[Value<'a>], set: fn(&mut Request, String)) -> Outcome<'a> {
    step(arguments, Stage::Resource, Stage::Resource, set)
}

fn account<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let [Value::Check(check), Value::String(namespace), Value::String(name)] = arguments else {
        return Err(Error::overload());
    };
    if check.stage != Stage::Start {
        return Err(Error::overload());
    }
    if !gifee_base::name::dns_subdomain(name).is_empty() {
        return Err(Error::new("Invalid service account name"));
    }
    if !gifee_base::name::dns_label(namespace).is_empty() {
        return Err(Error::new("Invalid service account namespace"));
    }
    let mut next = (**check).clone();
    next.account = Some((namespace.to_string(), name.to_string()));
    Ok(Value::Check(Arc::new(next)))
}

fn check<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let [Value::Check(check), Value::String(verb)] = arguments else { return Err(Error::overload()) };
    if !matches!(check.stage, Stage::Path | Stage::Resource) {
        return Err(Error::overload());
    }
    let request = Request { verb: verb.to_string(), ..check.request.clone() };
    let account = check.account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    Ok(Value::Decision(Arc::new(check.authorizer.authorize(account, &request))))
}

fn answer<'a>(arguments: &[Value<'a>], answer: fn(&Decision) -> Value<'static>) -> Outcome<'a> {
    match arguments {
        [Value::Decision(decision)] => Ok(answer(decision)),
        _ => Err(Error::overload()),
    }
}
