//! A request under construction, and what a body can be made of.

use crate::error::{Error, Result};
use bytes::Bytes;
use gifee_base::{Gvr, Object, ObjectKey};
use http::Method;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

/// What must be escaped in a path segment or query value.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// JSON for the body of a write.
pub struct Payload(pub(crate) Bytes);

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<&Value> for Payload {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<&Object> for Payload {
    fn from(object: &Object) -> Self {
        Self(object.to_json().into())
    }
}

/// A request: method, path, query, body.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    headers: Vec<(http::HeaderName, String)>,
    body: Bytes,
}

impl Request {
    /// A request for a path, which may hold a query already.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// For a collection: all of a resource, or those of a namespace unless it is empty.
    pub fn collection(method: Method, gvr: &Gvr, namespace: &str) -> Self {
        Self::new(method, collection_path(gvr, namespace))
    }

    /// For one object.
    pub fn object(method: Method, gvr: &Gvr, key: &ObjectKey) -> Self {
        let mut path = collection_path(gvr, &key.namespace);
        path.push('/');
        path.extend(utf8_percent_encode(&key.name, RESERVED));
        Self::new(method, path)
    }

    /// Appends a path segment, such as a subresource.
    #[must_use]
    pub fn segment(mut self, segment: &str) -> Self {
        self.path.push('/');
        self.path.push_str(segment);
        self
    }

    /// Appends a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        self.path.extend(utf8_percent_encode(value, RESERVED));
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sets `Accept`.
    #[must_use]
    pub fn accept(self, media_types: &str) -> Self {
        self.header(http::header::ACCEPT, media_types)
    }

    /// Sets the body.
    #[must_use]
    pub fn payload(mut self, content_type: &str, payload: impl Into<Payload>) -> Self {
        self.body = payload.into().0;
        self.header(http::header::CONTENT_TYPE, content_type)
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, payload: impl Into<Payload>) -> Self {
        self.payload("application/json", payload)
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn build(&self, user_agent: &str) -> Result<http::Request<Bytes>> {
        let mut builder = http::Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(http::header::USER_AGENT, user_agent);
        if !self.headers.iter().any(|(name, _)| name == http::header::ACCEPT) {
            builder = builder.header(http::header::ACCEPT, "application/json");
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder.body(self.body.clone()).map_err(|error| Error::build(&self.path, error))
    }
}

fn collection_path(gvr: &Gvr, namespace: &str) -> String {
    let mut path = gvr.root();
    if !namespace.is_empty() {
        path.push_str("/namespaces/");
        path.extend(utf8_percent_encode(namespace, RESERVED));
    }
    path.push('/');
    path.push_str(&gvr.resource);
    path
}
