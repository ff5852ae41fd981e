//! Tracked UDP flows: forgets those that lead to where their service no longer goes.
//!
//! Answers to kube-proxy's conntrack reconciler. The kernel translates a flow as its first packet was
//! translated for as long as packets keep coming; a UDP client that never changes its port would talk to
//! a dead endpoint for ever. TCP needs none of this, its connections end.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as FlowProtocol, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::Channel;
use crate::nft::Family;
use crate::service::Target;
use crate::{Cidr, Error};

/// The flows of one family.
pub struct Flows {
    channel: Channel,
    family: Family,
}

/// One flow, by where its first packet was sent and where the answers come from.
#[derive(Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where the client sends.
    pub destination: Target,
    /// Who sends.
    pub client: IpAddr,
    /// Who answers, after translation.
    pub server: Target,
    original: Vec<Tuple>,
    rest: Vec<ConntrackAttribute>,
}

/// A message that is skipped if it cannot be understood: one odd flow must not hide all others.
struct Lenient(Option<NetfilterMessage>);

impl NetlinkSerializable for Lenient {
    fn message_type(&self) -> u16 {
        self.0.as_ref().map_or(0, NetlinkSerializable::message_type)
    }

    fn buffer_len(&self) -> usize {
        self.0.as_ref().map_or(0, NetlinkSerializable::buffer_len)
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some(message) = &self.0 {
            message.serialize(buffer);
        }
    }
}

impl NetlinkDeserializable for Lenient {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Lenient(NetfilterMessage::deserialize(header, payload).ok()))
    }
}

fn request(family: Family, message: ConntrackMessage) -> Lenient {
    let header = NetfilterHeader::new(NetfilterProtoFamily::from(family.number()), 0, 0);
    Lenient(Some(NetfilterMessage::new(header, message)))
}

struct Ends {
    source: IpAddr,
    destination: Target,
    source_port: u16,
    protocol: FlowProtocol,
}

fn ends(tuples: &[Tuple]) -> Option<Ends> {
    let (mut source, mut destination, mut protocol, mut source_port, mut port) =
        (None, None, None, None, None);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => source = Some(*address),
                        IPTuple::DestinationAddress(address) => destination = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => protocol = Some(*number),
                        ProtoTuple::SourcePort(number) => source_port = Some(*number),
                        ProtoTuple::DestinationPort(number) => port = Some(*number),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Ends {
        source: source?,
        destination: (destination?, port?),
        source_port: source_port?,
        protocol: protocol?,
    })
}

fn flow(message: Lenient) -> Option<(FlowProtocol, Flow)> {
    const ZONE: u16 = 18;
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.0?.inner else {
        return None;
    };
    let (mut original, mut reply, mut rest) = (None, None, Vec::new());
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuples) => original = Some(tuples),
            ConntrackAttribute::CtaTupleReply(tuples) => reply = Some(tuples),
            ConntrackAttribute::Other(nla) if netlink_packet_core::Nla::kind(&nla) == ZONE => {
                rest.push(ConntrackAttribute::Other(nla));
            }
            _ => {}
        }
    }
    let original = original?;
    let (there, back) = (ends(&original)?, ends(&reply?)?);
    let server = (back.source, back.source_port);
    let flow = Flow { destination: there.destination, client: there.source, server, original, rest };
    Some((there.protocol, flow))
}

impl Flows {
    /// Opens the table of the calling thread's namespace.
    pub fn open(family: Family) -> Result<Self, Error> {
        let channel = Channel::open(NETLINK_NETFILTER).map_err(Error::Conntrack)?;
        Ok(Self { channel, family })
    }

    fn dump(&mut self, wanted: impl Fn(FlowProtocol, &Flow) -> bool) -> Result<Vec<Flow>, Error> {
        let messages = self
            .channel
            .dump(request(self.family, ConntrackMessage::Get(Vec::new())))
            .map_err(Error::Conntrack)?;
        let flows = messages.into_iter().filter_map(flow);
        Ok(flows.filter(|(protocol, flow)| wanted(*protocol, flow)).map(|(_, flow)| flow).collect())
    }

    fn delete(&mut self, flows: Vec<Flow>) -> Result<usize, Error> {
        let count = flows.len();
        for flow in flows {
            let mut attributes = vec![ConntrackAttribute::CtaTupleOrig(flow.original)];
            attributes.extend(flow.rest);
            let message = request(self.family, ConntrackMessage::Delete(attributes));
            match self.channel.execute(message, 0) {
                // It ended by itself meanwhile.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => {}
                other => other.map_err(Error::Conntrack)?,
            }
        }
        Ok(count)
    }

    /// Forgets UDP flows that `stale` says lead to the wrong place. Returns how many.
    pub fn forget_udp(&mut self, stale: impl Fn(&Flow) -> bool) -> Result<usize, Error> {
        let flows = self.dump(|protocol, flow| protocol == FlowProtocol::Udp && stale(flow))?;
        self.delete(flows)
    }

    /// Forgets every flow to, from or through addresses of these ranges.
    pub fn forget_ranges(&mut self, ranges: &[Cidr]) -> Result<usize, Error> {
        let inside = |address: IpAddr| ranges.iter().any(|range| range.contains(address));
        let flows =
            self.dump(|_, flow| inside(flow.destination.0) || inside(flow.server.0) || inside(flow.client))?;
        self.delete(flows)
    }
}

/// The addresses of the host in the calling thread's namespace.
pub fn host_addresses() -> Result<BTreeSet<IpAddr>, Error> {
    let all = nix::ifaddrs::getifaddrs().map_err(|errno| Error::Conntrack(io::Error::from(errno)))?;
    let address = |one: nix::ifaddrs::InterfaceAddress| {
        let address = one.address?;
        let four = address.as_sockaddr_in().map(|socket| IpAddr::V4(socket.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|socket| IpAddr::V6(socket.ip())))
    };
    Ok(all.filter_map(address).collect())
}
