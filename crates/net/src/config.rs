//! What a node's network is told, and the names of what it makes in the kernel.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::{Cidr, Error};

/// The longest [`Config::instance`]: an interface name has 15 characters, of which `gf`, `-` and six
/// digits of a pod's place in the range take nine.
pub const INSTANCE_MAXIMUM: usize = 6;

/// The settings of one node's network.
#[derive(Clone, Debug)]
pub struct Config {
    /// Short id of this cluster's node on this machine: 1 to 6 characters of `[a-z0-9]`.
    pub instance: String,
    /// `metadata.name` of this node.
    pub node_name: String,
    /// The node's range of pod addresses. The first usable one is the gateway.
    pub pod_cidr: Cidr,
    /// All nodes' pod addresses; traffic between them is never masqueraded. Holds `pod_cidr`.
    pub cluster_cidr: Cidr,
    /// The range of ClusterIPs.
    pub service_cidr: Cidr,
    /// The address of the cluster DNS, inside `service_cidr`.
    pub cluster_dns: IpAddr,
    /// `cluster.local`, without a dot at the end.
    pub cluster_domain: String,
    /// MTU of pod links; by default that of the interface with the host's default route, else 1500.
    pub mtu: Option<u32>,
    /// A folder of this crate's own, that survives restarts.
    pub state_dir: PathBuf,
    /// Where upstream DNS servers are read from, `/etc/resolv.conf` normally.
    pub resolv_conf: PathBuf,
}

impl Config {
    /// Refuses what could not work, before anything is made.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Config(text));
        let shape = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if self.instance.is_empty()
            || self.instance.len() > INSTANCE_MAXIMUM
            || !self.instance.bytes().all(shape)
        {
            return refuse(format!(
                "instance {:?} must be 1 to {INSTANCE_MAXIMUM} lower case letters and digits",
                self.instance
            ));
        }
        if !self.cluster_cidr.contains(self.pod_cidr.base())
            || self.cluster_cidr.prefix() > self.pod_cidr.prefix()
        {
            return refuse(format!(
                "pod range {} is not inside cluster range {}",
                self.pod_cidr, self.cluster_cidr
            ));
        }
        if self.pod_cidr.size() < 4 {
            return refuse(format!("pod range {} is too small", self.pod_cidr));
        }
        if self.pod_cidr.size() > 1 << 24 {
            return refuse(format!("pod range {} has more than 2^24 addresses", self.pod_cidr));
        }
        if self.cluster_cidr.overlaps(&self.service_cidr) {
            return refuse(format!(
                "pod range {} and service range {} overlap",
                self.cluster_cidr, self.service_cidr
            ));
        }
        if !self.service_cidr.contains(self.cluster_dns) {
            return refuse(format!(
                "cluster DNS {} is not in service range {}",
                self.cluster_dns, self.service_cidr
            ));
        }
        if self.cluster_domain.is_empty() || self.cluster_domain.ends_with('.') {
            return refuse(format!(
                "cluster domain {:?} must be a name without a dot at the end",
                self.cluster_domain
            ));
        }
        Ok(())
    }

    /// The address pods send everything to, the host's own in the pod range.
    pub fn gateway(&self) -> IpAddr {
        self.pod_cidr.nth(1).expect("a valid range has at least four addresses")
    }

    /// What every interface name of this instance begins with.
    pub fn interface_prefix(&self) -> String {
        format!("gf{}-", self.instance)
    }

    /// The interface that holds the gateway address and the route to the service range.
    pub fn gateway_interface(&self) -> String {
        format!("gf{}-gw", self.instance)
    }

    /// The host's end of the link of the pod that has this address.
    pub fn pod_interface(&self, address: IpAddr) -> Option<String> {
        self.pod_cidr.index(address).map(|index| format!("gf{}-{index:x}", self.instance))
    }

    /// The table that holds every rule of this instance.
    pub fn table(&self) -> String {
        format!("gifee-{}", self.instance)
    }
}
