//! The node agent: runs the pods that the API assigns to this machine, and reports what it sees.
//!
//! Invariant: every decision about a pod is a pure function of what was observed ([`pod`]); effects are in
//! [`hooks`], [`volumes`] and the workers. Containers outlive the agent, and a restarted agent finds them.
//! Answers to the kubelet.

mod admission;
mod agent;
mod config;
pub mod configuration;
mod container;
mod dispatch;
pub mod environment;
mod error;
pub mod eviction;
pub mod files;
pub mod hooks;
mod images;
mod labels;
mod lifecycle;
mod node;
pub mod paths;
pub mod pod;
pub mod probes;
pub mod references;
mod remote;
mod resolver;
mod run;
mod server;
pub mod streams;
mod usage;
pub mod volumes;
mod worker;

pub use config::{Access, Config, Peer};
pub use error::Error;
pub use run::run;
