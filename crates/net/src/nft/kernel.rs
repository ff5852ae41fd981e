//! The table in the kernel: applies changes of the model, one transaction each.
//!
//! Invariant: what is in effect is always a whole model, the old or the new. Where the kernel's table is
//! not what the model thinks (somebody flushed it, or this process has just started), the next change
//! replaces it whole.

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::encode::{encode, get_table};
use super::expression::Family;
use super::ir::{Command, Fragment};
use super::model::{Model, Owner};
use crate::Error;
use crate::netlink::{Channel, Refusal};

/// The rules of one instance, as they are and as they should be.
pub struct Rules {
    table: String,
    family: Family,
    channel: Channel,
    model: Model,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The kernel holds the model.
    Same,
    /// The kernel holds a table of an earlier process, which is left to work until all is known.
    Inherited,
    /// The kernel holds something else.
    Unknown,
}

fn open(table: &str) -> Result<Channel, Error> {
    Channel::open(NETLINK_NETFILTER)
        .map_err(|source| Error::Rules { subject: format!("open table {table}"), source })
}

impl Rules {
    /// Opens the table of this name with what is known already. One that an earlier process left stays in
    /// effect until [`Rules::complete`], but for `own`, what this process serves itself; else all that is
    /// known is put in effect now.
    pub fn open(
        table: String,
        family: Family,
        known: Vec<(Owner, Fragment)>,
        own: Vec<(Owner, Fragment)>,
    ) -> Result<Self, Error> {
        let mut channel = open(&table)?;
        let inherited = match channel.get(get_table(&table, family)) {
            Ok(_) => true,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => false,
            Err(source) => return Err(Error::Rules { subject: format!("get table {table}"), source }),
        };
        let anew = own.iter().flat_map(|(_, fragment)| renew(fragment)).collect::<Vec<Command>>();
        let mut model = Model::default();
        model.change(known.into_iter().chain(own).map(|(owner, fragment)| (owner, Some(fragment))).collect());
        let mut rules = Self { table, family, channel, model, state: State::Unknown };
        if inherited && rules.commit(&anew).is_ok() {
            rules.state = State::Inherited;
        } else {
            rules.replace()?;
        }
        Ok(rules)
    }

    /// Puts a change in effect. When it fails the model has it all the same, and the next change (or
    /// [`Rules::complete`]) tries the whole again.
    pub fn change(&mut self, updates: Vec<(Owner, Option<Fragment>)>) -> Result<(), Error> {
        let commands = self.model.change(updates);
        match self.state {
            State::Same if commands.is_empty() => return Ok(()),
            State::Same => match self.commit(&commands) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(table = self.table, %error, "rule change refused, replacing the whole table");
                    self.state = State::Unknown;
                }
            },
            State::Inherited => {
                if self.extend(&commands) {
                    return Ok(());
                }
            }
            State::Unknown => {}
        }
        self.replace()
    }

    /// While the table of an earlier process still works, what is new can be put into it.
    fn extend(&mut self, commands: &[Command]) -> bool {
        let additions: Vec<Command> =
            commands.iter().filter(|command| matches!(command, Command::AddElements(..))).cloned().collect();
        additions.is_empty() || self.commit(&additions).is_ok()
    }

    /// Says that everything is known now: replaces an inherited table, repairs an unknown one.
    pub fn complete(&mut self) -> Result<(), Error> {
        if self.state == State::Same { Ok(()) } else { self.replace() }
    }

    /// Puts the whole model in effect, whatever the kernel holds.
    pub fn replace(&mut self) -> Result<(), Error> {
        self.state = State::Unknown;
        let commands = self.model.whole();
        self.commit(&commands)?;
        self.state = State::Same;
        Ok(())
    }

    /// Who the kernel says has made a change, when it was made here.
    pub fn port_number(&self) -> u32 {
        self.channel.port_number()
    }

    fn commit(&mut self, commands: &[Command]) -> Result<(), Error> {
        commit(&mut self.channel, &self.table, self.family, commands)
    }
}

/// Puts a fragment into a table that may hold an older form of it.
fn renew(fragment: &Fragment) -> Vec<Command> {
    let mut commands = Vec::new();
    for (name, chain) in &fragment.chains {
        commands.push(Command::AddChain(name.clone(), chain.base));
        commands.push(Command::FlushChain(name.clone()));
        commands.extend(chain.rules.iter().map(|rule| Command::AddRule(name.clone(), rule.clone())));
    }
    let elements = fragment.elements.iter();
    commands
        .extend(elements.map(|((set, key), value)| {
            Command::AddElements(set.clone(), vec![(key.clone(), value.clone())])
        }));
    commands
}

fn commit(channel: &mut Channel, table: &str, family: Family, commands: &[Command]) -> Result<(), Error> {
    if commands.is_empty() {
        return Ok(());
    }
    let sequence = channel.reserve(0);
    let batch = encode(table, family, sequence, commands);
    let count = batch.commands.len() as u32;
    channel.reserve(count + 2);
    let last = batch.first.wrapping_add(count - 1);
    channel.batch(&batch.bytes, last).map_err(|Refusal { sequence, error }| {
        let place = batch.commands.get(sequence.wrapping_sub(batch.first) as usize);
        let subject = place
            .and_then(|place| commands.get(*place))
            .map_or_else(|| "transaction".to_owned(), ToString::to_string);
        Error::Rules { subject, source: error }
    })
}

/// Removes a table with all that is in it; it need not be there.
pub fn remove(table: &str, family: Family) -> Result<(), Error> {
    let mut channel = open(table)?;
    commit(&mut channel, table, family, &[Command::AddTable, Command::DeleteTable])
}
