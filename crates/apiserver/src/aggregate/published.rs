//! The OpenAPI documents of another server, as far as they are about its group and version.
//!
//! Invariant: what has not changed is not read again, and what cannot be read leaves what was known. Answers to
//! kube-aggregator's `controllers/openapi` and `openapiv3`.

use super::name_user;
use super::remote::Remote;
use crate::body::Body;
use crate::server::Server;
use gifee_policy::User;
use gifee_schema::openapi::Other;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a document of another server; a longer one is not taken.
const DOCUMENT_BYTES: usize = 16 << 20;
/// How long a document may take; upstream's figure.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is known of the documents.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Path and address of the document in version 3.
    pub v3: Option<(String, String)>,
    /// The document in version 2, and by what its state is known.
    pub v2: Option<(Other, HeaderValue)>,
}

impl Published {
    /// Whether both say the same.
    pub fn is(&self, other: &Self) -> bool {
        let state = |one: &Self| one.v2.as_ref().map(|(_, state)| state.clone());
        self.v3 == other.v3 && state(self) == state(other)
    }
}

/// The user in whose name the server asks.
pub fn asker() -> User {
    User { name: "system:kube-aggregator".into(), groups: vec!["system:masters".into()], ..User::default() }
}

/// What another server publishes now; `before` is what was known.
pub async fn published(server: &Server, remote: &Remote, before: &Published) -> Published {
    let path = format!("apis/{}/{}", remote.group, remote.version);
    let mut found = before.clone();
    if let Some((Some(index), _)) = read(server, remote, "/openapi/v3", None).await {
        let address = index["paths"][&path]["serverRelativeURL"].as_str();
        found.v3 = address.map(|address| (path.clone(), address.to_owned()));
    }
    let known = before.v2.as_ref().map(|(_, state)| state);
    if let Some((Some(document), state)) = read(server, remote, "/openapi/v2", known).await {
        let other = Other { prefix: format!("/{path}/"), document: Arc::new(document) };
        found.v2 = Some((other, state));
    }
    found
}

/// A document and its state; without the document if it is still in the state that is known. None if there is none.
async fn read(
    server: &Server,
    remote: &Remote,
    path: &'static str,
    known: Option<&HeaderValue>,
) -> Option<(Option<Value>, HeaderValue)> {
    let endpoint = remote.endpoint.as_ref().ok()?;
    let mut request = Request::get(path).header(ACCEPT, "application/json").body(Body::empty()).ok()?;
    if let Some(known) = known {
        request.headers_mut().insert(IF_NONE_MATCH, known.clone());
    }
    name_user(request.headers_mut(), &asker()).ok()?;
    let ask = async {
        let response = server.outbound.send(endpoint, request).await.ok()?;
        let state = response.headers().get(ETAG).cloned();
        match response.status() {
            StatusCode::NOT_MODIFIED => Some((None, known?.clone())),
            StatusCode::OK => {
                let bytes = Body::wrap(response.into_body()).read(DOCUMENT_BYTES).await.ok()?;
                let document: Value = serde_json::from_slice(&bytes).ok()?;
                // One that does not name its state is told by its length, which is enough to see most changes.
                let state = state.unwrap_or_else(|| HeaderValue::from(bytes.len()));
                document["paths"].is_object().then_some((Some(document), state))
            }
            _ => None,
        }
    };
    tokio::time::timeout(TIMEOUT, ask).await.ok()?
}
