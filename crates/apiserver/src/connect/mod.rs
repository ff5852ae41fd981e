//! Streams to nodes, pods and services: logs, exec, attach, port-forward, proxies.
//!
//! Invariant: the server opens the connection itself, with its own credentials, only to what an object names;
//! the client's credentials never go on. Answers to upstream's `Connect` storages and `UpgradeAwareHandler`.

mod forward;
mod kubelet;
mod links;
mod proxy;
mod rewrite;
mod tunnel;

pub use forward::{Backend, Onward, forward, headers, send};
pub use kubelet::kubelet;
pub use rewrite::Rewriting;

use crate::body::Body;
use crate::kinds::Resource;
use crate::request::Request;
use crate::seam::Operation;
use crate::write::Write;
use gifee_base::Status;
use http::{Method, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// Streams that, opened by a GET as WebSockets are, need the right to create, too.
const INTERACTIVE: [&str; 3] = ["attach", "exec", "portforward"];

/// Whether a streaming subresource takes a method: proxies take nearly all.
pub fn takes(subresource: &str, method: &Method) -> bool {
    match subresource {
        "proxy" => !matches!(*method, Method::CONNECT | Method::TRACE),
        "log" => *method == Method::GET,
        _ => matches!(*method, Method::GET | Method::POST),
    }
}

/// Answers a streaming subresource.
pub async fn answer(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    subresource: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    if *request.method == Method::GET && INTERACTIVE.contains(&subresource) {
        let mut attributes = request.attributes.clone();
        attributes.verb = "create".into();
        request.server.authorize(&attributes).await?;
    }
    let write = Write::new(request, resource, subresource)?;
    if subresource != "log" {
        let mut options = options(request, resource, subresource);
        write.mutate(Operation::Connect, &mut options, None).await?;
        write.admit_validated(Operation::Connect, &mut options, None).await?;
    }
    match (resource.name(), subresource) {
        ("pods", "log") => kubelet::log(request, resource).await,
        ("pods", "exec" | "attach") => kubelet::exec(request, resource, subresource, body).await,
        ("pods", "portforward") => kubelet::port_forward(request, resource, body).await,
        ("pods", "proxy") => proxy::pod(request, resource, body).await,
        ("services", "proxy") => proxy::service(request, resource, body).await,
        ("nodes", "proxy") => proxy::node(request, resource, body).await,
        _ => Err(Status::no_such_path()),
    }
}

/// What is asked of a stream, as admission sees it.
fn options(request: &Request<'_>, resource: &Resource, subresource: &str) -> Value {
    let part = resource.subresource(subresource).and_then(|part| part.gvk.as_ref());
    let kind = &part.unwrap_or(&resource.kind.gvk).kind;
    let mut options = json!({ "kind": &**kind, "apiVersion": "v1" });
    match subresource {
        "proxy" if !request.info.rest.is_empty() => {
            let path = percent_encoding::percent_decode_str(request.info.rest).decode_utf8_lossy();
            options["path"] = path.into_owned().into();
        }
        "portforward" => {
            let ports: Vec<u16> = request.query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = ports.into();
            }
        }
        "exec" | "attach" => {
            for field in
                ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|one| request.query.flag(one))
            {
                options[field] = true.into();
            }
            if let Some(container) = request.query.get("container") {
                options["container"] = container.into();
            }
            if subresource == "exec" {
                options["command"] = request.query.all("command").collect::<Vec<_>>().into();
            }
        }
        _ => {}
    }
    options
}

/// An object that a stream goes to.
async fn object(request: &Request<'_>, resource: &Resource, name: &str) -> Result<Value, Status> {
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let namespace = request.info.namespace_of(resource);
    let object = crate::read::newest(request.server, cache, namespace, name).await?;
    let object = object.ok_or_else(|| request.not_found(resource, name))?;
    object.to_value().map_err(Status::internal)
}
