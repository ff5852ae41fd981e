//! Cluster DNS: answers for Services and pods from memory, everything else from upstream servers.
//!
//! Answers to CoreDNS with its `kubernetes`, `forward` and `cache` plugins, and to the Kubernetes
//! DNS-Based Service Discovery specification, version 1.1.0. It listens on the node's gateway address on
//! a port of the kernel's choice, and the rules lead the cluster DNS address there: so no other resolver
//! of the machine can be in its way, nor it in theirs.

mod forward;
mod index;
mod server;
#[cfg(test)]
mod tests;

pub use index::{Answer, Index, Place, Port, Service};
pub use server::Dns;
