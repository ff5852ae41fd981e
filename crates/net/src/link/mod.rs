//! Pod links: a routed veth pair per pod, and one interface that holds the gateway address.
//!
//! Answers to the bridge, ptp and host-local CNI plugins. Invariant: every packet of a pod, also to a
//! pod beside it, is routed by the host, so that address translation sees both directions whatever
//! `bridge-nf-call-iptables` says and no pod can go around a rule at layer two. That is why pods do not
//! share a bridge segment.

mod addresses;
mod ethtool;
pub mod netns;
mod record;
mod route;
mod sysctl;
#[cfg(test)]
mod tests;

pub use addresses::Addresses;
pub use record::Records;
pub use route::{Links, default_mtu, interfaces, ranges_in_use};
pub use sysctl::prepare_host;
