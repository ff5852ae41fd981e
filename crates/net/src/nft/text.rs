//! Rules as text, close to what nft(8) prints: for goldens and for errors that name the rule.

use std::fmt::{self, Display, Formatter};

use super::ir::{Atom, Base, Command, Field, Holds, Hook, Key, Kind, Rule, Set, Statement, Value, Verdict};

fn join<T: Display>(parts: &[T], between: &str) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<String>>().join(between)
}

impl Display for Atom {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Address(address) => write!(out, "{address}"),
            Atom::Protocol(protocol) => write!(out, "{protocol}"),
            Atom::Port(port) => write!(out, "{port}"),
        }
    }
}

impl Display for Field {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Field::Source => "ip saddr",
            Field::Destination => "ip daddr",
            Field::Protocol => "meta l4proto",
            Field::Port => "th dport",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Drop => out.write_str("drop"),
            Verdict::Return => out.write_str("return"),
            Verdict::Jump(chain) => write!(out, "jump {chain}"),
            Verdict::Goto(chain) => write!(out, "goto {chain}"),
        }
    }
}

impl Display for Value {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Member => Ok(()),
            Value::Verdict(verdict) => write!(out, " : {verdict}"),
            Value::Target(address, port) => write!(out, " : {address} . {port}"),
        }
    }
}

impl Display for Set {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let names = self.key.iter().map(|field| match field {
            Field::Source | Field::Destination => "addr",
            Field::Protocol => "inet_proto",
            Field::Port => "inet_service",
        });
        write!(out, "{}", join(&names.collect::<Vec<&str>>(), " . "))?;
        match self.holds {
            Holds::Members => {}
            Holds::Verdicts => out.write_str(" : verdict")?,
            Holds::Targets => out.write_str(" : addr . inet_service")?,
        }
        if self.dynamic { out.write_str("; flags dynamic,timeout") } else { Ok(()) }
    }
}

fn relation(equal: bool) -> &'static str {
    if equal { "" } else { "!= " }
}

impl Display for Statement {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Address { field, equal, range } => write!(out, "{field} {}{range}", relation(*equal)),
            Statement::Interface { input, equal, name, prefix } => {
                let which = if *input { "iifname" } else { "oifname" };
                write!(out, "{which} {}\"{name}{}\"", relation(*equal), if *prefix { "*" } else { "" })
            }
            Statement::Local(Field::Source) => out.write_str("fib saddr type local"),
            Statement::Local(_) => out.write_str("fib daddr type local"),
            Statement::New => out.write_str("ct state new"),
            Statement::Translated => out.write_str("ct status dnat"),
            Statement::Protocol(protocol) => write!(out, "meta l4proto {protocol}"),
            Statement::Marked(mark) => write!(out, "meta mark & {mark:#x} == {mark:#x}"),
            Statement::In { key, set } => write!(out, "{} @{set}", join(key, " . ")),
            Statement::VerdictMap { key, map } => write!(out, "{} vmap @{map}", join(key, " . ")),
            Statement::TranslateMap { key, map } => write!(out, "dnat to {} map @{map}", join(key, " . ")),
            Statement::Translate(address, port) => write!(out, "dnat to {address}:{port}"),
            Statement::TranslateRandom(targets) => {
                write!(out, "dnat to numgen random mod {} map {{", targets.len())?;
                for (place, (address, port)) in targets.iter().enumerate() {
                    write!(out, "{} {place} : {address} . {port}", if place == 0 { "" } else { "," })?;
                }
                out.write_str(" }")
            }
            Statement::GotoRandom(chains) => {
                write!(out, "numgen random mod {} vmap {{", chains.len())?;
                for (place, chain) in chains.iter().enumerate() {
                    write!(out, "{} {place} : goto {chain}", if place == 0 { "" } else { "," })?;
                }
                out.write_str(" }")
            }
            Statement::Update { set, seconds } => {
                write!(out, "update @{set} {{ ip saddr timeout {seconds}s }}")
            }
            Statement::Mark(mark) => write!(out, "meta mark set meta mark | {mark:#x}"),
            Statement::Unmark(mark) => write!(out, "meta mark set meta mark & ~{mark:#x}"),
            Statement::Masquerade => out.write_str("masquerade fully-random"),
            Statement::Reject => out.write_str("reject"),
            Statement::Reset => out.write_str("reject with tcp reset"),
            Statement::Verdict(verdict) => write!(out, "{verdict}"),
        }
    }
}

impl Display for Base {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Filter => "filter",
            Kind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        write!(out, "type {kind} hook {hook} priority {}", self.priority)
    }
}

fn rule_text(rule: &Rule) -> String {
    join(rule, " ")
}

fn key_text(key: &Key) -> String {
    join(key, " . ")
}

impl Display for Command {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Command::AddTable => out.write_str("add table"),
            Command::DeleteTable => out.write_str("delete table"),
            Command::AddSet(name, set) => write!(out, "add set {name} {{ {set} }}"),
            Command::AddChain(name, None) => write!(out, "add chain {name}"),
            Command::AddChain(name, Some(base)) => write!(out, "add chain {name} {{ {base} }}"),
            Command::FlushChain(name) => write!(out, "flush chain {name}"),
            Command::AddRule(chain, rule) => write!(out, "add rule {chain} {}", rule_text(rule)),
            Command::AddElements(set, elements) => {
                let texts: Vec<String> =
                    elements.iter().map(|(key, value)| format!("{}{value}", key_text(key))).collect();
                write!(out, "add element {set} {{ {} }}", texts.join(", "))
            }
            Command::DeleteElements(set, keys) => {
                let texts: Vec<String> = keys.iter().map(key_text).collect();
                write!(out, "delete element {set} {{ {} }}", texts.join(", "))
            }
            Command::DeleteChain(name) => write!(out, "delete chain {name}"),
            Command::DeleteSet(name) => write!(out, "delete set {name}"),
        }
    }
}
