//! The network of one node: pod addresses and links, service rules, host ports, cluster DNS.
//!
//! Answers to a CNI plugin, kube-proxy (nftables mode) and CoreDNS. Everything is pure compilation of
//! plain structs with a thin layer that applies the result by netlink sockets; no program is ever
//! called. Invariant: every name that is made in the kernel derives from [`Config::instance`], so that
//! several clusters live side by side on one machine and [`teardown`] finds all that one of them made.

pub mod cidr;
mod config;
pub mod conntrack;
pub mod dns;
mod error;
mod forwarding;
pub mod link;
mod netlink;
mod network;
pub mod nft;
pub mod observe;
mod pod;
mod pods;
mod run;
pub mod service;

pub use cidr::Cidr;
pub use config::Config;
pub use error::Error;
pub use network::{Network, teardown};
pub use pod::{AttachRequest, Attachment, HostPort, PodNetwork, Protocol};
pub use run::run;
