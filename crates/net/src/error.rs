//! What can fail in the node's network, a variant per operation with its subject.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// The error of every operation of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("network configuration: {0}")]
    Config(String),
    /// A file of the state folder could not be read or written.
    #[error("{action} {path}")]
    File {
        /// What was being done, a verb phrase.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Every address of the pod range is taken.
    #[error("no address is free in {0}")]
    Exhausted(crate::Cidr),
    /// A host port is already taken by another pod.
    #[error("host port {address}:{port}/{protocol} is taken by pod {holder}")]
    HostPortTaken {
        /// The host address, unspecified for all.
        address: IpAddr,
        /// The port on the host.
        port: u16,
        /// The transport.
        protocol: crate::Protocol,
        /// `namespace/name` of the pod that has it.
        holder: String,
    },
    /// A link, address or route could not be made, changed or removed.
    #[error("{action}: {source}")]
    Link {
        /// What was being done, with its subject.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A network namespace could not be made, opened or entered.
    #[error("network namespace {path}: {action}")]
    Namespace {
        /// What was being done, a verb phrase.
        action: &'static str,
        /// Where the namespace is bound.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a change of the rules; nothing of the transaction is in effect.
    #[error("rule transaction refused at `{subject}`: {source}")]
    Rules {
        /// The first refused statement, as text.
        subject: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The connection-tracking table could not be read or changed.
    #[error("connection tracking: {0}")]
    Conntrack(io::Error),
    /// The DNS server could not be started.
    #[error("cluster DNS: {action}")]
    Dns {
        /// What was being done, a verb phrase.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A setting under `/proc/sys` could not be changed.
    #[error("set {name}={value}")]
    Sysctl {
        /// The setting, in dotted form.
        name: String,
        /// The value wanted.
        value: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The node's network was stopped.
    #[error("the network is stopped")]
    Stopped,
}
