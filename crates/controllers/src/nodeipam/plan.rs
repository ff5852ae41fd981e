//! The ranges of pods' addresses that nodes have, cut out of the cluster's. Pure.
//!
//! What is free is decided by the nodes that there are, so that nothing has to be remembered or given back.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::HashSet;

/// How large a node's part is unless it is said, of each family.
const PREFIX: (u8, u8) = (24, 64);

/// A cluster's range, in parts.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    network: IpNet,
    /// Prefix length of a part.
    prefix: u8,
}

impl Range {
    /// Cuts a range; one that is no larger than a part is one part. `prefix` is the length of an IPv4 part's prefix.
    pub fn new(network: IpNet, prefix: Option<u8>) -> Self {
        let usual = if network.addr().is_ipv4() { prefix.unwrap_or(PREFIX.0).min(32) } else { PREFIX.1 };
        Self { network: network.trunc(), prefix: usual.max(network.prefix_len()) }
    }

    /// How many parts there are, at most 2^20.
    fn parts(&self) -> u32 {
        1 << u32::from(self.prefix - self.network.prefix_len()).min(20)
    }

    fn part(&self, number: u32) -> Option<IpNet> {
        match self.network {
            IpNet::V4(network) => {
                let base = u32::from(network.network());
                let at = base + number.checked_shl(32 - u32::from(self.prefix))?;
                Ipv4Net::new(at.into(), self.prefix).ok().map(IpNet::V4)
            }
            IpNet::V6(network) => {
                let base = u128::from(network.network());
                let at = base + u128::from(number).checked_shl(128 - u32::from(self.prefix))?;
                Ipv6Net::new(at.into(), self.prefix).ok().map(IpNet::V6)
            }
        }
    }

    /// A part that no node has, beginning after the last that was given, so that one that came free rests; and its
    /// number.
    pub fn free(&self, used: &HashSet<IpNet>, last: Option<u32>) -> Option<(IpNet, u32)> {
        let parts = self.parts();
        let start = last.map_or(0, |last| last.wrapping_add(1) % parts);
        (start..parts).chain(0..start).find_map(|number| {
            let part = self.part(number)?;
            let clashes =
                used.contains(&part) || used.iter().any(|one| one.contains(&part) || part.contains(one));
            (!clashes).then_some((part, number))
        })
    }
}
