//! What the table holds and should hold: fragments by owner, and the steps from one state to the next.
//!
//! Invariant: after the commands that [`Model::change`] returns are applied as one transaction, the
//! kernel's table is exactly the model. A change costs what changed, not what exists.

use std::collections::{BTreeMap, BTreeSet};

use super::ir::{Command, Fragment, Key, Value};
use crate::service::ServicePortName;

/// Whose fragment it is. Where two claim the same element, the lesser owner has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The fixed part.
    Base,
    /// A port of a Service.
    Service(ServicePortName),
    /// A port of a service of this process, such as the cluster DNS; a Service with endpoints goes before it.
    Own(ServicePortName),
    /// A sandbox with host ports.
    Pod(String),
}

/// Elements of a set in one message; an attribute cannot be longer than 64 KiB.
const ELEMENTS_TOGETHER: usize = 256;

type Place = (String, Key);

/// The table as it should be.
#[derive(Debug, Default)]
pub struct Model {
    fragments: BTreeMap<Owner, Fragment>,
    claims: BTreeMap<Place, BTreeMap<Owner, Value>>,
}

/// The commands of a transaction by kind, in the order in which the kernel can take them.
#[derive(Default)]
struct Steps {
    add_sets: Vec<Command>,
    add_chains: Vec<Command>,
    delete_elements: BTreeMap<String, Vec<Key>>,
    flush: Vec<Command>,
    rules: Vec<Command>,
    add_elements: BTreeMap<String, Vec<(Key, Value)>>,
    delete_chains: Vec<Command>,
    delete_sets: Vec<Command>,
}

impl Steps {
    fn add_chains_of(&mut self, fragment: &Fragment) {
        for (name, chain) in &fragment.chains {
            self.add_chains.push(Command::AddChain(name.clone(), chain.base));
            self.rules.extend(chain.rules.iter().map(|rule| Command::AddRule(name.clone(), rule.clone())));
        }
    }

    fn into_commands(self) -> Vec<Command> {
        let mut commands = self.add_sets;
        commands.extend(self.add_chains);
        for (set, keys) in self.delete_elements {
            commands.extend(
                keys.chunks(ELEMENTS_TOGETHER)
                    .map(|some| Command::DeleteElements(set.clone(), some.to_vec())),
            );
        }
        commands.extend(self.flush);
        commands.extend(self.rules);
        for (set, elements) in self.add_elements {
            commands.extend(
                elements
                    .chunks(ELEMENTS_TOGETHER)
                    .map(|some| Command::AddElements(set.clone(), some.to_vec())),
            );
        }
        commands.extend(self.delete_chains);
        commands.extend(self.delete_sets);
        commands
    }
}

impl Model {
    fn holder(&self, place: &Place) -> Option<&Value> {
        self.claims.get(place).and_then(|claims| claims.values().next())
    }

    /// Replaces fragments (`None` removes) and says what to do to the kernel's table.
    pub fn change(&mut self, updates: Vec<(Owner, Option<Fragment>)>) -> Vec<Command> {
        let mut steps = Steps::default();
        let mut before: BTreeMap<Place, Option<Value>> = BTreeMap::new();
        for (owner, new) in updates {
            let old = self.fragments.remove(&owner).unwrap_or_default();
            let new_or_empty = new.clone().unwrap_or_default();
            self.change_sets(&old, &new_or_empty, &mut steps);
            Self::change_chains(&old, &new_or_empty, &mut steps);
            let places: BTreeSet<&Place> = old.elements.keys().chain(new_or_empty.elements.keys()).collect();
            for place in places {
                if old.elements.get(place) == new_or_empty.elements.get(place) {
                    continue;
                }
                if !before.contains_key(place) {
                    before.insert(place.clone(), self.holder(place).cloned());
                }
                self.claim(&owner, place, new_or_empty.elements.get(place));
            }
            if let Some(new) = new {
                self.fragments.insert(owner, new);
            }
        }
        for (place, was) in before {
            let is = self.holder(&place).cloned();
            if was == is {
                continue;
            }
            let (set, key) = place;
            if was.is_some() {
                steps.delete_elements.entry(set.clone()).or_default().push(key.clone());
            }
            if let Some(value) = is {
                steps.add_elements.entry(set).or_default().push((key, value));
            }
        }
        steps.into_commands()
    }

    fn claim(&mut self, owner: &Owner, place: &Place, value: Option<&Value>) {
        match value {
            Some(value) => {
                self.claims.entry(place.clone()).or_default().insert(owner.clone(), value.clone());
            }
            None => {
                if let Some(claims) = self.claims.get_mut(place) {
                    claims.remove(owner);
                    if claims.is_empty() {
                        self.claims.remove(place);
                    }
                }
            }
        }
    }

    fn change_sets(&self, old: &Fragment, new: &Fragment, steps: &mut Steps) {
        for (name, set) in &new.sets {
            // An owner's set never changes its type: the type follows from what the name says.
            if !old.sets.contains_key(name) {
                steps.add_sets.push(Command::AddSet(name.clone(), set.clone()));
            }
        }
        let gone = old.sets.keys().filter(|name| !new.sets.contains_key(*name));
        steps.delete_sets.extend(gone.map(|name| Command::DeleteSet(name.clone())));
    }

    fn change_chains(old: &Fragment, new: &Fragment, steps: &mut Steps) {
        for (name, chain) in &new.chains {
            match old.chains.get(name) {
                Some(same) if same == chain => continue,
                Some(_) => steps.flush.push(Command::FlushChain(name.clone())),
                None => steps.add_chains.push(Command::AddChain(name.clone(), chain.base)),
            }
            steps.rules.extend(chain.rules.iter().map(|rule| Command::AddRule(name.clone(), rule.clone())));
        }
        for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
            steps.flush.push(Command::FlushChain(name.clone()));
            steps.delete_chains.push(Command::DeleteChain(name.clone()));
        }
    }

    /// Everything, from nothing: replaces whatever table is there, in one transaction.
    pub fn whole(&self) -> Vec<Command> {
        let mut steps = Steps::default();
        for fragment in self.fragments.values() {
            steps
                .add_sets
                .extend(fragment.sets.iter().map(|(name, set)| Command::AddSet(name.clone(), set.clone())));
            steps.add_chains_of(fragment);
        }
        for ((set, key), claims) in &self.claims {
            if let Some(value) = claims.values().next() {
                steps.add_elements.entry(set.clone()).or_default().push((key.clone(), value.clone()));
            }
        }
        let mut commands = vec![Command::AddTable, Command::DeleteTable, Command::AddTable];
        commands.extend(steps.into_commands());
        commands
    }
}
