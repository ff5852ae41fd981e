//! The API server: HTTP, negotiation, the one request pipeline, the one engine over rows of kinds, the watch
//! cache, discovery.
//!
//! Invariant: every write goes through one pipeline, and no kind has code here. Only this crate opens the
//! store. Answers to kube-apiserver.
//!
//! [`Server::start`] makes a server of a [`Config`]; [`Server::handle`] answers a request, from a connection or
//! from this process; [`Server::serve`] answers the connections of a listener.

pub mod admission;
mod aggregate;
pub mod audit;
pub mod authenticate;
pub mod authorize;
pub mod body;
mod cache;
mod calls;
mod cluster;
pub mod config;
mod connect;
mod conversion;
mod definitions;
pub mod delegate;
mod discovery;
mod dispatch;
mod documents;
pub mod encryption;
mod fairness;
mod health;
mod impersonate;
mod info;
mod kinds;
mod listen;
mod lookup;
mod metrics;
mod negotiate;
mod openapi;
pub mod outbound;
mod pages;
mod paths;
mod policies;
mod read;
mod render;
mod request;
mod respond;
pub mod seam;
mod server;
mod steady;
mod upkeep;
mod usage;
mod webhook;
mod write;
mod yaml;

pub use aggregate::Aggregation;
pub use body::Body;
pub use config::{Config, Issuer, Limits, Version};
pub use encryption::Encryption;
pub use listen::tls;
pub use read::{AsObjects, Event, Events};
pub use request::Peer;
pub use server::{Error, Server};
