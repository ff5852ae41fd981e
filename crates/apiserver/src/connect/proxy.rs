//! HTTP proxies to pods, services and nodes: `[scheme:]name[:port]/proxy/path`.
//!
//! Answers to upstream's `ProxyREST` of pods, services and nodes.

use super::forward::forward;
use super::kubelet::kubelet;
use super::object;
use crate::body::Body;
use crate::kinds::Resource;
use crate::request::Request;
use crate::seam::Target;
use gifee_base::Status;
use gifee_policy::Lookup;
use http::Response;
use http::header::{HeaderValue, LOCATION};
use serde_json::Value;
use std::sync::Arc;

/// `[scheme:]name[:port]`, taken apart.
fn split(text: &str) -> Result<(bool, &str, &str), Status> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Ok((false, name, "")),
        [name, port] => Ok((false, name, port)),
        ["http" | "", name, port] => Ok((false, name, port)),
        ["https", name, port] => Ok((true, name, port)),
        _ => Err(Status::bad_request(format!("invalid service request {text:?}"))),
    }
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}

/// Answers `pods/x/proxy`.
pub async fn pod(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let (tls, name, port) = split(&request.info.name)?;
    let pod = object(request, resource, name).await?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default();
    if host.is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
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
    let target = Target { host: host.to_owned(), port, tls };
    pass(request, &target, body).await
}

/// Answers `services/x/proxy`.
pub async fn service(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let (tls, name, port) = split(&request.info.name)?;
    let service = object(request, resource, name).await?;
    let ports: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let found = match port {
        "" if ports.len() == 1 => ports.first(),
        "" => ports.iter().find(|one| one["name"].is_null()),
        text => ports.iter().find(|one| {
            one["name"] == text || text.parse().is_ok_and(|port: u16| number(&one["port"]) == Some(port))
        }),
    };
    let unavailable =
        || Status::unavailable(format!("no endpoints available for service {:?}", &*request.info.name));
    let found = found
        .ok_or_else(|| Status::unavailable(format!("no service port {port:?} found for service {name:?}")))?;
    let port_name = found["name"].as_str().unwrap_or_default();
    let target = endpoint(request, name, port_name, tls).ok_or_else(unavailable)?;
    pass(request, &target, body).await
}

/// Any ready endpoint of a service's port.
fn endpoint(request: &Request<'_>, service: &str, port: &str, tls: bool) -> Option<Target> {
    let namespace = &request.info.namespace;
    let slices = Lookup::list(&*request.server.caches, "discovery.k8s.io", "endpointslices", namespace);
    let mut all = Vec::new();
    for slice in slices.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(service)) {
        let slice = slice.to_value().ok()?;
        let ports = slice["ports"].as_array().into_iter().flatten();
        let Some(number) = ports
            .filter(|one| one["name"].as_str().unwrap_or_default() == port)
            .find_map(|one| number(&one["port"]))
        else {
            continue;
        };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let ready = endpoint["conditions"]["ready"] != false;
            if let (true, Some(host)) = (ready, endpoint["addresses"][0].as_str()) {
                all.push(Target { host: host.to_owned(), port: number, tls });
            }
        }
    }
    if all.is_empty() {
        return None;
    }
    let random = usize::from(uuid::Uuid::new_v4().into_bytes()[0]);
    let index = random % all.len();
    Some(all.swap_remove(index))
}

/// Answers `nodes/x/proxy`.
pub async fn node(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let (tls, name, port) = split(&request.info.name)?;
    object(request, resource, name).await?;
    let mut target = kubelet(request, name)?;
    if let Ok(port) = port.parse::<u16>()
        && port != target.port
    {
        target.port = port;
        target.tls = tls;
    }
    pass(request, &target, body).await
}

/// Passes a request on, and makes redirects of the backend come back through the proxy.
async fn pass(request: &Request<'_>, target: &Target, body: Body) -> Result<Response<Body>, Status> {
    let rest = if request.info.rest.is_empty() { "/" } else { request.info.rest };
    let path = if request.query_text.is_empty() {
        rest.to_owned()
    } else {
        format!("{rest}?{}", request.query_text)
    };
    let mut response = forward(request, request.method, target, &path, body).await?;
    let prefix = request.info.path.strip_suffix(request.info.rest).unwrap_or(request.info.path);
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(location) = location
        && let Some(rewritten) = rewritten(&location, target, prefix)
        && let Ok(value) = HeaderValue::from_str(&rewritten)
    {
        response.headers_mut().insert(LOCATION, value);
    }
    Ok(response)
}

/// A redirect within the backend, as seen from outside.
fn rewritten(location: &str, target: &Target, prefix: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{prefix}{location}"));
    }
    let rest = location.strip_prefix("http://").or_else(|| location.strip_prefix("https://"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let own = [target.host.clone(), format!("{}:{}", target.host, target.port)];
    own.iter()
        .any(|one| one == authority)
        .then(|| format!("{prefix}{}", if path.is_empty() { "/" } else { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_redirects_are_understood() {
        assert_eq!(split("a").unwrap(), (false, "a", ""));
        assert_eq!(split("a:80").unwrap(), (false, "a", "80"));
        assert_eq!(split("https:a:web").unwrap(), (true, "a", "web"));
        assert!(split("ftp:a:1").is_err());
        let target = Target { host: "10.0.0.1".into(), port: 80, tls: false };
        let check = |location: &str, expect: Option<&str>| {
            assert_eq!(rewritten(location, &target, "/p/proxy").as_deref(), expect, "{location}");
        };
        check("/x", Some("/p/proxy/x"));
        check("http://10.0.0.1:80/x?y", Some("/p/proxy/x?y"));
        check("http://10.0.0.1", Some("/p/proxy/"));
        check("http://elsewhere/x", None);
        check("//elsewhere/x", None);
        check("relative", None);
    }
}
