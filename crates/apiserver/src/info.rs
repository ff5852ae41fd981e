//! What a request asks for, read from its method and URL alone.
//!
//! Answers to apiserver's `RequestInfoFactory`; the path rules are upstream's.

use http::Method;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Subresources of a namespace: `/namespaces/x/status` is one, `/namespaces/x/pods` is the Pods in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// A request, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// Whether the path names a resource; else only path and verb mean something.
    pub is_resource: bool,
    /// The path as sent.
    pub path: &'a str,
    /// API verb, or the lower-case method for other paths.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: Cow<'a, str>,
    /// API version.
    pub version: Cow<'a, str>,
    /// Namespace; empty if the path names none.
    pub namespace: Cow<'a, str>,
    /// Plural resource.
    pub resource: Cow<'a, str>,
    /// Subresource or empty.
    pub subresource: Cow<'a, str>,
    /// Name or empty.
    pub name: Cow<'a, str>,
    /// What follows the subresource: the path to proxy to. Encoded as sent, with its leading slash, or empty.
    pub rest: &'a str,
}

impl RequestInfo<'_> {
    /// The namespace of the object: empty for a resource that lives in none, although the path of a Namespace
    /// names one.
    pub fn namespace_of(&self, resource: &crate::kinds::Resource) -> &str {
        if resource.namespaced() { &self.namespace } else { "" }
    }
}

/// The parameters of a query string, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part after the question mark.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(key), decode_form(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// A Boolean as upstream reads it: absent, `0` and `false` are false, anything else is true.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value.is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false"))
    }
}

fn decode_form(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn decode(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}

/// Takes a request apart. `query` decides between get, list and watch.
pub fn parse<'a>(method: &Method, path: &'a str, query: &Query) -> RequestInfo<'a> {
    let other = RequestInfo { path, verb: lower(method), ..RequestInfo::default() };
    let trimmed = path.trim_matches('/');
    let mut parts = trimmed.split('/');
    let group = match parts.next() {
        Some("api") => "",
        Some("apis") => parts.next().unwrap_or_default(),
        _ => return other,
    };
    let (Some(version), Some(mut first)) = (parts.next(), parts.next()) else { return other };
    let mut info = RequestInfo {
        is_resource: true,
        path,
        verb: verb_of(method),
        group: decode(group),
        version: decode(version),
        ..RequestInfo::default()
    };
    let watching = first == "watch" && *method == Method::GET;
    if watching {
        let Some(next) = parts.next() else { return other };
        first = next;
    }
    let mut segments: [&str; 3] = [first, "", ""];
    let second = parts.next();
    if let (true, Some(second)) = (first == "namespaces", second) {
        let third = parts.next();
        info.namespace = decode(second);
        match third {
            Some(third) if !NAMESPACE_SUBRESOURCES.contains(&third) => {
                segments = [third, parts.next().unwrap_or_default(), parts.next().unwrap_or_default()];
            }
            third => segments = [first, second, third.unwrap_or_default()],
        }
    } else {
        segments[1] = second.unwrap_or_default();
        segments[2] = parts.next().unwrap_or_default();
    }
    info.resource = decode(segments[0]);
    info.name = decode(segments[1]);
    info.subresource = decode(segments[2]);
    if let Some(next) = parts.next() {
        // Segments borrow from the path, so where the rest begins is a matter of addresses.
        let start = next.as_ptr() as usize - path.as_ptr() as usize;
        info.rest = &path[start - 1..];
    } else if !segments[2].is_empty() && path.ends_with('/') {
        info.rest = "/";
    }
    refine(&mut info, watching, query);
    info
}

fn refine(info: &mut RequestInfo<'_>, watching: bool, query: &Query) {
    if watching {
        info.verb = "watch";
    } else if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" };
    } else if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection";
    }
    if info.name.is_empty()
        && matches!(info.verb, "list" | "watch" | "deletecollection")
        && let Some(selector) = query.get("fieldSelector")
        && selector.contains("metadata.name")
        && let Ok(selector) = gifee_base::FieldSelector::parse(selector)
        && let Some(name) = selector.pinned("metadata.name")
        && gifee_base::name::path_segment(name).is_empty()
    {
        info.name = Cow::Owned(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expect: &str) {
        let (method, url) = request.split_once(' ').unwrap();
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = Query::parse(query);
        let info = parse(&method.parse().unwrap(), path, &query);
        let text = if info.is_resource {
            format!(
                "{} {}/{} ns={} {} {}{}{}",
                info.verb,
                info.group,
                info.version,
                info.namespace,
                info.resource,
                info.name,
                if info.subresource.is_empty() {
                    String::new()
                } else {
                    format!(" sub={}", info.subresource)
                },
                if info.rest.is_empty() { String::new() } else { format!(" rest={}", info.rest) },
            )
        } else {
            format!("{} {}", info.verb, info.path)
        };
        assert_eq!(text.trim_end(), expect, "{request}");
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        check("GET /api", "get /api");
        check("GET /apis/apps/v1", "get /apis/apps/v1");
        check("POST /healthz", "post /healthz");
        check("GET /api/v1/pods", "list /v1 ns= pods");
        check("GET /api/v1/pods?watch=1", "watch /v1 ns= pods");
        check("GET /api/v1/pods?watch=false", "list /v1 ns= pods");
        check("GET /api/v1/watch/pods", "watch /v1 ns= pods");
        check("GET /api/v1/watch/namespaces/a/pods/b", "watch /v1 ns=a pods b");
        check("GET /api/v1/namespaces", "list /v1 ns= namespaces");
        check("GET /api/v1/namespaces/a", "get /v1 ns=a namespaces a");
        check("PUT /api/v1/namespaces/a/finalize", "update /v1 ns=a namespaces a sub=finalize");
        check("GET /api/v1/namespaces/a/pods/", "list /v1 ns=a pods");
        check("DELETE /api/v1/namespaces/a/pods", "deletecollection /v1 ns=a pods");
        check("DELETE /api/v1/namespaces/a/pods/p", "delete /v1 ns=a pods p");
        check(
            "PATCH /apis/apps/v1/namespaces/a/deployments/d/scale",
            "patch apps/v1 ns=a deployments d sub=scale",
        );
        check("GET /api/v1/namespaces/a/pods/p/proxy/x%20y/z", "get /v1 ns=a pods p sub=proxy rest=/x%20y/z");
        check("GET /api/v1/namespaces/a/pods/p/proxy/", "get /v1 ns=a pods p sub=proxy rest=/");
        check("GET /api/v1/nodes/n/proxy/stats", "get /v1 ns= nodes n sub=proxy rest=/stats");
        check(
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            "get rbac.authorization.k8s.io/v1 ns= clusterroles system:node",
        );
        check("GET /api/v1/nodes?fieldSelector=metadata.name%3Da", "list /v1 ns= nodes a");
        check("POST /api/v1/namespaces/a/pods", "create /v1 ns=a pods");
    }
}
