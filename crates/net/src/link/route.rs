//! Interfaces, addresses and routes by netlink.
//!
//! Invariant: every step may be repeated: what is there already is no error, and what is gone already is
//! none either.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::{if_nameindex, if_nametoindex};

use super::{ethtool, netns, sysctl};
use crate::netlink::Channel;
use crate::{Cidr, Error};

/// What a pod's own end is called.
const POD_INTERFACE: &str = "eth0";
const ETHERNET_MTU: u32 = 1500;

/// Interfaces of the namespace it was opened in.
pub struct Links {
    channel: Channel,
}

fn failed(action: String) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Link { action, source }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn index(name: &str) -> Result<Option<u32>, Error> {
    match if_nametoindex(name) {
        Ok(index) => Ok(Some(index)),
        Err(nix::errno::Errno::ENODEV | nix::errno::Errno::ENXIO) => Ok(None),
        Err(errno) => Err(failed(format!("find interface {name}"))(errno.into())),
    }
}

fn index_of(name: &str) -> Result<u32, Error> {
    let missing = || failed(format!("find interface {name}"))(io::Error::from(io::ErrorKind::NotFound));
    index(name)?.ok_or_else(missing)
}

fn up(name: &str, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.extend(attributes);
    message
}

/// Names of the interfaces of the calling thread's namespace that begin so.
pub fn interfaces(prefix: &str) -> Result<Vec<String>, Error> {
    let all = if_nameindex().map_err(|errno| failed("list interfaces".into())(errno.into()))?;
    let name = |interface: &nix::net::if_::Interface| interface.name().to_str().ok().map(str::to_owned);
    Ok(all.iter().filter_map(name).filter(|name| name.starts_with(prefix)).collect())
}

impl Links {
    /// Speaks to the kernel about the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        let channel = Channel::open(NETLINK_ROUTE).map_err(failed("open a netlink socket".into()))?;
        Ok(Self { channel })
    }

    fn execute(&mut self, action: String, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        match self.channel.execute(message, flags) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EEXIST) => Ok(()),
            other => other.map_err(failed(action)),
        }
    }

    /// Brings an interface up.
    pub fn set_up(&mut self, name: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index_of(name)?;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.execute(format!("set {name} up"), RouteNetlinkMessage::SetLink(message), 0)
    }

    fn add_address(&mut self, interface: &str, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = index_of(interface)?;
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        let action = format!("add address {address}/{prefix} to {interface}");
        self.execute(action, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds or replaces a route.
    pub fn add_route(
        &mut self,
        interface: &str,
        range: Cidr,
        gateway: Option<IpAddr>,
        source: Option<IpAddr>,
    ) -> Result<(), Error> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(range.base()),
            destination_prefix_length: range.prefix(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes =
            vec![RouteAttribute::Destination(range.base().into()), RouteAttribute::Oif(index_of(interface)?)];
        message.attributes.extend(gateway.map(|address| RouteAttribute::Gateway(address.into())));
        message.attributes.extend(source.map(|address| RouteAttribute::PrefSource(address.into())));
        let action = format!("add route {range} by {interface}");
        self.execute(action, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Makes the interface that holds the gateway address. A bridge without ports serves as an interface
    /// that is always there; kernels without the dummy driver have it.
    pub fn create_gateway(
        &mut self,
        name: &str,
        gateway: IpAddr,
        pods: Cidr,
        services: Cidr,
    ) -> Result<(), Error> {
        let message = up(name, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)])]);
        let action = format!("create interface {name}");
        self.execute(action, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
        self.set_up(name)?;
        self.add_address(name, gateway, pods.prefix())?;
        // A process of the host can only start a connection to where there is a route; translation
        // comes after. The source makes replies of pods come back.
        self.add_route(name, services, None, Some(gateway))
    }

    /// Whether the link of a pod is complete on both ends.
    pub fn is_whole(&mut self, name: &str, namespace: &Path) -> Result<bool, Error> {
        if index(name)?.is_none() {
            return Ok(false);
        }
        match netns::inside(namespace, || index(POD_INTERFACE)) {
            Ok(found) => Ok(found.is_some()),
            Err(Error::Namespace { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a pod's link: a pair of interfaces, addresses and routes on both ends.
    pub fn create_pod(
        &mut self,
        name: &str,
        namespace: &Path,
        address: IpAddr,
        gateway: IpAddr,
        mtu: u32,
    ) -> Result<(), Error> {
        self.delete(name)?;
        let open = |source| Error::Namespace { action: "open", path: namespace.to_path_buf(), source };
        let target = File::open(namespace).map_err(open)?;
        // The pod's end comes up later, from inside: it cannot before it has its other end.
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(POD_INTERFACE.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::NetNsFd(target.as_raw_fd()),
        ];
        let pair = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)))];
        let message = up(name, vec![LinkAttribute::Mtu(mtu), LinkAttribute::LinkInfo(pair)]);
        let created = self.channel.execute(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
        created.map_err(failed(format!("create interface {name}")))?;
        let host = crate::cidr::width(address);
        sysctl::prepare_link(name)?;
        // Every link has the gateway address, so that what is masqueraded here has a source that the pod
        // can answer.
        self.add_address(name, gateway, host)?;
        self.add_route(name, single(address), None, Some(gateway))?;
        netns::inside(namespace, || Links::open()?.configure_pod(address, gateway))?;
        // The host's end came up before the other, so it waits for the news that it has a carrier, and
        // drops what is sent until then. Asking for the link's state delivers the news now.
        ethtool::link_state(name).map_err(failed(format!("read the link state of {name}")))?;
        Ok(())
    }

    /// The pod's side of a link, from inside its namespace.
    fn configure_pod(&mut self, address: IpAddr, gateway: IpAddr) -> Result<(), Error> {
        sysctl::prepare_pod()?;
        self.set_up("lo")?;
        self.set_up(POD_INTERFACE)?;
        self.add_address(POD_INTERFACE, address, crate::cidr::width(address))?;
        self.add_route(POD_INTERFACE, single(gateway), None, None)?;
        let everything = Cidr::new(unspecified(address), 0).expect("0 is a prefix length");
        self.add_route(POD_INTERFACE, everything, Some(gateway), None)
    }

    /// Removes an interface, and with a pair its other end, addresses and routes.
    pub fn delete(&mut self, name: &str) -> Result<(), Error> {
        let Some(index) = index(name)? else { return Ok(()) };
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.channel.execute(RouteNetlinkMessage::DelLink(message), 0) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
            other => other.map_err(failed(format!("delete interface {name}"))),
        }
    }

    fn mtu(&mut self, name: &str) -> Result<Option<u32>, Error> {
        let mut message = LinkMessage::default();
        message.header.index = index_of(name)?;
        let answer = self.channel.get(RouteNetlinkMessage::GetLink(message));
        let answer = answer.map_err(failed(format!("read interface {name}")))?;
        let Some(RouteNetlinkMessage::NewLink(link)) = answer else { return Ok(None) };
        Ok(link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        }))
    }
}

fn single(address: IpAddr) -> Cidr {
    Cidr::new(address, crate::cidr::width(address)).expect("the full width is a prefix length")
}

fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// The main IPv4 routes of the calling thread's namespace: where to, and by which interface.
fn routes() -> Result<Vec<(Cidr, String)>, Error> {
    let path = "/proc/thread-self/net/route";
    let table = fs::read_to_string(path).map_err(|source| Error::File {
        action: "read",
        path: path.into(),
        source,
    })?;
    // Interface, destination, and six columns later the mask; numbers as they lie in memory.
    let parse = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| u32::from_str_radix(columns.get(place)?, 16).ok().map(u32::to_ne_bytes);
        let prefix = u32::from_be_bytes(number(7)?).leading_ones() as u8;
        Some((Cidr::new(IpAddr::from(number(1)?), prefix)?, (*columns.first()?).to_owned()))
    };
    Ok(table.lines().skip(1).filter_map(parse).collect())
}

/// The ranges that the host has routes to, the default route aside: a new cluster's ranges must keep
/// clear of them.
pub fn ranges_in_use() -> Result<Vec<Cidr>, Error> {
    Ok(routes()?.into_iter().map(|(range, _)| range).filter(|range| range.prefix() > 0).collect())
}

/// The MTU of the interface that leads to the world, or Ethernet's.
pub fn default_mtu(links: &mut Links) -> Result<u32, Error> {
    let world = routes()?.into_iter().find(|(range, _)| range.prefix() == 0);
    let Some((_, name)) = world else { return Ok(ETHERNET_MTU) };
    Ok(links.mtu(&name)?.unwrap_or(ETHERNET_MTU))
}
