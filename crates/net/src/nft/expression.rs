//! Statements as the kernel's expressions: registers, loads, comparisons, lookups.
//!
//! Answers to `include/uapi/linux/netfilter/nf_tables.h`. Every rule starts with all registers free;
//! registers are given out in order and a statement leaves nothing in them that another one reads.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey, Operator, Payload, Register, Verdict as VerdictCode, VerdictAttribute,
};

use super::ir::{Atom, Field, Verdict};
use crate::{Cidr, Protocol};

/// An expression of a rule.
pub type Expression = ListAttribute<ExpressionAttribute>;

const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_STATE_NEW: u32 = 8;
const CT_STATUS_DNAT: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const ADDRESS_TYPE_LOCAL: u32 = 2;
const PAYLOAD_NETWORK: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const RANDOM_FULLY: u32 = 1 << 4;
const NUMGEN_RANDOM: u32 = 1;
const NAT_DESTINATION: u32 = 1;
const REJECT_ICMP: u32 = 0;
const REJECT_RESET: u32 = 1;
const ICMP_PORT_UNREACHABLE: u8 = 3;
const ICMP6_PORT_UNREACHABLE: u8 = 4;
const DYNSET_UPDATE: u32 = 1;
const VERDICT_DROP: u32 = 0;

/// The family of a table, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `ip`
    V4,
    /// `ip6`
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The kernel's number.
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    fn address_registers(self) -> u32 {
        match self {
            Family::V4 => 1,
            Family::V6 => 4,
        }
    }

    /// Bytes that a component takes in a key: whole registers.
    pub fn field_length(self, field: Field) -> u32 {
        match field {
            Field::Source | Field::Destination => 4 * self.address_registers(),
            Field::Protocol | Field::Port => 4,
        }
    }
}

/// The register at `place`, counted in four bytes.
fn register(place: u32) -> Register {
    Register::from(8 + place)
}

fn number(register: Register) -> Vec<u8> {
    u32::from(register).to_be_bytes().to_vec()
}

/// An expression the library has no type for.
fn other(name: &str, attributes: Vec<(u16, Vec<u8>)>) -> Expression {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: attributes.into_iter().map(|(kind, value)| DefaultNla::new(kind, value)).collect(),
    }
    .into()
}

fn big(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// The bytes of an address.
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// The bytes of a component of a key, padded to whole registers.
pub fn atom_bytes(atom: &Atom) -> Vec<u8> {
    match atom {
        Atom::Address(address) => address_bytes(*address),
        Atom::Protocol(protocol) => vec![protocol.number(), 0, 0, 0],
        Atom::Port(port) => [&port.to_be_bytes()[..], &[0, 0]].concat(),
    }
}

/// A verdict, as data of an element or an immediate.
pub fn verdict_data(verdict: &Verdict) -> DataAttribute {
    let (code, chain) = match verdict {
        Verdict::Drop => (VerdictCode::Other(VERDICT_DROP), None),
        Verdict::Return => (VerdictCode::Return, None),
        Verdict::Jump(chain) => (VerdictCode::Jump, Some(chain)),
        Verdict::Goto(chain) => (VerdictCode::Goto, Some(chain)),
    };
    let mut attributes = vec![VerdictAttribute::Code(code)];
    attributes.extend(chain.map(|chain| VerdictAttribute::Chain(chain.clone())));
    DataAttribute::Verdict(attributes)
}

fn compare(place: u32, operator: Operator, data: Vec<u8>) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(register(place)),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(data)),
    ])
    .into()
}

fn operator(equal: bool) -> Operator {
    if equal { Operator::Equal } else { Operator::NotEqual }
}

fn mask(place: u32, mask: Vec<u8>, xor: Vec<u8>) -> Expression {
    let length = mask.len() as u32;
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(register(place)),
        Bitwise::DestinationRegister(register(place)),
        Bitwise::Length(length),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(xor)),
    ])
    .into()
}

fn load_meta(key: MetaKey, place: u32) -> Expression {
    Expressions::Meta(vec![Meta::DestinationRegister(register(place)), Meta::Key(key)]).into()
}

fn load_field(family: Family, field: Field, place: u32) -> Expression {
    let (base, offset, length) = match (field, family) {
        (Field::Protocol, _) => return load_meta(MetaKey::L4Proto, place),
        (Field::Port, _) => (PAYLOAD_TRANSPORT, 2, 2),
        (Field::Source, Family::V4) => (PAYLOAD_NETWORK, 12, 4),
        (Field::Destination, Family::V4) => (PAYLOAD_NETWORK, 16, 4),
        (Field::Source, Family::V6) => (PAYLOAD_NETWORK, 8, 16),
        (Field::Destination, Family::V6) => (PAYLOAD_NETWORK, 24, 16),
    };
    Expressions::Payload(vec![
        Payload::DestinationRegister(register(place)),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
    .into()
}

/// Loads the components of a key side by side; the key is then at register 0.
pub fn load_key(family: Family, key: &[Field]) -> Vec<Expression> {
    let mut place = 0;
    let load = |field: &Field| {
        let expression = load_field(family, *field, place);
        place += family.field_length(*field) / 4;
        expression
    };
    key.iter().map(load).collect()
}

/// Whether an address is in a range.
pub fn match_address(family: Family, field: Field, equal: bool, range: Cidr) -> Vec<Expression> {
    let mut expressions = vec![load_field(family, field, 0)];
    let mask_bytes = address_bytes(range.mask());
    if mask_bytes.iter().any(|byte| *byte != 0xff) {
        let zero = vec![0; mask_bytes.len()];
        expressions.push(mask(0, mask_bytes, zero));
    }
    expressions.push(compare(0, operator(equal), address_bytes(range.base())));
    expressions
}

/// Whether the packet came in or goes out at an interface.
pub fn match_interface(input: bool, equal: bool, name: &str, prefix: bool) -> Vec<Expression> {
    const NAME_LENGTH: usize = 16;
    let mut bytes = name.as_bytes().to_vec();
    if !prefix {
        bytes.resize(NAME_LENGTH, 0);
    }
    let key = if input { MetaKey::Iifname } else { MetaKey::Oifname };
    vec![load_meta(key, 0), compare(0, operator(equal), bytes)]
}

/// Whether the source or destination is an address of the host.
pub fn match_local(field: Field) -> Vec<Expression> {
    let which = if field == Field::Source { FIB_SOURCE } else { FIB_DESTINATION };
    let fib = other("fib", vec![(1, number(register(0))), (2, big(FIB_ADDRESS_TYPE)), (3, big(which))]);
    vec![fib, compare(0, Operator::Equal, ADDRESS_TYPE_LOCAL.to_ne_bytes().to_vec())]
}

fn match_tracking(key: u32, bits: u32) -> Vec<Expression> {
    let zero = 0u32.to_ne_bytes().to_vec();
    vec![
        other("ct", vec![(1, number(register(0))), (2, big(key))]),
        mask(0, bits.to_ne_bytes().to_vec(), zero.clone()),
        compare(0, Operator::NotEqual, zero),
    ]
}

/// Whether the packet starts a connection.
pub fn match_new() -> Vec<Expression> {
    match_tracking(CT_STATE, CT_STATE_NEW)
}

/// Whether the connection's destination was translated.
pub fn match_translated() -> Vec<Expression> {
    match_tracking(CT_STATUS, CT_STATUS_DNAT)
}

/// Whether it is this transport.
pub fn match_protocol(protocol: Protocol) -> Vec<Expression> {
    vec![load_meta(MetaKey::L4Proto, 0), compare(0, Operator::Equal, vec![protocol.number()])]
}

/// Whether all bits of a mark are set.
pub fn match_mark(bits: u32) -> Vec<Expression> {
    let bytes = bits.to_ne_bytes().to_vec();
    vec![load_meta(MetaKey::Mark, 0), mask(0, bytes.clone(), vec![0; 4]), compare(0, Operator::Equal, bytes)]
}

/// Sets or clears bits of the mark.
pub fn change_mark(bits: u32, set: bool) -> Vec<Expression> {
    let xor = if set { bits } else { 0 };
    vec![
        load_meta(MetaKey::Mark, 0),
        mask(0, (!bits).to_ne_bytes().to_vec(), xor.to_ne_bytes().to_vec()),
        Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(register(0))]).into(),
    ]
}

/// Looks the key at register 0 up in a set, or in a map whose value then is at register `into`.
pub fn lookup(set: &str, id: Option<u32>, into: Option<Register>) -> Expression {
    let mut attributes = vec![Lookup::Set(set.to_owned()), Lookup::SourceRegister(register(0))];
    attributes.extend(into.map(Lookup::DestinationRegister));
    attributes.extend(id.map(Lookup::SetId));
    Expressions::Lookup(attributes).into()
}

/// Where a map's verdict goes.
pub fn verdict_register() -> Register {
    Register::Verdict
}

/// Where a map's address and port go: after the longest key (address, protocol, port).
pub fn target_register(family: Family) -> Register {
    register(target_place(family))
}

fn target_place(family: Family) -> u32 {
    family.address_registers() + 2
}

/// A random number below `modulus` at register 0.
pub fn random(modulus: u32) -> Expression {
    other("numgen", vec![(1, number(register(0))), (2, big(modulus)), (3, big(NUMGEN_RANDOM))])
}

fn load_value(place: u32, value: Vec<u8>) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(register(place)),
        Immediate::Data(DataAttribute::Value(value)),
    ])
    .into()
}

/// Puts a fixed address and port where [`translate`] reads them.
pub fn load_target(family: Family, address: IpAddr, port: u16) -> Vec<Expression> {
    let place = target_place(family);
    vec![
        load_value(place, address_bytes(address)),
        load_value(place + family.address_registers(), port.to_be_bytes().to_vec()),
    ]
}

/// Sends the connection to the address and port at [`target_register`].
pub fn translate(family: Family) -> Expression {
    let address = target_place(family);
    let port = number(register(address + family.address_registers()));
    let address = number(register(address));
    other(
        "nat",
        vec![(1, big(NAT_DESTINATION)), (2, big(u32::from(family.number()))), (3, address), (5, port)],
    )
}

/// Remembers the key at register 0 in a set for some seconds, from now.
pub fn update(set: &str, seconds: u32) -> Expression {
    let name = [set.as_bytes(), &[0]].concat();
    let milliseconds = (u64::from(seconds) * 1000).to_be_bytes().to_vec();
    other("dynset", vec![(1, name), (3, big(DYNSET_UPDATE)), (4, number(register(0))), (6, milliseconds)])
}

/// Hides the source behind the address of the interface the packet leaves by.
pub fn masquerade() -> Expression {
    other("masq", vec![(1, big(RANDOM_FULLY))])
}

/// Refuses by an ICMP message.
pub fn reject(family: Family) -> Expression {
    let code = match family {
        Family::V4 => ICMP_PORT_UNREACHABLE,
        Family::V6 => ICMP6_PORT_UNREACHABLE,
    };
    other("reject", vec![(1, big(REJECT_ICMP)), (2, vec![code])])
}

/// Refuses a TCP connection as a closed port does.
pub fn reset() -> Expression {
    other("reject", vec![(1, big(REJECT_RESET)), (2, vec![0])])
}

/// Ends or leaves the chain.
pub fn verdict(verdict: &Verdict) -> Expression {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(verdict_data(verdict)),
    ])
    .into()
}
