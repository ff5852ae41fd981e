//! The verbs of the API over any transport.
//!
//! A failure status is an error; 429 and 503 with `Retry-After` are tried again at most ten times, as
//! client-go does.

use crate::body::Body;
use crate::error::{Error, Result};
use crate::options::{DeleteOptions, ListOptions, PatchKind, WatchOptions};
use crate::page::Page;
use crate::request::{Payload, Request};
use crate::transport::{Transport, WebSocket};
use crate::watch::Watch;
use base64::Engine;
use bytes::Bytes;
use gifee_base::{Gvr, Object, ObjectKey, Status};
use http::Method;
use http::header::{CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

const RETRIES_MAXIMUM: u32 = 10;
/// How many objects `list_all` asks for at once.
const PAGE_LIMIT: u32 = 500;

/// A client of one server under one identity; cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    user_agent: Arc<str>,
}

/// What a deletion came to.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object is still there, with a deletion timestamp, or this was its last state.
    Object(Box<Object>),
    /// The object is gone.
    Gone,
}

impl Client {
    /// Over a transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, user_agent: concat!("gifee/", env!("CARGO_PKG_VERSION")).into() }
    }

    /// Over a transport that is made of its own.
    #[must_use]
    pub fn through(self, wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>) -> Self {
        Self { transport: wrap(self.transport), ..self }
    }

    /// With another `User-Agent`, which is also the default field manager.
    #[must_use]
    pub fn named(self, user_agent: &str) -> Self {
        Self { user_agent: user_agent.into(), ..self }
    }

    /// Sends a request; the body of the response comes as it is produced.
    ///
    /// # Errors
    /// The server's `Status`, or why there is no response.
    pub async fn stream(&self, request: &Request) -> Result<http::Response<Body>> {
        let mut tries = 0;
        loop {
            let response = self.transport.call(request.build(&self.user_agent)?).await?;
            if response.status().as_u16() < 400 {
                return Ok(response);
            }
            tries += 1;
            match retry_after(&response) {
                Some(delay) if tries <= RETRIES_MAXIMUM => tokio::time::sleep(delay).await,
                _ => return Err(failure(request.path(), response).await),
            }
        }
    }

    /// Sends a request and collects the response.
    ///
    /// # Errors
    /// The server's `Status`, or why there is no whole response.
    pub async fn send(&self, request: &Request) -> Result<http::Response<Bytes>> {
        let (parts, body) = self.stream(request).await?.into_parts();
        let body = body.collect().await.map_err(|error| Error::transport(request.path(), error))?;
        Ok(http::Response::from_parts(parts, body))
    }

    /// Sends a request whose response is an object.
    ///
    /// # Errors
    /// As [`Client::send`], or a response that is no object.
    pub async fn object(&self, request: &Request) -> Result<Object> {
        let body = self.send(request).await?.into_body();
        Object::received(body).map_err(|error| Error::decode(request.path(), error))
    }

    /// Sends a request whose response is any JSON.
    ///
    /// # Errors
    /// As [`Client::send`], or a response that is not JSON.
    pub async fn value(&self, request: &Request) -> Result<Value> {
        let body = self.send(request).await?.into_body();
        serde_json::from_slice(&body).map_err(|error| Error::decode(request.path(), error))
    }

    /// Reads one object.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, gvr: &Gvr, key: &ObjectKey) -> Result<Object> {
        self.object(&Request::object(Method::GET, gvr, key)).await
    }

    /// Reads the metadata of one object, where the server can give it alone.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get_metadata(&self, gvr: &Gvr, key: &ObjectKey) -> Result<Object> {
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;q=0.9";
        self.object(&Request::object(Method::GET, gvr, key).accept(accept)).await
    }

    /// Lists one page, of a namespace or (if it is empty) of all.
    ///
    /// # Errors
    /// As [`Client::send`], or a response that is no list.
    pub async fn list(&self, gvr: &Gvr, namespace: &str, options: &ListOptions) -> Result<Page> {
        let request = options.apply(Request::collection(Method::GET, gvr, namespace));
        let body = self.send(&request).await?.into_body();
        Page::decode(&body).map_err(|error| Error::decode(request.path(), error))
    }

    /// Lists all pages, 500 objects at a time unless a limit says otherwise.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn list_all(&self, gvr: &Gvr, namespace: &str, options: &ListOptions) -> Result<Page> {
        let mut options = options.clone();
        if options.limit == 0 {
            options.limit = PAGE_LIMIT;
        }
        let mut all = self.list(gvr, namespace, &options).await?;
        while let Some(token) = all.continuation.take() {
            options.continuation = Some(token);
            options.resource_version = None;
            options.resource_version_match = None;
            let page = self.list(gvr, namespace, &options).await?;
            all.resource_version = page.resource_version;
            all.continuation = page.continuation;
            all.items.extend(page.items);
        }
        Ok(all)
    }

    /// Watches a namespace or (if it is empty) all.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn watch(&self, gvr: &Gvr, namespace: &str, options: &WatchOptions) -> Result<Watch> {
        let request = options.apply(Request::collection(Method::GET, gvr, namespace));
        let body = self.stream(&request).await?.into_body();
        Ok(Watch::new(request.path, body))
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn create(&self, gvr: &Gvr, namespace: &str, payload: impl Into<Payload>) -> Result<Object> {
        self.object(&Request::collection(Method::POST, gvr, namespace).json(payload)).await
    }

    /// Creates through a subresource: `binding`, `eviction`, `token`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn create_subresource(
        &self,
        gvr: &Gvr,
        key: &ObjectKey,
        subresource: &str,
        payload: impl Into<Payload>,
    ) -> Result<Value> {
        self.value(&Request::object(Method::POST, gvr, key).segment(subresource).json(payload)).await
    }

    /// Reads a subresource, such as `scale`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get_subresource(&self, gvr: &Gvr, key: &ObjectKey, subresource: &str) -> Result<Object> {
        self.object(&Request::object(Method::GET, gvr, key).segment(subresource)).await
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn update(&self, gvr: &Gvr, key: &ObjectKey, payload: impl Into<Payload>) -> Result<Object> {
        self.object(&Request::object(Method::PUT, gvr, key).json(payload)).await
    }

    /// Replaces an object's status.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn update_status(
        &self,
        gvr: &Gvr,
        key: &ObjectKey,
        payload: impl Into<Payload>,
    ) -> Result<Object> {
        self.update_subresource(gvr, key, "status", payload).await
    }

    /// Replaces a subresource: `status`, `scale`, `finalize`, `approval`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn update_subresource(
        &self,
        gvr: &Gvr,
        key: &ObjectKey,
        subresource: &str,
        payload: impl Into<Payload>,
    ) -> Result<Object> {
        self.object(&Request::object(Method::PUT, gvr, key).segment(subresource).json(payload)).await
    }

    /// Patches an object.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn patch(
        &self,
        gvr: &Gvr,
        key: &ObjectKey,
        kind: PatchKind,
        payload: impl Into<Payload>,
    ) -> Result<Object> {
        let request = Request::object(Method::PATCH, gvr, key).payload(kind.content_type(), payload);
        self.object(&request).await
    }

    /// Patches an object's status.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn patch_status(
        &self,
        gvr: &Gvr,
        key: &ObjectKey,
        kind: PatchKind,
        payload: impl Into<Payload>,
    ) -> Result<Object> {
        let request = Request::object(Method::PATCH, gvr, key).segment("status");
        self.object(&request.payload(kind.content_type(), payload)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn delete(&self, gvr: &Gvr, key: &ObjectKey, options: &DeleteOptions) -> Result<Deleted> {
        let request = Request::object(Method::DELETE, gvr, key).json(options.body());
        let body = self.send(&request).await?.into_body();
        let value: Kind<'_> =
            serde_json::from_slice(&body).map_err(|error| Error::decode(request.path(), error))?;
        if value.kind == Some("Status") {
            return Ok(Deleted::Gone);
        }
        let object = Object::received(body).map_err(|error| Error::decode(request.path(), error))?;
        Ok(Deleted::Object(Box::new(object)))
    }

    /// Deletes all selected objects of a namespace or (if it is empty) of all.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn delete_collection(
        &self,
        gvr: &Gvr,
        namespace: &str,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<()> {
        let request = list.apply(Request::collection(Method::DELETE, gvr, namespace));
        self.send(&request.json(options.body())).await?;
        Ok(())
    }

    /// Opens a WebSocket, offering subprotocols; the socket and the one that the server chose.
    ///
    /// # Errors
    /// The server's `Status`, or why there is no connection.
    pub async fn websocket(&self, path: &str, protocols: &[&str]) -> Result<(WebSocket, Option<String>)> {
        let key = base64::engine::general_purpose::STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
        let mut request = Request::new(Method::GET, path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        if !protocols.is_empty() {
            request = request.header(SEC_WEBSOCKET_PROTOCOL, &protocols.join(", "));
        }
        let request = request.build(&self.user_agent)?.map(|_| ());
        let (head, io) = match self.transport.upgrade(request).await? {
            Ok(upgraded) => upgraded,
            Err(response) => return Err(failure(path, response).await),
        };
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        if text(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err(Error::transport(path, "the server's WebSocket handshake is wrong"));
        }
        let protocol = text(SEC_WEBSOCKET_PROTOCOL).map(str::to_owned);
        Ok((WebSocket::from_raw_socket(io, Role::Client, None).await, protocol))
    }

    /// Asks for an upgrade to any protocol by the headers of a request; head and stream behind the 101.
    ///
    /// # Errors
    /// The server's `Status`, or why there is no connection.
    pub async fn upgrade(
        &self,
        request: &Request,
    ) -> Result<(http::response::Parts, Box<dyn crate::transport::Io>)> {
        match self.transport.upgrade(request.build(&self.user_agent)?.map(|_| ())).await? {
            Ok(upgraded) => Ok(upgraded),
            Err(response) => Err(failure(request.path(), response).await),
        }
    }
}

#[derive(serde::Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Option<&'a str>,
}

fn retry_after(response: &http::Response<Body>) -> Option<Duration> {
    if !matches!(response.status().as_u16(), 429 | 503) {
        return None;
    }
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn failure(path: &str, response: http::Response<Body>) -> Error {
    let code = response.status().as_u16();
    match response.into_body().collect().await {
        Ok(body) => Status::from_body(code, &body).into(),
        Err(error) => Error::transport(path, error),
    }
}
