//! What the server needs decided or done by others: who asks, may they, is it acceptable, and how a node is
//! reached. Each is one object-safe trait, given in [`crate::Config`].
//!
//! Answers to upstream's `authenticator.Request`, `authorizer.Authorizer`, `admission.Interface` and the
//! kubelet client's `ConnectionInfoGetter`.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, ObjectKey, Status};
use gifee_policy::admission::Charge;
use gifee_policy::authorize::{Decision, Rules};
use gifee_policy::{Attributes, Lookup, User};
use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use std::sync::Arc;

/// An answer that is there at once, or that has to be asked for elsewhere: who decides out of the caches pays for
/// no future.
pub enum Answer<'a, T> {
    /// Here it is.
    Now(T),
    /// Somebody else is asked.
    Later(BoxFuture<'a, T>),
}

impl<T> Answer<'_, T> {
    /// Waits for it.
    pub async fn settle(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

/// Who a connection belongs to, by its client certificate.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A user.
    User(Arc<User>),
    /// A proxy that has authenticated others and names them in headers; itself a user, if its certificate says so.
    FrontProxy(Option<Arc<User>>),
    /// A certificate of an authority that does not name users.
    Nobody,
}

/// What a request without an identity of its connection says about who sends it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Path.
    pub path: &'a str,
    /// Whether the connection is a front proxy's.
    pub front_proxy: bool,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// The user.
    pub user: Arc<User>,
    /// For the audit log; usually empty.
    pub annotations: Vec<(&'static str, String)>,
}

impl From<Arc<User>> for Authenticated {
    fn from(user: Arc<User>) -> Self {
        Self { user, annotations: Vec::new() }
    }
}

/// Finds out who asks.
pub trait Authenticator: Send + Sync {
    /// Who a connection belongs to, by a certificate chain that was verified against the client CAs; once per
    /// connection.
    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<Identity>;

    /// The user of a request that came without an identity. `Ok(None)` means anonymous.
    ///
    /// # Errors
    /// 401 if there are credentials and they are wrong, or if nobody may be anonymous there.
    fn headers<'a>(
        &'a self,
        asked: Asked<'a>,
        lookup: &'a dyn Lookup,
    ) -> Answer<'a, Result<Option<Authenticated>, Status>>;

    /// What a token is good for: the status of a TokenReview; `audiences` empty for the server's own.
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
        lookup: &'a dyn Lookup,
    ) -> Answer<'a, Result<Reviewed, Status>>;

    /// Signs a token for a service account.
    ///
    /// # Errors
    /// As upstream gives them for a TokenRequest.
    fn issue(&self, request: &TokenRequest<'_>) -> Result<Issued, Status>;
}

/// The outcome of a review of a token.
#[derive(Clone, Debug, Default)]
pub struct Reviewed {
    /// Whose token it is.
    pub user: Option<Arc<User>>,
    /// For which of the audiences asked for it is good.
    pub audiences: Vec<String>,
    /// Why it is not good.
    pub error: String,
}

/// What a service-account token is to say.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    /// Namespace and name of the account.
    pub account: &'a ObjectKey,
    /// Its UID.
    pub account_uid: &'a str,
    /// Audiences; empty for the server's own.
    pub audiences: Vec<String>,
    /// How long it is to be good, in seconds.
    pub expiration_seconds: i64,
    /// Kind, name and UID of the Pod, Secret or Node that it is bound to.
    pub bound: Option<(String, String, String)>,
    /// Name and UID of the node of the Pod that it is bound to.
    pub node: Option<(String, String)>,
}

/// A signed token.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// When it ends, as `metav1.Time`.
    pub expiration: String,
    /// Its audiences.
    pub audiences: Vec<String>,
    /// Its name in the audit log.
    pub credential_id: String,
}

/// Decides who may do what.
pub trait Authorizer: Send + Sync {
    /// Decides a request.
    fn authorize<'a>(&'a self, attributes: &'a Attributes, lookup: &'a dyn Lookup) -> Answer<'a, Decision>;
    /// The rules that hold for a user in a namespace, for SelfSubjectRulesReview.
    fn rules(&self, user: &User, namespace: &str, lookup: &dyn Lookup) -> Rules;
}

impl Authorizer for gifee_policy::authorize::Authorizer {
    fn authorize<'a>(&'a self, attributes: &'a Attributes, lookup: &'a dyn Lookup) -> Answer<'a, Decision> {
        Answer::Now(self.authorize(attributes, lookup))
    }

    fn rules(&self, user: &User, namespace: &str, lookup: &dyn Lookup) -> Rules {
        self.rules(user, namespace, lookup)
    }
}

pub use gifee_policy::admission::Operation;

/// A write on its way, as admission sees it.
pub struct Review<'a> {
    /// Who does what.
    pub attributes: &'a Attributes,
    /// Kind of the resource (the object's, not the subresource's).
    pub gvk: &'a Gvk,
    /// What is done.
    pub operation: Operation,
    /// The object as it is to be; null for a deletion.
    pub object: &'a mut Value,
    /// The object as it is; None for a create or connect.
    pub old: Option<&'a Value>,
    /// Options of the request, such as CreateOptions.
    pub options: &'a Value,
    /// Whether nothing is to happen.
    pub dry_run: bool,
    /// Now, as `metav1.Time`.
    pub now: &'a str,
    /// For the client.
    pub warnings: &'a mut Vec<String>,
}

/// Decides whether a write is acceptable, and completes it.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Changes the object; called before validation.
    ///
    /// # Errors
    /// The refusal.
    async fn mutate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status>;

    /// Looks at the object as it is to be stored; called after validation.
    ///
    /// # Errors
    /// The refusal.
    async fn validate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status>;

    /// What an accepted write is counted by, as of what the caches have; of `only` these if it is not empty. It is
    /// committed before the object.
    ///
    /// # Errors
    /// The refusal.
    fn charge(
        &self,
        _review: &mut Review<'_>,
        _lookup: &dyn Lookup,
        _only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        Ok(Vec::new())
    }
}

/// Where a node's kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// A byte stream to a node, pod or service.
pub trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens plain byte streams to addresses: of webhooks, aggregated servers, pods and services.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Connects to a host name or address.
    ///
    /// # Errors
    /// With the reason as a person may read it.
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Duplex>>;
}

/// Opens connections to nodes, pods and services for the streaming subresources.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Connects, with TLS and the server's client certificate if the target wants them.
    ///
    /// # Errors
    /// 503 or 502 with the reason.
    async fn connect(&self, target: &Target) -> Result<Box<dyn Duplex>, Status>;
}
