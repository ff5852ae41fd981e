//! What a server is made of: the store, the kinds, the decisions of others, and every limit.

use crate::aggregate::Aggregation;
use crate::encryption::Encryption;
use crate::outbound::{Direct, Routing};
use crate::seam::{Admission, Authenticator, Authorizer, Connector, Dialer, Exporter};
use gifee_base::{Clock, Gvk, SystemClock};
use gifee_registry::Kind;
use gifee_schema::Schema;
use gifee_schema::defaults::Defaults;
use gifee_store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Finds the schema of a built-in kind.
pub type Schemas = Arc<dyn Fn(&Gvk) -> Option<Schema> + Send + Sync>;

/// One named part of `/readyz`; the error is the reason.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// All that a server is made of.
#[derive(Clone)]
pub struct Config {
    /// Where objects are kept. Nothing else may write to its keys under `/registry/` and `/ranges/`.
    pub store: Arc<dyn Store>,
    /// The built-in kinds, in the order of discovery.
    pub kinds: Vec<Kind>,
    /// Their schemas.
    pub schemas: Schemas,
    /// Their defaults; None: compiled from the tables in the rows.
    pub defaults: Option<Arc<Defaults>>,
    /// Who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// May they.
    pub authorizer: Arc<dyn Authorizer>,
    /// Is it acceptable.
    pub admission: Arc<dyn Admission>,
    /// How nodes and pods are reached; None: streaming subresources answer 503.
    pub connector: Option<Arc<dyn Connector>>,
    /// How webhooks, aggregated servers, pods and services are reached.
    pub dialer: Arc<dyn Dialer>,
    /// Whether other API servers can be aggregated, and what is presented to them; None: they cannot.
    pub aggregation: Option<Aggregation>,
    /// How Services become addresses.
    pub routing: Routing,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Encryption of some resources at rest.
    pub encryption: Option<Arc<Encryption>>,
    /// Documents for who verifies service-account tokens.
    pub issuer: Option<Issuer>,
    /// What `/version` says.
    pub version: Version,
    /// What `/flagz` says: how the server was started.
    pub flags: BTreeMap<String, String>,
    /// What writes requests down; None: nothing is.
    pub audit: Option<Arc<crate::audit::Auditor>>,
    /// Who has more to say on `/metrics`.
    pub exporters: Vec<Arc<dyn Exporter>>,
    /// Further parts of `/readyz`.
    pub checks: Vec<(String, Check)>,
    /// Whether the objects of priority and fairness that every cluster has are made and kept.
    pub fairness: bool,
    /// Limits.
    pub limits: Limits,
}

impl Config {
    /// The parts that have no default; everything else as a small cluster wants it.
    pub fn new(
        store: Arc<dyn Store>,
        kinds: Vec<Kind>,
        schemas: Schemas,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        admission: Arc<dyn Admission>,
    ) -> Self {
        Self {
            store,
            kinds,
            schemas,
            defaults: None,
            authenticator,
            authorizer,
            admission,
            connector: None,
            dialer: Arc::new(Direct),
            routing: Routing::default(),
            aggregation: None,
            clock: Arc::new(SystemClock),
            encryption: None,
            issuer: None,
            version: Version::default(),
            flags: BTreeMap::new(),
            audit: None,
            exporters: Vec::new(),
            checks: Vec::new(),
            fairness: false,
            limits: Limits::default(),
        }
    }
}

/// The issuer of service-account tokens, as OpenID Connect discovery describes it.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its URL: the `iss` of tokens.
    pub url: String,
    /// URL of the key set.
    pub jwks_url: String,
    /// The key set, `{"keys":[…]}`.
    pub jwks: String,
}

/// What `/version` says.
#[derive(Clone, Debug)]
pub struct Version {
    /// Such as `v1.37.0+gifee-0.1.0`.
    pub git_version: String,
    /// Commit of the build, if known.
    pub git_commit: String,
    /// When it was built, as `metav1.Time`.
    pub build_date: String,
}

impl Default for Version {
    fn default() -> Self {
        Self {
            git_version: concat!("v1.37.0+gifee-", env!("CARGO_PKG_VERSION")).into(),
            git_commit: String::new(),
            build_date: "1970-01-01T00:00:00Z".into(),
        }
    }
}

/// The bounds of everything that clients can make grow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request body; above it 413. Upstream: 3 MiB.
    pub body_bytes: usize,
    /// Bytes of all request headers together; above it 431.
    pub header_bytes: usize,
    /// Requests that only read, at once. With the writes, the seats that priority levels share. Streams take none,
    /// and watches only until they have begun.
    pub reads_in_flight: usize,
    /// Requests that write, at once.
    pub writes_in_flight: usize,
    /// How long a request waits for a seat; then 429.
    pub queue_wait: Duration,
    /// Connections at once; above it new ones are closed.
    pub connections: usize,
    /// How long a request may take that is no watch and no stream; then 504.
    pub request_timeout: Duration,
    /// How long a client of HTTP/1.1 may take for the headers of a request, and be idle between two.
    pub header_timeout: Duration,
    /// How long a client may take nothing of what it is sent; then its connection ends.
    pub write_timeout: Duration,
    /// How long a connection may take for its TLS handshake.
    pub handshake_timeout: Duration,
    /// Shortest life of a watch that asks for no timeout; it ends after one to two times this.
    pub watch_minimum: Duration,
    /// How often a watch that wants bookmarks gets one.
    pub bookmark_interval: Duration,
    /// Events of the past that are kept for watches to resume from, per resource.
    pub history_events: usize,
    /// Bytes of replaced and deleted objects among them, per resource.
    pub history_bytes: usize,
    /// How long the store keeps history before it is compacted.
    pub history_age: Duration,
    /// Events that wait for one watcher before it is sent to the history instead.
    pub watcher_events: usize,
    /// Responses above this size are compressed for clients that accept it.
    pub compress_from_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 3 << 20,
            header_bytes: 64 << 10,
            reads_in_flight: 4_000,
            writes_in_flight: 1_000,
            queue_wait: Duration::from_secs(15),
            connections: 20_000,
            request_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            watch_minimum: Duration::from_secs(1_800),
            bookmark_interval: Duration::from_secs(60),
            history_events: 32_768,
            history_bytes: 16 << 20,
            history_age: Duration::from_secs(300),
            watcher_events: 1_024,
            compress_from_bytes: 128 << 10,
        }
    }
}
