//! Streams that a node's kubelet serves: logs, exec, attach, port-forward.
//!
//! Answers to upstream's `pod` location functions and to the paths of the kubelet's server.

use super::forward::{Backend, Onward, forward, headers};
use super::object;
use crate::body::Body;
use crate::kinds::Resource;
use crate::read::socket;
use crate::request::Request;
use crate::respond;
use crate::seam::Target;
use crate::server::Server;
use gifee_base::{FieldError, ObjectKey, Path, Reason, Status};
use gifee_policy::Lookup;
use http::{Method, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;

/// Where a kubelet listens if its node does not say.
pub const KUBELET_PORT: u16 = 10_250;
/// Bytes of a refusal of the kubelet that are passed on.
const REFUSAL_BYTES: usize = 50 << 10;
/// Options of a log that the kubelet understands under the same name.
const LOG_OPTIONS: [&str; 8] =
    ["follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "stream", "tailLines", "timestamps"];

/// Streams of a container, sorted.
const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

/// The address of a node's kubelet.
///
/// # Errors
/// 404 if there is no such node, 503 if it has no address.
pub fn kubelet(server: &Server, node: &str) -> Result<Target, Status> {
    let found = Lookup::get(&*server.caches, "", "nodes", &ObjectKey::cluster(node));
    let value = found.ok_or_else(|| Status::not_found("", "nodes", node))?;
    let value = value.to_value().map_err(Status::internal)?;
    let status = &value["status"];
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port =
        port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(KUBELET_PORT);
    let addresses = status["addresses"].as_array().into_iter().flatten();
    let of = |kind: &str| {
        let mut all = addresses.clone();
        all.find(|one| one["type"] == kind).and_then(|one| one["address"].as_str()).map(str::to_owned)
    };
    let host = of("InternalIP").or_else(|| of("Hostname")).or_else(|| of("ExternalIP"));
    let host = host.ok_or_else(|| {
        Status::unavailable(format!("no preferred addresses found; known addresses of node {node:?}: []"))
    })?;
    Ok(Target { host, port, tls: true })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}

/// The container that a request is for.
fn container(request: &Request<'_>, pod: &Value, with_init: bool) -> Result<String, Status> {
    let name = &*request.info.name;
    let containers = names(&pod["spec"]["containers"]);
    let others = [names(&pod["spec"]["initContainers"]), names(&pod["spec"]["ephemeralContainers"])].concat();
    if let Some(asked) = request.query.get("container") {
        if containers.contains(&asked) || others.contains(&asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    match containers.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        many => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            );
            let init = names(&pod["spec"]["initContainers"]);
            if with_init && !init.is_empty() {
                let _ = write!(text, " or one of the init containers: [{}]", init.join(" "));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// Answers `pods/x/log`.
pub async fn log(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    log_options(request)?;
    let pod = object(request, resource, &request.info.name).await?;
    let container = container(request, &pod, true)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let target = kubelet(request.server, node)?;
    let info = request.info;
    let mut path = format!("/containerLogs/{}/{}/{}", info.namespace, info.name, encoded(&container));
    let mut sign = '?';
    for option in LOG_OPTIONS {
        if let Some(value) = request.query.get(option) {
            let _ = write!(path, "{sign}{option}={}", encoded(value));
            sign = '&';
        }
    }
    let onward =
        Onward { method: &Method::GET, path: &path, headers: headers(request, false), body: Body::empty() };
    let response = forward(request, &Backend::Node(target), onward).await?;
    let code = response.status().as_u16();
    if !(200..300).contains(&code) {
        return Err(refusal(request, response).await);
    }
    if socket::wanted(request.headers) {
        let pieces = http_body_util::BodyDataStream::new(response.into_body());
        return socket::upgrade(request, socket::shape(request.headers), pieces);
    }
    Ok(respond::text(200, response.into_body()))
}

/// Refuses options that make no sense, before anything is looked for.
fn log_options(request: &Request<'_>) -> Result<(), Status> {
    let number = |name: &str| match request.query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        },
    };
    let (tail, bytes, seconds) = (number("tailLines")?, number("limitBytes")?, number("sinceSeconds")?);
    let mut errors = Vec::new();
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&Path::root("tailLines"), tail, why));
    }
    if let Some(bytes) = bytes.filter(|bytes| *bytes < 1) {
        errors.push(FieldError::invalid(&Path::root("limitBytes"), bytes, "must be greater than 0"));
    }
    match seconds {
        Some(_) if request.query.get("sinceTime").is_some() => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden(&Path::root(""), why));
        }
        Some(seconds) if seconds < 1 => {
            errors.push(FieldError::invalid(&Path::root("sinceSeconds"), seconds, "must be greater than 0"));
        }
        _ => {}
    }
    if let Some(stream) = request.query.get("stream").filter(|one| !STREAMS.contains(one)) {
        errors.push(FieldError::not_supported(&Path::root("stream"), stream, &STREAMS));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "PodLogOptions", &request.info.name, &errors))
}

/// What a refusal of the kubelet is to the client.
async fn refusal(request: &Request<'_>, response: Response<Body>) -> Status {
    let code = response.status().as_u16();
    let bytes = response.into_body().read(REFUSAL_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => {
            let name = &request.info.name;
            let message = format!("the server could not find the requested resource ( pods/log {name})");
            let mut status = Status::new(Reason::NotFound, message);
            let details = status.details.get_or_insert_default();
            details.name = name.to_string();
            details.kind = "pods/log".into();
            details.causes.push(gifee_base::Cause {
                reason: "UnexpectedServerResponse".into(),
                message: text,
                field: String::new(),
            });
            status
        }
        503 => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

/// Answers `pods/x/exec` and `pods/x/attach`.
pub async fn exec(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    verb: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    let pod = object(request, resource, &request.info.name).await?;
    let container = container(request, &pod, false)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", request.info.name)));
    }
    let target = kubelet(request.server, node)?;
    let (query, info) = (request.query, request.info);
    let mut path = format!("/{verb}/{}/{}/{}", info.namespace, info.name, encoded(&container));
    let mut sign = '?';
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(ours) {
            let _ = write!(path, "{sign}{theirs}=1");
            sign = '&';
        }
    }
    for word in query.all("command") {
        let _ = write!(path, "{sign}command={}", encoded(word));
        sign = '&';
    }
    let onward = Onward { method: request.method, path: &path, headers: headers(request, false), body };
    forward(request, &Backend::Node(target), onward).await
}

/// Answers `pods/x/portforward`.
pub async fn port_forward(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let pod = object(request, resource, &request.info.name).await?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", request.info.name)));
    }
    let target = kubelet(request.server, node)?;
    let mut path = format!("/portForward/{}/{}", request.info.namespace, request.info.name);
    let mut sign = '?';
    let ports = request.query.all("ports").chain(request.query.all("port"));
    for port in ports.flat_map(|ports| ports.split(',')) {
        let _ = write!(path, "{sign}port={}", encoded(port));
        sign = '&';
    }
    let onward = Onward { method: request.method, path: &path, headers: headers(request, false), body };
    forward(request, &Backend::Node(target), onward).await
}
