//! The settings of a node agent.
//!
//! Invariant: nothing that the agent makes on the machine has a name that does not derive from these settings, so
//! that several agents live side by side.

#[cfg(test)]
pub mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use gifee_base::Quantity;
use gifee_oci::spec::LogRotation;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Taint;

use crate::eviction::thresholds::Thresholds;

/// Who asks the agent's server.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The client certificate that the TLS layer verified, DER.
    pub certificate: Option<Vec<u8>>,
    /// The token of the `Authorization` header.
    pub token: Option<String>,
}

/// Decides who may use the agent's server.
#[async_trait]
pub trait Access: Send + Sync {
    /// Whether the peer may use `verb` (`get`, `create`) on the node's `subresource`: `proxy`, `log`, `stats`,
    /// `metrics`, `healthz`, `pods`. The error is for the peer.
    async fn allowed(&self, peer: &Peer, verb: &str, subresource: &str) -> Result<(), gifee_base::Status>;
}

/// When images that nobody uses go.
#[derive(Clone, Debug)]
pub struct ImageCollection {
    /// Percent of the disk in use from which on they go.
    pub high_percent: u64,
    /// Percent down to which they go.
    pub low_percent: u64,
    /// One that has not been there for longer stays.
    pub minimum_age: SignedDuration,
}

impl Default for ImageCollection {
    /// The kubelet's.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, minimum_age: SignedDuration::from_secs(120) }
    }
}

/// The settings.
#[derive(Clone)]
pub struct Config {
    /// `metadata.name` of the node.
    pub node_name: String,
    /// The agent's own folder; survives restarts.
    pub root: PathBuf,
    /// Addresses of the machine, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Where the server listens; port 0 takes any.
    pub listen: SocketAddr,
    /// How the server speaks TLS. Client certificates have to be asked for here.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may use the server.
    pub access: Arc<dyn Access>,
    /// Addresses of the cluster DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// The machine's resolver settings, `/etc/resolv.conf` normally.
    pub resolv_conf: PathBuf,
    /// The control group of all pods: `/kubepods`, or one of this agent's own.
    pub cgroup_root: String,
    /// The most pods that run at once.
    pub max_pods: usize,
    /// The most tasks of a pod; `None` for no limit.
    pub pod_pids_limit: Option<i64>,
    /// Whether containers that ask for no system-call filter get the default one.
    pub seccomp_default: bool,
    /// Further labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Taints that the node is registered with.
    pub taints: Vec<Taint>,
    /// What must be available, lest pods go.
    pub thresholds: Thresholds,
    /// When images go.
    pub images: ImageCollection,
    /// When a container's log begins a new file.
    pub log_rotation: LogRotation,
    /// What pods are not given, by resource: for the system and for the agent.
    pub reserved: BTreeMap<String, Quantity>,
}

impl Config {
    /// With upstream's defaults for what is not named here.
    pub fn new(
        node_name: &str,
        root: PathBuf,
        address: IpAddr,
        tls: Arc<rustls::ServerConfig>,
        access: Arc<dyn Access>,
    ) -> Config {
        Config {
            node_name: node_name.to_owned(),
            root,
            addresses: vec![address],
            listen: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 10250),
            tls,
            access,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            cgroup_root: "/kubepods".to_owned(),
            max_pods: 110,
            pod_pids_limit: Some(4096),
            seccomp_default: true,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            thresholds: Thresholds::default(),
            images: ImageCollection::default(),
            log_rotation: LogRotation::default(),
            reserved: BTreeMap::new(),
        }
    }
}
