//! A range of addresses, `10.244.0.0/24`. Invariant: the host bits of the base address are zero.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A base address and a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => u128::from(six),
    }
}

/// How many bits an address of this family has.
pub(crate) fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Cidr {
    /// The range that holds `address`, its host bits cleared. `None` if the prefix is too long.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let width = width(address);
        if prefix > width {
            return None;
        }
        let host_bits = u32::from(width - prefix);
        let bits = to_bits(address);
        let base = if host_bits >= 128 { 0 } else { (bits >> host_bits) << host_bits };
        Some(Self { base: from_bits(address, base), prefix })
    }

    /// The first address.
    pub fn base(&self) -> IpAddr {
        self.base
    }

    /// The prefix length.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The netmask, for a rule that matches the range.
    pub fn mask(&self) -> IpAddr {
        let width = u32::from(width(self.base));
        let ones = u128::MAX >> (128 - width);
        let host_bits = width - u32::from(self.prefix);
        let mask = if host_bits >= 128 { 0 } else { (ones >> host_bits) << host_bits };
        from_bits(self.base, mask)
    }

    /// How many addresses the range has, saturating.
    pub fn size(&self) -> u128 {
        1u128.checked_shl(u32::from(width(self.base) - self.prefix)).unwrap_or(u128::MAX)
    }

    /// The address at `index` from the base, `None` past the end.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        (index < self.size()).then(|| from_bits(self.base, to_bits(self.base) + index))
    }

    /// The place of an address in the range.
    pub fn index(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| to_bits(address) - to_bits(self.base))
    }

    /// Whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4()
            && Cidr::new(address, self.prefix).is_some_and(|other| other.base == self.base)
    }

    /// Whether two ranges share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

fn from_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        // Truncation cannot lose anything: the bits came from 32-bit arithmetic.
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range of addresses such as 10.244.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        Cidr::new(address, prefix.parse().map_err(|_| wrong())?).ok_or_else(wrong)
    }
}
