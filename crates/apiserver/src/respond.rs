//! Responses: trees and statuses as bytes, with the headers that clients expect.

use crate::body::Body;
use crate::documents::gzip;
use crate::info::Query;
use crate::negotiate::{self, Accept, Media, Offer};
use crate::request::Request;
use crate::yaml;
use flate2::Compression;
use flate2::write::GzEncoder;
use gifee_base::Status;
use gifee_base::gvk::split_api_version;
use gifee_schema::{Schema, protobuf};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING,
};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use std::io::Write;

/// What is said about caching of everything that can change.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");
/// Characters of all warnings of one response together; above it each is cut. Upstream's figures.
const WARNINGS_CHARACTERS: usize = 4 << 10;
/// Characters of one warning when they are cut.
const WARNING_CHARACTERS: usize = 256;

/// A response with a content type.
pub fn bytes(code: u16, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response
}

/// An answer to HEAD: without its body, whose length it tells where it is known. Over HTTP/2 nobody else takes it off.
pub fn head(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(parts, Body::empty())
}

/// A tree in the negotiated encoding.
pub fn value(code: u16, accept: &Accept, value: &Value) -> Response<Body> {
    bytes(code, accept.media.content_type(), encode(accept, value))
}

/// The bytes of a tree in the negotiated encoding.
pub fn encode(accept: &Accept, value: &Value) -> Vec<u8> {
    match accept.media {
        Media::Yaml => yaml::write(value).into_bytes(),
        Media::Protobuf => message(value),
        Media::Json if accept.pretty => serde_json::to_vec_pretty(value).unwrap_or_default(),
        Media::Json => {
            let mut out = serde_json::to_vec(value).unwrap_or_default();
            out.push(b'\n');
            out
        }
    }
}

/// A tree of a built-in kind in its protobuf envelope; version and kind are those in the tree.
fn message(value: &Value) -> Vec<u8> {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let (group, version) = split_api_version(text("apiVersion"));
    let schema = Schema::builtin(group, version, text("kind"));
    // Every answer that is negotiated is of a built-in kind with a message.
    schema.and_then(|schema| protobuf::encode(&schema, value).ok()).unwrap_or_default()
}

/// A body whose length is known: compressed if it is long enough for that and the client wants it.
pub fn sized(request: &Request<'_>, code: u16, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    if body.len() <= request.server.config.limits.compress_from_bytes || !gzip(request.headers) {
        return bytes(code, content_type, body);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(&body);
    let mut response = bytes(code, content_type, encoder.finish().unwrap_or_default());
    compressed(response.headers_mut());
    response
}

/// The headers of a compressed body.
pub fn compressed(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// The answer to a request that failed, in the form it asked for; in JSON for a person if there is no such form.
pub fn failure(headers: &HeaderMap, query: &Query, failed: &Status) -> Response<Body> {
    const PRETTY: Accept = Accept { pretty: true, ..Accept::JSON };
    let accept = negotiate::accept(headers, query, Offer::Objects, true).unwrap_or(PRETTY);
    status(&accept, failed)
}

/// A failure (or a success that has only a status to say).
pub fn status(accept: &Accept, status: &Status) -> Response<Body> {
    let mut response = value(status.code, accept, &status.to_value());
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// Plain text.
pub fn text(code: u16, text: impl Into<Body>) -> Response<Body> {
    let mut response = bytes(code, "text/plain; charset=utf-8", text);
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// What nothing answers to, as the end of upstream's chain of servers says it.
pub fn page_not_found() -> Response<Body> {
    text(404, "404 page not found\n")
}

/// Adds warnings, each as `299 - "text"`; if they are too long together, each is cut.
pub fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut distinct: Vec<&str> = Vec::new();
    for warning in warnings {
        let sayable = !warning.is_empty() && !warning.chars().any(char::is_control);
        if sayable && !distinct.contains(&warning.as_str()) {
            distinct.push(warning);
        }
    }
    let total: usize = distinct.iter().map(|warning| warning.chars().count()).sum();
    let cut = if total > WARNINGS_CHARACTERS { WARNING_CHARACTERS } else { usize::MAX };
    let mut written = 0;
    for warning in distinct {
        if written >= WARNINGS_CHARACTERS {
            break;
        }
        let mut text = String::with_capacity(warning.len() + 12);
        text.push_str("299 - \"");
        for character in warning.chars().take(cut) {
            written += 1;
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                other => text.push(other),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(warnings: &[&str], expect: &[&str]) {
        let warnings: Vec<String> = warnings.iter().map(|one| (*one).to_owned()).collect();
        let mut headers = HeaderMap::new();
        warn(&mut headers, &warnings);
        let found: Vec<_> = headers.get_all(WARNING).iter().map(HeaderValue::as_bytes).collect();
        let expect: Vec<_> = expect.iter().map(|one| one.as_bytes()).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn warnings_are_escaped_told_once_and_cut() {
        check(
            &["a \"b\" \\c", "x", "x", "", "two\nlines", "ä"],
            &["299 - \"a \\\"b\\\" \\\\c\"", "299 - \"x\"", "299 - \"ä\""],
        );
        let long = ["a", "b", "c"].map(|one| one.repeat(2_000));
        let cut = ["a", "b", "c"].map(|one| format!("299 - \"{}\"", one.repeat(256)));
        check(&long.each_ref().map(String::as_str), &cut.each_ref().map(String::as_str));
    }
}
