//! Responses: trees and statuses as bytes, with the headers that clients expect.

use crate::body::Body;
use crate::negotiate::{Accept, Media};
use crate::yaml;
use gifee_base::Status;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

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
        Media::Json if accept.pretty => {
            let mut out = serde_json::to_vec_pretty(value).unwrap_or_default();
            out.push(b'\n');
            out
        }
        Media::Json => {
            let mut out = serde_json::to_vec(value).unwrap_or_default();
            out.push(b'\n');
            out
        }
    }
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
