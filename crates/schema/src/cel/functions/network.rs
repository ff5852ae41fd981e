//! IP addresses and CIDR ranges. Answers to the apiserver's `library/{ip,cidr}.go` over Go's `net/netip`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::value::Value;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "ip" => |arguments, _| match arguments {
            [Value::String(text)] => parse(text).map(Value::Ip),
            [Value::Cidr(cidr)] => Ok(Value::Ip(cidr.address)),
            _ => Err(Error::overload()),
        },
        "cidr" => |arguments, _| match arguments {
            [Value::String(text)] => range(text).map(Value::Cidr),
            _ => Err(Error::overload()),
        },
        "isIP" => |arguments, _| match arguments {
            [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
            _ => Err(Error::overload()),
        },
        "isCIDR" => |arguments, _| match arguments {
            [Value::String(text)] => Ok(Value::Bool(range(text).is_ok())),
            _ => Err(Error::overload()),
        },
        "ip.isCanonical" => |arguments, _| match arguments {
            [Value::String(text)] => parse(text).map(|ip| Value::Bool(print(ip) == **text)),
            _ => Err(Error::overload()),
        },
        "family" => |arguments, _| match arguments {
            [Value::Ip(ip)] => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
            _ => Err(Error::overload()),
        },
        "isUnspecified" => |arguments, _| test(arguments, |ip| ip.is_unspecified()),
        "isLoopback" => |arguments, _| test(arguments, |ip| ip.is_loopback()),
        "isLinkLocalMulticast" => |arguments, _| test(arguments, link_local_multicast),
        "isLinkLocalUnicast" => |arguments, _| test(arguments, link_local_unicast),
        "isGlobalUnicast" => |arguments, _| {
            test(arguments, |ip| {
                let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
                !(ip.is_unspecified()
                    || ip.is_loopback()
                    || ip.is_multicast()
                    || broadcast
                    || link_local_unicast(ip))
            })
        },
        "containsIP" => |arguments, _| match arguments {
            [Value::Cidr(cidr), Value::Ip(ip)] => Ok(Value::Bool(cidr.contains(*ip))),
            [Value::Cidr(cidr), Value::String(text)] => parse(text).map(|ip| Value::Bool(cidr.contains(ip))),
            _ => Err(Error::overload()),
        },
        "containsCIDR" => |arguments, _| {
            let (cidr, other) = match arguments {
                [Value::Cidr(cidr), Value::Cidr(other)] => (cidr, *other),
                [Value::Cidr(cidr), Value::String(text)] => (cidr, range(text)?),
                _ => return Err(Error::overload()),
            };
            Ok(Value::Bool(cidr.bits <= other.bits && cidr.contains(other.address)))
        },
        "prefixLength" => |arguments, _| match arguments {
            [Value::Cidr(cidr)] => Ok(Value::Int(cidr.bits.into())),
            _ => Err(Error::overload()),
        },
        "masked" => |arguments, _| match arguments {
            [Value::Cidr(cidr)] => Ok(Value::Cidr(cidr.masked())),
            _ => Err(Error::overload()),
        },
        _ => return None,
    })
}

fn test<'a>(arguments: &[Value<'a>], answer: fn(IpAddr) -> bool) -> Outcome<'a> {
    match arguments {
        [Value::Ip(ip)] => Ok(Value::Bool(answer(*ip))),
        _ => Err(Error::overload()),
    }
}

fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Go's text of an address.
pub(in crate::cel) fn print(ip: IpAddr) -> String {
    ip.to_string()
}

fn mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn parse(text: &str) -> Result<IpAddr, Error> {
    let (plain, zone) = text.split_once('%').map_or((text, None), |(plain, zone)| (plain, Some(zone)));
    let ip = plain.parse::<IpAddr>().map_err(|_| {
        Error::new(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))
    })?;
    if zone.is_some() {
        return Err(Error::new(format!("IP address {text:?} with zone value is not allowed")));
    }
    if mapped(ip) {
        return Err(Error::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    Ok(ip)
}

fn range(text: &str) -> Result<Cidr, Error> {
    const TWICE: &str = "network address parse error during conversion from string: \
                         network address parse error during conversion from string: ";
    let refused = |why: &str| Error::new(format!("{TWICE}netip.ParsePrefix({text:?}): {why}"));
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| refused("no '/'"))?;
    let address: IpAddr =
        address.parse().map_err(|_| refused(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = !bits.is_empty() && bits.bytes().all(|digit| digit.is_ascii_digit());
    if !plain || bits.len() > 1 && bits.starts_with('0') {
        return Err(refused(&format!("bad bits after slash: {bits:?}")));
    }
    let bits = match bits.parse::<u8>() {
        Ok(bits) if bits <= most => bits,
        _ => return Err(refused("prefix length out of range")),
    };
    if mapped(address) {
        return Err(Error::new(format!(
            "network address parse error during conversion from string: IPv4-mapped IPv6 address {text:?} is not allowed"
        )));
    }
    Ok(Cidr { address, bits })
}

impl Cidr {
    /// The size that costs are counted by.
    pub(in crate::cel) fn size(&self) -> u64 {
        u64::from(self.bits).div_ceil(8)
    }

    fn masked(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        };
        Cidr { address, bits: self.bits }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4()
            && self.masked().address == Cidr { address: ip, bits: self.bits }.masked().address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", print(self.address), self.bits)
    }
}
