//! From what a request asks for to who answers it.
//!
//! Invariant: resources are answered by verb and by the action of their subresource, never by kind.

use crate::body::Body;
use crate::kinds::{Kinds, Resource};
use crate::request::Request;
use crate::{aggregate, calls, connect, paths, read, respond, write};
use gifee_base::{Reason, Status};
use gifee_registry::kind::{Action, Subresource, Verb};
use http::{Method, Response};
use std::sync::Arc;

/// Resources whose every use is answered with a warning, in upstream's words.
const DEPRECATED: &[(&str, &str, &str)] = &[
    ("", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ("", "endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// Answers a request that may be answered.
pub async fn dispatch(request: &Request<'_>, mut body: Body) -> Result<Response<Body>, Status> {
    let info = request.info;
    let Some(resource) = request.resource.filter(|_| info.is_resource) else {
        if let Some(answered) = Box::pin(aggregate::answer(request, &mut body)).await {
            return answered;
        }
        return match info.is_resource {
            false => paths::answer(request).await,
            // A group that is built in has routes of its own, which say so; anything else has none.
            true if built_in(&request.server.kinds.load(), &info.group) => Err(Status::no_such_path()),
            true => Ok(respond::page_not_found()),
        };
    };
    if let Some(misplaced) = misplaced(request, resource) {
        return match resource.kind.custom {
            Some(_) => Ok(respond::page_not_found()),
            None => Err(misplaced),
        };
    }
    let deprecated = DEPRECATED.iter().find(|one| (one.0, one.1) == (resource.group(), resource.name()));
    if let Some((_, _, warning)) = deprecated {
        request.server.metrics.requests.deprecated(info, resource);
        request.warn(*warning);
    }
    if let Some(warning) = resource.kind.custom.as_ref().and_then(|custom| custom.warning.as_ref()) {
        request.server.metrics.requests.deprecated(info, resource);
        request.warn(warning);
    }
    if info.subresource.is_empty() {
        return object(request, resource, body).await;
    }
    let part = resource.subresource(&info.subresource).ok_or_else(|| match resource.kind.custom {
        Some(_) => request.not_found(resource, &info.name),
        None => Status::no_such_path(),
    })?;
    subresource(request, resource, part, body).await
}

/// Whether a group has kinds that are no custom resources.
pub fn built_in(kinds: &Kinds, group: &str) -> bool {
    kinds.all().iter().any(|one| one.group() == group && one.kind.custom.is_none())
}

/// What is wrong with a path in a namespace for what has none, and the other way round.
fn misplaced(request: &Request<'_>, resource: &Resource) -> Option<Status> {
    let info = request.info;
    if resource.namespaced() {
        let everywhere = matches!(info.verb, "list" | "watch") && info.subresource.is_empty();
        if info.namespace.is_empty() && !everywhere {
            let collection = matches!(info.verb, "create" | "deletecollection");
            return Some(if collection { not_allowed() } else { Status::no_such_path() });
        }
        return None;
    }
    // The path of a Namespace names itself as the namespace.
    let itself = info.group.is_empty() && info.resource == "namespaces";
    (!info.namespace.is_empty() && !itself).then(Status::no_such_path)
}

/// 405 in upstream's words.
pub fn not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    let mut status = Status::new(Reason::MethodNotAllowed, message);
    status.details = Some(Box::default());
    status
}

/// The same of a custom resource.
fn not_supported(request: &Request<'_>, resource: &Resource) -> Status {
    let (group, name) = (resource.group(), resource.name());
    let message = format!("{} is not supported on resources of kind \"{name}.{group}\"", request.info.verb);
    let mut status = Status::new(Reason::MethodNotAllowed, message);
    let details = status.details.get_or_insert_default();
    (details.group, details.kind) = (group.into(), name.into());
    status
}

fn refused(request: &Request<'_>, resource: &Resource) -> Status {
    match resource.kind.custom {
        Some(_) => not_supported(request, resource),
        None => not_allowed(),
    }
}

fn verb(request: &Request<'_>) -> Option<Verb> {
    let custom = request.resource.is_some_and(|resource| resource.kind.custom.is_some());
    // Routes of built-in kinds are of one method each.
    if *request.method == Method::HEAD && !custom {
        return None;
    }
    Some(match request.info.verb {
        "get" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        "deletecollection" => Verb::DeleteCollection,
        _ => return None,
    })
}

/// Refuses names that no object can be stored under.
fn placeable(name: &str) -> Result<(), Status> {
    let wrong = gifee_base::name::path_segment(name);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Status::bad_request(format!("Name parameter invalid: {name:?}: {}", wrong.join(";"))))
}

async fn object(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let verb = verb(request).filter(|verb| resource.offers(*verb));
    let verb = verb.ok_or_else(|| refused(request, resource))?;
    let named = !request.info.name.is_empty();
    if !resource.kind.stored {
        return calls::answer(request, resource, "", body).await;
    }
    placeable(&request.info.name)?;
    match verb {
        Verb::Get => read::get(request, resource).await,
        Verb::List => read::list(request, resource).await,
        Verb::Watch => read::watch(request, resource).await,
        // The route of custom resources looks at no name.
        Verb::Create if !named || resource.kind.custom.is_some() => {
            Box::pin(write::create(request, resource, body)).await
        }
        Verb::Update if named => Box::pin(write::put(request, resource, "", body)).await,
        Verb::Patch if named => Box::pin(write::patch(request, resource, "", body)).await,
        Verb::Delete => Box::pin(write::delete(request, resource, body)).await,
        Verb::DeleteCollection => Box::pin(write::delete_collection(request, resource, body)).await,
        Verb::Update | Verb::Patch if resource.kind.custom.is_some() => {
            Err(Status::bad_request("name must be provided"))
        }
        Verb::Create | Verb::Update | Verb::Patch => Err(not_allowed()),
    }
}

async fn subresource(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    part: &Subresource,
    body: Body,
) -> Result<Response<Body>, Status> {
    if part.action == Action::Connect {
        if !connect::takes(&part.name, request.method) {
            return Err(not_allowed());
        }
        return connect::answer(request, resource, &part.name, body).await;
    }
    let verb = verb(request).filter(|verb| part.verbs.contains(verb));
    let verb = verb.ok_or_else(|| refused(request, resource))?;
    match (part.action, verb) {
        (Action::Part, Verb::Get) => read::get(request, resource).await,
        (Action::Part, Verb::Update) => Box::pin(write::put(request, resource, &part.name, body)).await,
        (Action::Part, Verb::Patch) => Box::pin(write::patch(request, resource, &part.name, body)).await,
        (Action::Scale, Verb::Get) => write::get_scale(request, resource).await,
        (Action::Scale, Verb::Update) => Box::pin(write::put_scale(request, resource, body)).await,
        (Action::Scale, Verb::Patch) => Box::pin(write::patch_scale(request, resource, body)).await,
        (Action::Call, _) => calls::answer(request, resource, &part.name, body).await,
        _ => Err(not_allowed()),
    }
}
