//! metrics.k8s.io: what nodes and pods use, asked of their nodes when somebody wants to know.
//!
//! Invariant: nothing is asked of a node twice within [`scrape::FRESH`], and nothing at all unless somebody asks here;
//! a node that does not answer is left out. Whoever registers an APIService of another server for this group takes
//! its place. Answers to metrics-server.

mod scrape;

pub use scrape::Scrapes;

use crate::body::Body;
use crate::cache::{Cache, Entry, Filter};
use crate::kinds::Resource;
use crate::lookup::cache_key;
use crate::negotiate::Offer;
use crate::read::respond_object;
use crate::render::Renderer;
use crate::request::Request;
use crate::respond;
use bytes::Bytes;
use gifee_base::clock::format_time;
use gifee_base::{FieldSelector, LabelSelector, Object, Status};
use gifee_schema::check::print_duration;
use gifee_schema::protobuf::envelope::ListMeta;
use http::Response;
use scrape::{Amounts, Scrape};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Group and version.
pub const PLACE: (&str, &str) = ("metrics.k8s.io", "v1beta1");

/// Answers get and list of both resources.
pub async fn answer(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let info = request.info;
    let cache = request.server.caches.find("", resource.name()).ok_or_else(Status::no_such_path)?;
    let now = request.server.config.clock.now();
    if info.verb == "get" {
        let namespace = info.namespace_of(resource);
        let entry = cache.get(&cache_key(namespace, &info.name));
        let entry = entry.ok_or_else(|| Status::not_found("", resource.name(), &info.name))?;
        let found = metrics(request, resource, &cache, &[entry]).await?;
        let object = found.first().ok_or_else(|| unknown(resource, namespace, &info.name))?;
        return respond_object(request, resource, &accept, 200, object);
    }
    accept.fits(true, &resource.kind)?;
    let renderer = Renderer::new(resource, &accept, request.query, now.as_second())?;
    let filter = filter(request, resource, &cache)?;
    let snapshot = cache.snapshot();
    let chosen: Vec<Arc<Entry>> =
        snapshot.objects.values().filter(|entry| filter.matches(entry)).cloned().collect();
    let all = metrics(request, resource, &cache, &chosen).await?;
    let out = renderer.whole_list(&ListMeta::default(), all.iter());
    Ok(respond::bytes(200, renderer.content_type(), out))
}

/// 404 in metrics-server's words.
fn unknown(resource: &Resource, namespace: &str, name: &str) -> Status {
    let kind = resource.kind.gvk.kind.to_ascii_lowercase();
    let name = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    Status::not_found(resource.group(), &kind, &name)
}

/// The nodes or pods that a list is about.
fn filter(request: &Request<'_>, resource: &Resource, cache: &Cache) -> Result<Filter, Status> {
    let labels = request.query.get("labelSelector").map(LabelSelector::parse).transpose();
    let labels = labels.map_err(Status::bad_request)?.unwrap_or_else(LabelSelector::everything);
    let fields = request.query.get("fieldSelector").map(FieldSelector::parse).transpose();
    let fields = fields.map_err(Status::bad_request)?.unwrap_or_else(FieldSelector::everything);
    let known = ["metadata.name", "metadata.namespace"];
    if let Some(other) = fields.requirements.iter().find(|one| !known.contains(&&*one.field)) {
        let why = format!(
            "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            other.field
        );
        return Err(Status::bad_request(why));
    }
    let namespace = if resource.namespaced() { &*request.info.namespace } else { "" };
    Filter::new(&cache.fields, resource.namespaced(), namespace, None, labels, &fields)
        .map_err(|field| Status::bad_request(format!("field label not supported: {field}")))
}

/// What these nodes or pods use; those of which nothing is known are left out.
async fn metrics(
    request: &Request<'_>,
    resource: &Resource,
    cache: &Cache,
    chosen: &[Arc<Entry>],
) -> Result<Vec<Object>, Status> {
    let server = request.server;
    if !resource.namespaced() {
        let names = chosen.iter().map(|entry| entry.object.name().to_owned());
        let scrapes = server.usage.of(server, names.collect()).await;
        let found = chosen.iter().filter_map(|entry| {
            let scrape = scrapes.get(entry.object.name())?;
            let usage = usage(&scrape.summary.node)?;
            Some(object(resource, entry, scrape, "usage", usage))
        });
        return found.collect();
    }
    let index = |name: &str| cache.fields.index(name);
    let field = |entry: &Arc<Entry>, index: Option<usize>| -> String {
        index.map(|index| entry.field(&cache.fields, index).to_owned()).unwrap_or_default()
    };
    let (node, phase) = (index("spec.nodeName"), index("status.phase"));
    let running: Vec<(&Arc<Entry>, String)> = chosen
        .iter()
        .filter(|entry| field(entry, phase) == "Running")
        .map(|entry| (entry, field(entry, node)))
        .filter(|(_, node)| !node.is_empty())
        .collect();
    let mut names: Vec<String> = running.iter().map(|(_, node)| node.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let scrapes = server.usage.of(server, names).await;
    let found = running.into_iter().filter_map(|(entry, node)| {
        let scrape = scrapes.get(&node)?;
        let containers =
            scrape.pods.get(entry.object.uid()).map(|at| &scrape.summary.pods[*at].containers)?;
        let known = containers
            .iter()
            .filter_map(|one| usage(&one.amounts).map(|usage| json!({ "name": one.name, "usage": usage })));
        let known: Vec<Value> = known.collect();
        (!known.is_empty()).then(|| object(resource, entry, scrape, "containers", known.into()))
    });
    found.collect()
}

/// CPU and memory, if both are known.
fn usage(amounts: &Amounts) -> Option<Value> {
    let (cpu, memory) = amounts.known()?;
    let quantity = |text: String| gifee_base::quantity::canonical(&text).unwrap_or(text);
    let memory = if memory % 1024 == 0 { format!("{}Ki", memory / 1024) } else { memory.to_string() };
    Some(json!({ "cpu": quantity(format!("{cpu}n")), "memory": quantity(memory) }))
}

/// An object about a node or a pod.
fn object(
    resource: &Resource,
    of: &Entry,
    scrape: &Scrape,
    field: &str,
    value: Value,
) -> Result<Object, Status> {
    let time = format_time(scrape.at);
    let mut metadata = json!({ "name": of.object.name(), "creationTimestamp": time });
    if resource.namespaced() {
        metadata["namespace"] = of.object.namespace().into();
    }
    let labels: Map<String, Value> =
        of.object.labels().map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !labels.is_empty() {
        metadata["labels"] = labels.into();
    }
    let mut tree = json!({
        "kind": &*resource.kind.gvk.kind, "apiVersion": resource.api_version, "metadata": metadata,
        "timestamp": time, "window": print_duration(scrape.window),
    });
    tree[field] = value;
    Object::received(Bytes::from(tree.to_string())).map_err(Status::internal)
}

/// The places of pods in a summary, by UID.
fn places(summary: &scrape::Summary) -> HashMap<String, usize> {
    summary.pods.iter().enumerate().map(|(at, pod)| (pod.pod_ref.uid.clone(), at)).collect()
}
