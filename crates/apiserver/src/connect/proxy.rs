//! HTTP proxies to pods, services and nodes: `[scheme:]name[:port]/proxy/path`.
//!
//! Answers to upstream's `ProxyREST` of pods, services and nodes and to its `UpgradeAwareHandler`.

use super::forward::{Backend, Onward, forward, headers};
use super::kubelet::kubelet;
use super::object;
use super::rewrite::Rewriting;
use crate::body::Body;
use crate::kinds::Resource;
use crate::outbound::{Endpoint, Place, Trust, slices};
use crate::request::Request;
use gifee_base::{ObjectKey, Status};
use gifee_policy::Lookup;
use http::header::{HOST, HeaderName, HeaderValue, LOCATION, UPGRADE};
use http::{Method, Response, StatusCode};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// The path that the client asked for.
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// `[scheme:]name[:port]`, taken apart.
fn split<'a>(what: &str, text: &'a str) -> Result<(bool, &'a str, &'a str), Status> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] if !name.is_empty() => Ok((false, name, "")),
        [name, port] if !name.is_empty() => Ok((false, name, port)),
        ["http" | "", name, port] if !name.is_empty() => Ok((false, name, port)),
        ["https", name, port] if !name.is_empty() => Ok((true, name, port)),
        _ => Err(Status::bad_request(format!("invalid {what} request {text:?}"))),
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

/// A pod or service, or another port of a node: whoever answers there is believed, as upstream does.
fn peer(tls: bool, host: &str, port: u16) -> Backend {
    let mut endpoint = Endpoint::new(Place::Address { tls, host: host.to_owned(), port });
    endpoint.trust = Trust::Anything;
    Backend::Peer(Box::new(endpoint))
}

/// Refuses addresses of this machine itself and of its link: behind them is nothing of the cluster.
fn proxyable(host: &str) -> Result<(), Status> {
    let allowed = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            !(address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_unspecified())
        }
        Ok(IpAddr::V6(address)) => {
            !(address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_unspecified())
        }
        Err(_) => false,
    };
    if allowed { Ok(()) } else { Err(Status::bad_request("address not allowed")) }
}

/// Answers `pods/x/proxy`.
pub async fn pod(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let (tls, name, port) = split("pod", &request.info.name)?;
    let pod = object(request, resource, name).await?;
    let host = pod["status"]["podIPs"][0]["ip"].as_str().or(pod["status"]["podIP"].as_str());
    let host = host.unwrap_or_default();
    proxyable(host)?;
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|one| one["ports"].as_array().into_iter().flatten());
    let port = match port {
        "" => ports.find_map(|one| number(&one["containerPort"])).unwrap_or(if tls { 443 } else { 80 }),
        text => match text.parse() {
            Ok(port) => port,
            Err(_) => ports
                .find(|one| one["name"] == text)
                .and_then(|one| number(&one["containerPort"]))
                .ok_or_else(|| Status::bad_request(format!("no port named {text:?} in pod {name}")))?,
        },
    };
    pass(request, &peer(tls, host, port), &format!("{host}:{port}"), body).await
}

/// Answers `services/x/proxy`.
pub async fn service(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let (tls, name, port) = split("service", &request.info.name)?;
    let service = object(request, resource, name).await?;
    let mut port_name = port;
    if let Ok(wanted) = port.parse::<u64>() {
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let found = ports.find(|one| one["port"] == wanted);
        let found = found.ok_or_else(|| {
            Status::unavailable(format!("no service port {wanted} found for service {name:?}"))
        })?;
        port_name = found["name"].as_str().unwrap_or_default();
    }
    let (host, port) = endpoint(request, name, port_name)
        .ok_or_else(|| Status::unavailable(format!("no endpoints available for service {name:?}")))?;
    pass(request, &peer(tls, &host, port), &format!("{host}:{port}"), body).await
}

/// Any ready endpoint of a service's port that is a pod of its namespace: an EndpointSlice can name any address.
fn endpoint(request: &Request<'_>, service: &str, port_name: &str) -> Option<(String, u16)> {
    let (caches, namespace) = (&*request.server.caches, &*request.info.namespace);
    let found = slices(caches, namespace, service);
    crate::outbound::endpoint(&found, port_name, "", &|endpoint| {
        let target = &endpoint["targetRef"];
        let key = ObjectKey::new(namespace, target["name"].as_str().unwrap_or_default());
        let pod = Lookup::get(caches, "", "pods", &key).filter(|_| target["namespace"] == namespace);
        let Some(pod) = pod.and_then(|pod| pod.to_value().ok()) else { return false };
        let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
        addresses.into_iter().any(|one| one["ip"] == endpoint["addresses"][0])
    })
}

/// Answers `nodes/x/proxy`.
pub async fn node(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let (tls, name, port) = split("node", &request.info.name)?;
    object(request, resource, name).await?;
    let target = kubelet(request.server, name)?;
    let authority =
        format!("{}:{}", target.host, if port.is_empty() { target.port.to_string() } else { port.into() });
    if port.is_empty() || port.parse() == Ok(target.port) {
        return pass(request, &Backend::Node(target), &authority, body).await;
    }
    proxyable(&target.host)?;
    let port = port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?}")))?;
    pass(request, &peer(tls, &target.host, port), &authority, body).await
}

/// Passes a request on, and makes what the backend refers to come back through the proxy.
async fn pass(
    request: &Request<'_>,
    backend: &Backend,
    authority: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    let info = request.info;
    let query =
        if request.query_text.is_empty() { String::new() } else { format!("?{}", request.query_text) };
    let upgrades = request.headers.contains_key(UPGRADE);
    if info.rest.is_empty() && !upgrades && matches!(*request.method, Method::GET | Method::HEAD) {
        // Relative links of a page would otherwise lose the end of the path.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let location = HeaderValue::from_str(&format!("{}/{query}", info.path));
        response
            .headers_mut()
            .insert(LOCATION, location.map_err(|error| Status::bad_request(error.to_string()))?);
        return Ok(response);
    }
    let rest = if info.rest.is_empty() { "/" } else { info.rest };
    let path = format!("{rest}{query}");
    let mut onward = Onward { method: request.method, path: &path, headers: headers(request, true), body };
    if let Ok(value) = HeaderValue::from_str(info.path) {
        onward.headers.insert(FORWARDED_URI, value);
    }
    let response = forward(request, backend, onward).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let rewriting = Rewriting {
        prefix: info.path.strip_suffix(info.rest).unwrap_or(info.path).to_owned(),
        backend: authority.to_owned(),
        host: request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned(),
    };
    Ok(rewriting.response(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let check = |text: &str, expect| assert_eq!(split("pod", text).unwrap(), expect);
        check("a", (false, "a", ""));
        check("a:80", (false, "a", "80"));
        check("https:a:web", (true, "a", "web"));
        check("http:a:", (false, "a", ""));
        for wrong in ["ftp:a:1", ":80", "", "https::1", "a:b:c:d"] {
            let expect = format!("invalid pod request {wrong:?}");
            assert_eq!(split("pod", wrong).unwrap_err().message, expect);
        }
    }
}
