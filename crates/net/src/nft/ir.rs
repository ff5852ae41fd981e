//! Rules as data: what the compilers produce, what is printed, diffed and encoded.
//!
//! Invariant: a value of these types is a whole sentence; it needs nothing of the kernel to be compared
//! or printed. The words are those of nft(8).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::{Cidr, Protocol};

/// One component of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// An address.
    Address(IpAddr),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
}

/// What a component of a key is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `ip saddr`
    Source,
    /// `ip daddr`
    Destination,
    /// `meta l4proto`
    Protocol,
    /// `th dport`
    Port,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stops here, dropped.
    Drop,
    /// Goes back to the calling chain.
    Return,
    /// Calls a chain.
    Jump(String),
    /// Continues in a chain and does not come back.
    Goto(String),
}

/// What an element of a map leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: an element of a set.
    Member,
    /// A verdict.
    Verdict(Verdict),
    /// An address and port.
    Target(IpAddr, u16),
}

/// What kind of values a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// None, a plain set.
    Members,
    /// Verdicts.
    Verdicts,
    /// Addresses with ports.
    Targets,
}

/// The type of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The components of a key.
    pub key: Vec<Field>,
    /// The values.
    pub holds: Holds,
    /// Filled by packets, with elements that time out; at most [`DYNAMIC_MAXIMUM`] of them.
    pub dynamic: bool,
}

/// The most elements packets can put into one dynamic set; beyond it a client gets no affinity.
pub const DYNAMIC_MAXIMUM: u32 = 65_536;

/// A part of a rule, evaluated in order; a match that fails ends the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `ip saddr 10.0.0.0/8`, `!=` if not `equal`.
    Address {
        /// `Source` or `Destination`.
        field: Field,
        /// Whether it must be inside.
        equal: bool,
        /// The range.
        range: Cidr,
    },
    /// `iifname "x"` or `oifname "x*"`.
    Interface {
        /// Where the packet came in, or else goes out.
        input: bool,
        /// Whether it must be it.
        equal: bool,
        /// The name, or its beginning.
        name: String,
        /// Whether the name is only a beginning.
        prefix: bool,
    },
    /// `fib saddr type local`: an address of the host.
    Local(Field),
    /// `ct state new`
    New,
    /// `ct status dnat`
    Translated,
    /// `meta l4proto tcp`
    Protocol(Protocol),
    /// `meta mark & m == m`
    Marked(u32),
    /// `ip saddr . ip daddr @set`
    In {
        /// The key.
        key: Vec<Field>,
        /// The set.
        set: String,
    },
    /// `... vmap @map`
    VerdictMap {
        /// The key.
        key: Vec<Field>,
        /// The map.
        map: String,
    },
    /// `dnat to ... map @map`
    TranslateMap {
        /// The key.
        key: Vec<Field>,
        /// The map.
        map: String,
    },
    /// `dnat to 10.0.0.1:80`
    Translate(IpAddr, u16),
    /// `dnat to numgen random mod n map { ... }`
    TranslateRandom(Vec<(IpAddr, u16)>),
    /// `numgen random mod n vmap { ... goto }`
    GotoRandom(Vec<String>),
    /// `update @set { ip saddr timeout 1s }`
    Update {
        /// The set.
        set: String,
        /// How long the element stays.
        seconds: u32,
    },
    /// `meta mark set meta mark | m`
    Mark(u32),
    /// `meta mark set meta mark & ~m`
    Unmark(u32),
    /// `masquerade fully-random`
    Masquerade,
    /// `reject`, by ICMP.
    Reject,
    /// `reject with tcp reset`
    Reset,
    /// A verdict.
    Verdict(Verdict),
}

/// A rule: matches, then what is done.
pub type Rule = Vec<Statement>;

/// The kind of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Passes or drops.
    Filter,
    /// Translates addresses, first packet only.
    Nat,
}

/// Where in the packet's way a base chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To the host.
    Input,
    /// Through the host.
    Forward,
    /// From the host.
    Output,
    /// After routing.
    Postrouting,
}

/// How a base chain hangs in the packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its kind.
    pub kind: Kind,
    /// Where.
    pub hook: Hook,
    /// Lower comes first.
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `None` for a chain that is only called.
    pub base: Option<Base>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// A key of an element.
pub type Key = Vec<Atom>;

/// What one subject (a Service's port, a pod, the fixed base) contributes to the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Sets of its own.
    pub sets: BTreeMap<String, Set>,
    /// Chains of its own.
    pub chains: BTreeMap<String, Chain>,
    /// Elements in shared sets, by set and key.
    pub elements: BTreeMap<(String, Key), Value>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the table if it is not there.
    AddTable,
    /// Removes the table with all that is in it.
    DeleteTable,
    /// Makes a set.
    AddSet(String, Set),
    /// Makes a chain without rules.
    AddChain(String, Option<Base>),
    /// Empties a chain.
    FlushChain(String),
    /// Appends a rule to a chain.
    AddRule(String, Rule),
    /// Puts elements into a set.
    AddElements(String, Vec<(Key, Value)>),
    /// Takes elements out of a set.
    DeleteElements(String, Vec<Key>),
    /// Removes an empty chain.
    DeleteChain(String),
    /// Removes a set.
    DeleteSet(String),
}
