//! The untyped API client: transports, verbs, watches, indexed caches, keyed work queues.
//!
//! Everything that is not the API server speaks to it through this crate: in the same process, over TLS,
//! or against [`fake`] in tests. Objects stay bytes; no kind is named here. Answers to client-go.

mod api;
mod body;
pub mod cache;
mod connect;
pub mod discovery;
mod error;
pub mod fake;
pub mod kubeconfig;
mod meter;
mod options;
mod page;
pub mod queue;
mod request;
mod tls;
mod transport;
mod watch;

pub use api::{Client, Deleted};
pub use body::Body;
pub use cache::{Cache, Change, Index, Scope};
pub use discovery::Resource;
pub use error::{BoxError, Error, Result};
pub use kubeconfig::Kubeconfig;
pub use meter::{Measured, Meters};
pub use options::{DeleteOptions, ListOptions, PatchKind, Propagation, WatchOptions};
pub use page::Page;
pub use queue::Queue;
pub use request::{Payload, Request};
pub use tls::{Credentials, Timeouts, Tls, TlsConfig};
pub use transport::{InProcess, Io, Transport, WebSocket};
pub use watch::{Event, Watch};
