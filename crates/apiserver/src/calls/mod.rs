//! Requests that answer a body without storing one: reviews, and the calls that are subresources.
//!
//! Invariant: CALLS is the whole list; everything else is answered by the engine. Answers to the `Create`-only
//! storages of upstream's `pkg/registry`.

mod access;
mod binding;
mod component;
mod eviction;
mod identity;
mod token;

use crate::body::Body;
use crate::kinds::Resource;
use crate::negotiate::Offer;
use crate::request::Request;
use crate::{respond, usage};
use gifee_base::Status;
use http::Response;
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;

/// The answer of a call, on its way.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send + 'a>>;

/// One call.
type Call = for<'a> fn(&'a Request<'a>, &'a Arc<Resource>, Body) -> Answer<'a>;

/// All calls: group, resource, subresource.
const CALLS: &[(&str, &str, &str, Call)] = &[
    ("", "bindings", "", |request, resource, body| Box::pin(binding::bind(request, resource, body))),
    ("", "componentstatuses", "", |request, resource, _| Box::pin(component::answer(request, resource))),
    ("", "pods", "binding", |request, resource, body| Box::pin(binding::bind(request, resource, body))),
    ("", "pods", "eviction", |request, resource, body| Box::pin(eviction::evict(request, resource, body))),
    ("", "serviceaccounts", "token", |request, resource, body| {
        Box::pin(token::issue(request, resource, body))
    }),
    ("authentication.k8s.io", "selfsubjectreviews", "", |request, resource, body| {
        Box::pin(identity::self_review(request, resource, body))
    }),
    ("authentication.k8s.io", "tokenreviews", "", |request, resource, body| {
        Box::pin(identity::token_review(request, resource, body))
    }),
    ("authorization.k8s.io", "localsubjectaccessreviews", "", |request, resource, body| {
        Box::pin(access::review(request, resource, body, access::Subject::Local))
    }),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "", |request, resource, body| {
        Box::pin(access::review(request, resource, body, access::Subject::Caller))
    }),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "", |request, resource, body| {
        Box::pin(access::rules(request, resource, body))
    }),
    ("authorization.k8s.io", "subjectaccessreviews", "", |request, resource, body| {
        Box::pin(access::review(request, resource, body, access::Subject::Named))
    }),
    ("metrics.k8s.io", "nodes", "", |request, resource, _| Box::pin(usage::answer(request, resource))),
    ("metrics.k8s.io", "pods", "", |request, resource, _| Box::pin(usage::answer(request, resource))),
];

/// Answers a call.
pub async fn answer(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    subresource: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    let key = (resource.group(), resource.name(), subresource);
    let found = CALLS.iter().find(|(group, name, part, _)| (*group, *name, *part) == key);
    let (_, _, _, call) = found.ok_or_else(Status::no_such_path)?;
    call(request, resource, body).await
}

/// 201 with the body of a call.
fn answered(request: &Request<'_>, value: &Value) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Objects)?;
    Ok(respond::value(201, &accept, value))
}

/// 201 with a status that says nothing but success.
fn succeeded(request: &Request<'_>) -> Result<Response<Body>, Status> {
    let status =
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    answered(request, &status)
}
