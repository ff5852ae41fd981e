//! What the server serves: discovery, in one document for all groups, and group by group.
//!
//! Answers to apiserver's `endpoints/discovery` and its aggregated form.

use crate::aggregate::{insert_groups, insert_items};
use crate::body::Body;
use crate::documents::Caching;
use crate::kinds::{Kinds, Resource};
use crate::negotiate::{Accept, Media, Offer};
use crate::request::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::Status;
use gifee_base::gvk::api_version;
use gifee_registry::kind::{Scope, Verb};
use http::Response;
use http::header::ACCEPT;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_MESSAGE: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers `/api`, `/apis` and what is below them, without a resource.
pub fn answer(request: &Request<'_>, parts: &[&str]) -> Result<Response<Body>, Status> {
    let kinds = request.server.kinds.load();
    let kinds: &Kinds = &kinds;
    let documents = &request.server.documents;
    let aggregator = &request.server.aggregator;
    let (accept, content_type, whole) = form(request, parts)?;
    let make: Box<dyn FnOnce() -> Value + '_> = match parts {
        ["api"] if whole => Box::new(|| aggregated(kinds, true)),
        ["apis"] if whole => Box::new(|| {
            let mut value = aggregated(kinds, false);
            if let Some(items) = value["items"].as_array_mut() {
                insert_items(aggregator, items);
            }
            value
        }),
        ["api"] => {
            let host = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
            let value = json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [
                    { "clientCIDR": "0.0.0.0/0", "serverAddress": host.unwrap_or_default() }
                ],
            });
            return Ok(crate::respond::value(200, &accept, &versioned(&accept, value)));
        }
        ["apis"] => Box::new(|| {
            let mut groups: Vec<_> = groups(kinds).into_iter().map(|name| group(kinds, name)).collect();
            insert_groups(aggregator, &mut groups);
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }),
        ["api", version] if kinds.serves("", version) => {
            let version = (*version).to_owned();
            Box::new(move || resources(kinds, "", &version))
        }
        ["apis", name] if groups(kinds).contains(name) => {
            let name = (*name).to_owned();
            Box::new(move || {
                let mut value = group(kinds, &name);
                value["kind"] = "APIGroup".into();
                value["apiVersion"] = "v1".into();
                value
            })
        }
        ["apis", name] => {
            let mut all = Vec::new();
            insert_groups(aggregator, &mut all);
            let mut found = all.into_iter().find(|group| group["name"] == *name);
            let Some(mut value) = found.take() else { return Ok(crate::respond::page_not_found()) };
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            Box::new(move || value)
        }
        ["apis", name, version] if !name.is_empty() && kinds.serves(name, version) => {
            let (name, version) = ((*name).to_owned(), (*version).to_owned());
            Box::new(move || resources(kinds, &name, &version))
        }
        ["apis", name, ..] if !crate::dispatch::built_in(kinds, name) => {
            return Ok(crate::respond::page_not_found());
        }
        _ => return Err(Status::no_such_path()),
    };
    let pretty = if accept.pretty { " pretty" } else { "" };
    let name = format!("{} {content_type}{pretty}", parts.join("/"));
    let document = documents.get(kinds, aggregator.generation(), &name, content_type, || {
        crate::respond::encode(&accept, &versioned(&accept, make()))
    });
    document.respond(request.headers, Caching::Revalidate)
}

/// The form that is wanted, its content type, and whether it is one document for all groups.
fn form(request: &Request<'_>, parts: &[&str]) -> Result<(Accept, &'static str, bool), Status> {
    let whole = if matches!(parts, ["api" | "apis"]) { wants_aggregated(request) } else { None };
    Ok(match whole {
        Some(AGGREGATED_MESSAGE) => {
            (Accept { media: Media::Protobuf, ..Accept::JSON }, AGGREGATED_MESSAGE, true)
        }
        Some(content_type) => (Accept::JSON, content_type, true),
        None => {
            let accept = request.accept(Offer::Objects)?;
            (accept, accept.media.content_type(), false)
        }
    })
}

/// Some documents do not say their version in JSON, but a message is known by it.
fn versioned(accept: &Accept, mut value: Value) -> Value {
    if accept.media == Media::Protobuf && value["apiVersion"].is_null() {
        value["apiVersion"] = "v1".into();
    }
    value
}

/// The content type of one document for all groups, if that is preferred.
fn wants_aggregated(request: &Request<'_>) -> Option<&'static str> {
    let header = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for clause in header.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let content_type = match parts.next() {
            Some("application/json") => AGGREGATED,
            Some("application/vnd.kubernetes.protobuf") => AGGREGATED_MESSAGE,
            _ => continue,
        };
        let parameters: Vec<_> = parts.collect();
        if parameters.is_empty() {
            // The plain form is preferred to whatever follows.
            return None;
        }
        if ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
            .iter()
            .all(|one| parameters.contains(one))
        {
            return Some(content_type);
        }
    }
    None
}

/// Group names but the core group's, in the order of discovery.
fn groups(kinds: &Kinds) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for resource in kinds.all() {
        if !resource.group().is_empty() && !names.contains(&resource.group()) {
            names.push(resource.group());
        }
    }
    names
}

/// Versions of a group, the preferred one first.
fn versions<'a>(kinds: &'a Kinds, group: &str) -> Vec<&'a str> {
    let mut versions: Vec<&str> = Vec::new();
    for resource in kinds.all().iter().filter(|one| one.group() == group) {
        if !versions.contains(&resource.version()) {
            versions.push(resource.version());
        }
    }
    versions
}

fn group(kinds: &Kinds, name: &str) -> Value {
    let versions: Vec<Value> = versions(kinds, name)
        .into_iter()
        .map(|version| json!({ "groupVersion": api_version(name, version), "version": version }))
        .collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions.first() })
}

fn sorted<'a>(kinds: &'a Kinds, group: &str, version: &str) -> Vec<&'a Arc<Resource>> {
    let all = kinds.all().iter();
    let mut found: Vec<_> = all.filter(|one| one.group() == group && one.version() == version).collect();
    found.sort_by(|a, b| a.name().cmp(b.name()));
    found
}

/// The word of a verb, as discovery and RBAC have it.
pub fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "create",
        Verb::Delete => "delete",
        Verb::DeleteCollection => "deletecollection",
        Verb::Get => "get",
        Verb::List => "list",
        Verb::Patch => "patch",
        Verb::Update => "update",
        Verb::Watch => "watch",
    }
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    let mut sorted = verbs.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().map(verb_word).collect()
}

/// The verbs of a resource: of one that is on its way out, without what makes or changes objects.
fn offered(resource: &Resource) -> Vec<&'static str> {
    let mut verbs = verbs(resource.kind.verbs);
    if resource.kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        verbs.retain(|verb| !matches!(*verb, "create" | "patch" | "update"));
    }
    verbs
}

fn texts(list: &[Arc<str>]) -> Vec<&str> {
    list.iter().map(|one| &**one).collect()
}

fn resources(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in sorted(kinds, group, version) {
        let kind = &resource.kind;
        let mut value = json!({
            "name": resource.name(), "singularName": &*kind.singular, "namespaced": resource.namespaced(),
            "kind": &*kind.gvk.kind, "verbs": offered(resource),
        });
        if !kind.short_names.is_empty() {
            value["shortNames"] = texts(&kind.short_names).into();
        }
        if !kind.categories.is_empty() {
            value["categories"] = texts(&kind.categories).into();
        }
        if kind.stored {
            value["storageVersionHash"] = storage_version_hash(resource).into();
        }
        list.push(value);
        for part in &kind.subresources {
            let gvk = part.gvk.as_ref().unwrap_or(&kind.gvk);
            let mut value = json!({
                "name": format!("{}/{}", resource.name(), part.name), "singularName": "",
                "namespaced": resource.namespaced(), "kind": &*gvk.kind, "verbs": verbs(part.verbs),
            });
            if (&*gvk.group, &*gvk.version) != (group, version) {
                value["group"] = (&*gvk.group).into();
                value["version"] = (&*gvk.version).into();
            }
            list.push(value);
        }
    }
    let mut value =
        json!({ "kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": list });
    if !group.is_empty() {
        value["apiVersion"] = "v1".into();
    }
    value
}

fn storage_version_hash(resource: &Resource) -> String {
    let gvk = &resource.kind.gvk;
    let version = resource.kind.custom.as_ref().map_or(&gvk.version, |custom| &custom.stored_version);
    let digest = Sha256::digest(format!("{}/{version}/{}", gvk.group, gvk.kind));
    STANDARD.encode(&digest[..8])
}

fn aggregated(kinds: &Kinds, core: bool) -> Value {
    let names = if core { vec![""] } else { groups(kinds) };
    let items: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let versions: Vec<Value> = versions(kinds, name)
                .into_iter()
                .map(|version| {
                    let resources: Vec<_> =
                        sorted(kinds, name, version).into_iter().map(|one| discovered(one)).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    })
}

fn discovered(resource: &Resource) -> Value {
    let kind = &resource.kind;
    let response = |gvk: &gifee_base::Gvk| {
        let same = (&gvk.group, &gvk.version) == (&kind.gvk.group, &kind.gvk.version);
        let own = same && kind.custom.is_none();
        let (group, version) = if own { ("", "") } else { (&*gvk.group, &*gvk.version) };
        json!({ "group": group, "version": version, "kind": &*gvk.kind })
    };
    let mut value = json!({
        "resource": resource.name(), "responseKind": response(&kind.gvk), "singularResource": &*kind.singular,
        "scope": if kind.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
        "verbs": offered(resource),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = texts(&kind.short_names).into();
    }
    if !kind.categories.is_empty() {
        value["categories"] = texts(&kind.categories).into();
    }
    let parts: Vec<Value> = kind
        .subresources
        .iter()
        .map(|part| {
            let gvk = part.gvk.as_ref().unwrap_or(&kind.gvk);
            json!({ "subresource": &*part.name, "responseKind": response(gvk), "verbs": verbs(part.verbs) })
        })
        .collect();
    if !parts.is_empty() {
        value["subresources"] = parts.into();
    }
    value
}
