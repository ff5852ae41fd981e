//! Commands as netlink messages, framed as one transaction.
//!
//! Invariant: each message's sequence number leads back to the command it came from, so that the
//! kernel's refusal can be told in words.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Hook as HookAttribute, InetHookNumber, ListAttribute,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementAttribute,
    SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::expression::{self, Expression, Family};
use super::ir::{
    Atom, Base, Command, DYNAMIC_MAXIMUM, Field, Holds, Hook, Key, Kind, Rule, Set, Statement, Value,
};

const SUBSYSTEM: u16 = 10;
const VERDICT_TYPE: u32 = 0xffff_ff00;
const INTEGER_TYPE: u32 = 4;
const INET_PROTOCOL_TYPE: u32 = 12;
const INET_SERVICE_TYPE: u32 = 13;
const ANONYMOUS_NAME: &str = "__map%d";

// Flags of a set in the kernel's numbers; the library names only some.
const ANONYMOUS: u32 = 0x1;
const CONSTANT: u32 = 0x2;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const DYNAMIC: u32 = 0x20;

/// A whole transaction, ready to send.
pub struct Batch {
    /// The messages, one after the other.
    pub bytes: Vec<u8>,
    /// For each sequence number from [`Batch::first`] on, the place of its command.
    pub commands: Vec<usize>,
    /// The sequence number of the first message of a command.
    pub first: u32,
}

struct Encoder<'a> {
    table: &'a str,
    family: Family,
    batch: Batch,
    anonymous: u32,
}

/// Encodes commands as one transaction whose last command is acknowledged.
pub fn encode(table: &str, family: Family, sequence: u32, commands: &[Command]) -> Batch {
    let first = sequence.wrapping_add(1);
    let batch = Batch { bytes: Vec::new(), commands: Vec::new(), first };
    let mut encoder = Encoder { table, family, batch, anonymous: 0 };
    encoder.frame(ControlMessage::BatchBegin, sequence);
    for (place, command) in commands.iter().enumerate() {
        let messages = encoder.command(command);
        let last = messages.len();
        for (nth, (message, flags)) in messages.into_iter().enumerate() {
            let acknowledge = place + 1 == commands.len() && nth + 1 == last;
            encoder.message(place, message, if acknowledge { flags | NLM_F_ACK } else { flags });
        }
    }
    let end = first.wrapping_add(encoder.batch.commands.len() as u32);
    encoder.frame(ControlMessage::BatchEnd, end);
    encoder.batch
}

type Message = (NfTablesMessage, u16);

impl Encoder<'_> {
    fn put(&mut self, inner: NetfilterMessage, flags: u16, sequence: u32) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, inner.into());
        message.finalize();
        let start = self.batch.bytes.len();
        // Messages start at multiples of four.
        let length = message.buffer_len().next_multiple_of(4);
        self.batch.bytes.resize(start + length, 0);
        message.serialize(&mut self.batch.bytes[start..]);
    }

    fn frame(&mut self, message: ControlMessage, sequence: u32) {
        let header = NetfilterHeader::new(NetfilterProtoFamily::from(0), 0, SUBSYSTEM);
        self.put(NetfilterMessage::new(header, message), 0, sequence);
    }

    fn message(&mut self, command: usize, message: NfTablesMessage, flags: u16) {
        let sequence = self.batch.first.wrapping_add(self.batch.commands.len() as u32);
        let header = NetfilterHeader::new(NetfilterProtoFamily::from(self.family.number()), 0, 0);
        self.put(NetfilterMessage::new(header, message), flags, sequence);
        self.batch.commands.push(command);
    }

    fn command(&mut self, command: &Command) -> Vec<Message> {
        let table = || self.table.to_owned();
        let one = |message, flags| vec![(message, flags)];
        match command {
            Command::AddTable => {
                let attributes = vec![TableAttribute::Name(table())];
                one(NfTablesMessage::NewTable(TableMessage { attributes }), NLM_F_CREATE)
            }
            Command::DeleteTable => {
                let attributes = vec![TableAttribute::Name(table())];
                one(NfTablesMessage::DeleteTable(TableMessage { attributes }), 0)
            }
            Command::AddSet(name, set) => vec![self.set(name, set)],
            Command::AddChain(name, base) => {
                let mut attributes = vec![ChainAttribute::Table(table()), ChainAttribute::Name(name.clone())];
                attributes.extend(base.iter().flat_map(base_attributes));
                one(NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE)
            }
            Command::FlushChain(name) => {
                let attributes = vec![RuleAttribute::Table(table()), RuleAttribute::Chain(name.clone())];
                one(NfTablesMessage::DeleteRule(RuleMessage { attributes }), 0)
            }
            Command::AddRule(chain, rule) => self.rule(chain, rule),
            Command::AddElements(set, elements) => {
                let list = elements.iter().map(|(key, value)| element(key_bytes(key), value)).collect();
                one(NfTablesMessage::NewSetElement(self.elements(set, None, list)), NLM_F_CREATE)
            }
            Command::DeleteElements(set, keys) => {
                let list = keys.iter().map(|key| element(key_bytes(key), &Value::Member)).collect();
                one(NfTablesMessage::DeleteSetElement(self.elements(set, None, list)), 0)
            }
            Command::DeleteChain(name) => {
                let attributes = vec![ChainAttribute::Table(table()), ChainAttribute::Name(name.clone())];
                one(NfTablesMessage::DeleteChain(ChainMessage { attributes }), 0)
            }
            Command::DeleteSet(name) => {
                let attributes = vec![SetAttribute::Table(table()), SetAttribute::Name(name.clone())];
                one(NfTablesMessage::DeleteSet(SetMessage { attributes }), 0)
            }
        }
    }

    fn elements(
        &self,
        set: &str,
        id: Option<u32>,
        list: Vec<ListAttribute<SetElementAttribute>>,
    ) -> SetElementMessage {
        let mut attributes =
            vec![SetElementList::Table(self.table.to_owned()), SetElementList::Set(set.to_owned())];
        attributes.extend(id.map(SetElementList::SetId));
        attributes.push(SetElementList::Elements(list));
        SetElementMessage { attributes }
    }

    fn next_id(&mut self) -> u32 {
        self.anonymous += 1;
        self.anonymous
    }

    fn set(&mut self, name: &str, set: &Set) -> Message {
        let mut flags = 0;
        let mut attributes = vec![
            SetAttribute::Table(self.table.to_owned()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::KeyType(set.key.iter().fold(0, |all, field| all << 6 | self.field_type(*field))),
            SetAttribute::KeyLen(set.key.iter().map(|field| self.family.field_length(*field)).sum()),
            SetAttribute::Id(self.next_id()),
        ];
        if set.holds != Holds::Members {
            flags |= MAP;
            attributes.extend(self.data_attributes(set.holds));
        }
        if set.dynamic {
            flags |= TIMEOUT | DYNAMIC;
            attributes.push(SetAttribute::Description(vec![SetDescription::Size(DYNAMIC_MAXIMUM)]));
        }
        attributes.push(SetAttribute::Flags(SetFlags::from_bits_retain(flags)));
        (NfTablesMessage::NewSet(SetMessage { attributes }), NLM_F_CREATE)
    }

    fn field_type(&self, field: Field) -> u32 {
        match (field, self.family) {
            (Field::Source | Field::Destination, Family::V4) => 7,
            (Field::Source | Field::Destination, Family::V6) => 8,
            (Field::Protocol, _) => INET_PROTOCOL_TYPE,
            (Field::Port, _) => INET_SERVICE_TYPE,
        }
    }

    fn data_attributes(&self, holds: Holds) -> [SetAttribute; 2] {
        match holds {
            Holds::Targets => [
                SetAttribute::DataType(self.field_type(Field::Source) << 6 | INET_SERVICE_TYPE),
                SetAttribute::DataLen(self.family.field_length(Field::Source) + 4),
            ],
            _ => [SetAttribute::DataType(VERDICT_TYPE), SetAttribute::DataLen(0)],
        }
    }

    /// A constant map from 0, 1, 2 ... that lives as long as the rule that reads it.
    fn anonymous(&mut self, holds: Holds, values: Vec<Value>) -> (u32, Vec<Message>) {
        let id = self.next_id();
        let mut attributes = vec![
            SetAttribute::Table(self.table.to_owned()),
            SetAttribute::Name(ANONYMOUS_NAME.to_owned()),
            SetAttribute::Flags(SetFlags::from_bits_retain(ANONYMOUS | CONSTANT | MAP)),
            SetAttribute::KeyType(INTEGER_TYPE),
            SetAttribute::KeyLen(4),
            SetAttribute::Id(id),
            SetAttribute::Description(vec![SetDescription::Size(values.len() as u32)]),
        ];
        attributes.extend(self.data_attributes(holds));
        let mut messages = vec![(NfTablesMessage::NewSet(SetMessage { attributes }), NLM_F_CREATE)];
        let keyed: Vec<ListAttribute<SetElementAttribute>> = values
            .iter()
            .enumerate()
            .map(|(place, value)| element((place as u32).to_ne_bytes().to_vec(), value))
            .collect();
        for some in keyed.chunks(256) {
            let message = self.elements(ANONYMOUS_NAME, Some(id), some.to_vec());
            messages.push((NfTablesMessage::NewSetElement(message), NLM_F_CREATE));
        }
        (id, messages)
    }

    fn rule(&mut self, chain: &str, rule: &Rule) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut expressions = Vec::new();
        for statement in rule {
            expressions.extend(self.statement(statement, &mut messages));
        }
        let attributes = vec![
            RuleAttribute::Table(self.table.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ];
        messages.push((NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | NLM_F_APPEND));
        messages
    }

    fn statement(&mut self, statement: &Statement, before: &mut Vec<Message>) -> Vec<Expression> {
        let family = self.family;
        let after = |mut loads: Vec<Expression>, last: Vec<Expression>| {
            loads.extend(last);
            loads
        };
        match statement {
            Statement::Address { field, equal, range } => {
                expression::match_address(family, *field, *equal, *range)
            }
            Statement::Interface { input, equal, name, prefix } => {
                expression::match_interface(*input, *equal, name, *prefix)
            }
            Statement::Local(field) => expression::match_local(*field),
            Statement::New => expression::match_new(),
            Statement::Translated => expression::match_translated(),
            Statement::Protocol(protocol) => expression::match_protocol(*protocol),
            Statement::Marked(bits) => expression::match_mark(*bits),
            Statement::In { key, set } => {
                after(expression::load_key(family, key), vec![expression::lookup(set, None, None)])
            }
            Statement::VerdictMap { key, map } => {
                let into = Some(expression::verdict_register());
                after(expression::load_key(family, key), vec![expression::lookup(map, None, into)])
            }
            Statement::TranslateMap { key, map } => {
                let into = Some(expression::target_register(family));
                let last = vec![expression::lookup(map, None, into), expression::translate(family)];
                after(expression::load_key(family, key), last)
            }
            Statement::Translate(address, port) => {
                after(expression::load_target(family, *address, *port), vec![expression::translate(family)])
            }
            Statement::TranslateRandom(targets) => {
                let values = targets.iter().map(|(address, port)| Value::Target(*address, *port)).collect();
                let lookup = self.choose(Holds::Targets, values, before);
                after(lookup, vec![expression::translate(family)])
            }
            Statement::GotoRandom(chains) => {
                let goto = |chain: &String| Value::Verdict(super::ir::Verdict::Goto(chain.clone()));
                self.choose(Holds::Verdicts, chains.iter().map(goto).collect(), before)
            }
            Statement::Update { set, seconds } => {
                after(expression::load_key(family, &[Field::Source]), vec![expression::update(set, *seconds)])
            }
            Statement::Mark(bits) => expression::change_mark(*bits, true),
            Statement::Unmark(bits) => expression::change_mark(*bits, false),
            Statement::Masquerade => vec![expression::masquerade()],
            Statement::Reject => vec![expression::reject(family)],
            Statement::Reset => vec![expression::reset()],
            Statement::Verdict(verdict) => vec![expression::verdict(verdict)],
        }
    }

    fn choose(&mut self, holds: Holds, values: Vec<Value>, before: &mut Vec<Message>) -> Vec<Expression> {
        let modulus = values.len() as u32;
        let (id, messages) = self.anonymous(holds, values);
        before.extend(messages);
        let into = match holds {
            Holds::Targets => expression::target_register(self.family),
            _ => expression::verdict_register(),
        };
        vec![expression::random(modulus), expression::lookup(ANONYMOUS_NAME, Some(id), Some(into))]
    }
}

fn base_attributes(base: &Base) -> Vec<ChainAttribute> {
    let hook = match base.hook {
        Hook::Prerouting => InetHookNumber::PreRouting,
        Hook::Input => InetHookNumber::LocalIn,
        Hook::Forward => InetHookNumber::Forward,
        Hook::Output => InetHookNumber::LocalOut,
        Hook::Postrouting => InetHookNumber::PostRouting,
    };
    let kind = match base.kind {
        Kind::Filter => "filter",
        Kind::Nat => "nat",
    };
    // The kernel reads the priority as signed.
    let priority = HookAttribute::Priority(base.priority as u32);
    vec![
        ChainAttribute::Hook(vec![HookAttribute::Number(hook.into()), priority]),
        ChainAttribute::Type(kind.to_owned()),
    ]
}

fn key_bytes(key: &Key) -> Vec<u8> {
    key.iter().flat_map(expression::atom_bytes).collect()
}

fn element(key: Vec<u8>, value: &Value) -> ListAttribute<SetElementAttribute> {
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key))];
    match value {
        Value::Member => {}
        Value::Verdict(verdict) => {
            attributes.push(SetElementAttribute::Data(expression::verdict_data(verdict)))
        }
        Value::Target(address, port) => {
            let bytes = key_bytes(&vec![Atom::Address(*address), Atom::Port(*port)]);
            attributes.push(SetElementAttribute::Data(DataAttribute::Value(bytes)));
        }
    }
    ListAttribute::Element(attributes)
}

/// A request for the table by name, to learn whether it is there.
pub fn get_table(table: &str, family: Family) -> NetfilterMessage {
    let attributes = vec![TableAttribute::Name(table.to_owned())];
    let header = NetfilterHeader::new(NetfilterProtoFamily::from(family.number()), 0, 0);
    NetfilterMessage::new(header, NfTablesMessage::GetTable(TableMessage { attributes }))
}
