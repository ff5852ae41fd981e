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
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use std::io::Write;

/// What is said about caching of everything that can change.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");
/// Bytes of all warnings of one response together; further ones are left out. Upstream's figure.
const WARNINGS_BYTES: usize = 4 << 10;

/// A response with a content type.
pub fn bytes(code: u16, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response
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

/// Adds warnings, each as `299 - "text"`.
pub fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut total = 0;
    for (index, warning) in warnings.iter().enumerate() {
        total += warning.len();
        if total > WARNINGS_BYTES {
            break;
        }
        if warnings[..index].contains(warning) {
            continue;
        }
        let mut text = String::with_capacity(warning.len() + 12);
        text.push_str("299 - \"");
        for character in warning.chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                control if control.is_control() => text.push(' '),
                other => text.push(other),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}
