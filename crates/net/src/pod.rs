//! The seam between the kubelet and whatever gives pods a network.
//!
//! Answers to the CNI verbs ADD, DEL and the runtime's idea of a sandbox. The built-in network is one
//! implementation; a host of CNI plugins can be another.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::Error;

/// A transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`, what an API object means when it says nothing.
    #[default]
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

impl Protocol {
    /// The name in API objects. `None` for a name that is no transport protocol of Kubernetes.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// The number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// The name in lower case, as rules and DNS spell it.
impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// A port of the host that leads to a port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address of the host it is open on; `None` (or unspecified) for all, loopback included.
    pub host_ip: Option<IpAddr>,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the pod.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// What a pod needs of the network. Host-network pods ask for nothing.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Names this run of the pod's sandbox; unique on the node, made of `[A-Za-z0-9._-]`.
    pub sandbox_id: String,
    /// `metadata.uid`
    pub pod_uid: String,
    /// `metadata.namespace`
    pub pod_namespace: String,
    /// `metadata.name`
    pub pod_name: String,
    /// The pod's network namespace: a bind mount or `/proc/<pid>/ns/net`.
    pub netns: PathBuf,
    /// The pod's host ports.
    pub host_ports: Vec<HostPort>,
}

/// What a pod got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// `metadata.uid`
    pub pod_uid: String,
    /// `metadata.namespace`
    pub pod_namespace: String,
    /// `metadata.name`
    pub pod_name: String,
    /// `status.podIPs`, the first is `status.podIP`.
    pub addresses: Vec<IpAddr>,
    /// The host's end of the pod's link.
    pub host_interface: String,
    /// The host ports that are open.
    pub host_ports: Vec<HostPort>,
}

/// Gives pods a network. Every verb is idempotent; an implementation remembers over restarts.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Gives the sandbox addresses, links and host ports, all working when it returns. Asked again for
    /// the same sandbox (after a restart, or when the namespace was made anew) it gives the same
    /// addresses and repairs what is missing.
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error>;

    /// Takes back all that `attach` gave. Succeeds if there is nothing, or if the namespace is gone.
    async fn detach(&self, sandbox_id: &str) -> Result<(), Error>;

    /// All that is attached, so that a restarted kubelet can detach the sandboxes it no longer has.
    async fn list(&self) -> Result<Vec<Attachment>, Error>;
}
