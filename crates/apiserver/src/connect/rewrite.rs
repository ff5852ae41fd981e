//! What a backend refers to, as seen from outside of the proxy: redirects, and links in pages.
//!
//! Invariant: only what is on the backend itself is rewritten; everything else stays as it is. Answers to upstream's
//! `util/proxy.Transport`.

use super::links::{Packing, rewritten};
use crate::body::Body;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use std::borrow::Cow;

/// Headers that would let pages elsewhere read what is behind the server.
const CROSS_ORIGIN: [HeaderName; 4] = [
    HeaderName::from_static("access-control-allow-credentials"),
    HeaderName::from_static("access-control-allow-headers"),
    HeaderName::from_static("access-control-allow-methods"),
    HeaderName::from_static("access-control-allow-origin"),
];

/// How references of a backend are rewritten.
#[derive(Clone, Debug)]
pub struct Rewriting {
    /// Path of the proxy, without a slash at its end.
    pub prefix: String,
    /// `host:port` of the backend.
    pub backend: String,
    /// The `Host` of the client's request.
    pub host: String,
}

impl Rewriting {
    /// Rewrites an answer.
    pub fn response(&self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        for name in &CROSS_ORIGIN {
            headers.remove(name);
        }
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        if let Some(location) = location {
            if let Some(Ok(value)) = self.url(location).map(|url| HeaderValue::from_str(&url)) {
                headers.insert(LOCATION, value);
            }
            return response;
        }
        let text =
            |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let html = text(CONTENT_TYPE).split(';').next().is_some_and(|kind| kind.trim() == "text/html");
        let packing = match text(CONTENT_ENCODING) {
            "" => Some(Packing::None),
            "gzip" => Some(Packing::Gzip),
            "deflate" => Some(Packing::Deflate),
            // A packing that is not understood is passed on as it is.
            _ => None,
        };
        let Some(packing) = packing.filter(|_| html && !response.body().is_empty()) else { return response };
        for name in [CONTENT_ENCODING, CONTENT_LENGTH] {
            response.headers_mut().remove(name);
        }
        response.map(|body| rewritten(body, packing, self.clone()))
    }

    /// A reference as seen from outside; None if it stays as it is.
    pub fn url(&self, url: &str) -> Option<String> {
        let (authority, rest) = match url.find("://").map(|at| (&url[..at], &url[at + 3..])) {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => apart(rest),
            _ => match url.strip_prefix("//") {
                Some(rest) => apart(rest),
                None => ("", url),
            },
        };
        let elsewhere = !authority.is_empty() && authority != self.backend && authority != self.host;
        if elsewhere || !rest.starts_with('/') {
            return None;
        }
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(end);
        let path: Cow<'_, str> = if path.starts_with(&*self.prefix) {
            Cow::Borrowed(path)
        } else {
            Cow::Owned(join(&self.prefix, path))
        };
        let kept =
            if !authority.is_empty() && authority == self.host { &url[..url.len() - rest.len()] } else { "" };
        Some(format!("{kept}{path}{tail}"))
    }
}

/// Authority and the rest of what follows `//`.
fn apart(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()))
}

/// Two paths as one without `.`, `..` and double slashes; a slash at the end stays.
fn join(prefix: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_within_the_backend_go_through_the_proxy() {
        let rewriting = Rewriting {
            prefix: "/p/proxy".into(),
            backend: "10.0.0.1:80".into(),
            host: "localhost:8001".into(),
        };
        let check =
            |url: &str, expect: Option<&str>| assert_eq!(rewriting.url(url).as_deref(), expect, "{url}");
        check("/x", Some("/p/proxy/x"));
        check("/x/", Some("/p/proxy/x/"));
        check("/", Some("/p/proxy/"));
        check("/a/../b//c?d=/e#f", Some("/p/proxy/b/c?d=/e#f"));
        check("http://10.0.0.1:80/x?y", Some("/p/proxy/x?y"));
        check("//10.0.0.1:80/x", Some("/p/proxy/x"));
        check("http://localhost:8001/x", Some("http://localhost:8001/p/proxy/x"));
        check("/p/proxy/x", Some("/p/proxy/x"));
        check("http://10.0.0.1:80", None);
        check("http://elsewhere/x", None);
        check("//elsewhere/x", None);
        check("relative", None);
        check("?a=b", None);
        check("mailto:a@b", None);
    }
}
