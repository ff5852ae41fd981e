//! Amounts of resources, as integers.
//!
//! CPU counts in thousandths, everything else in its own unit, rounded up. Answers to the framework's
//! `Resource`.

use gifee_base::Quantity;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of local storage.
    pub storage: i64,
    /// All others by name, sorted: huge pages and extended resources.
    pub others: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// Adds an amount of a named resource.
    pub fn add_named(&mut self, name: &str, amount: i64) {
        match name {
            "cpu" => self.cpu = self.cpu.saturating_add(amount),
            "memory" => self.memory = self.memory.saturating_add(amount),
            "ephemeral-storage" => self.storage = self.storage.saturating_add(amount),
            _ => {
                let slot = self.slot(name);
                *slot = slot.saturating_add(amount);
            }
        }
    }

    /// Replaces the amount of a named resource.
    pub fn set_named(&mut self, name: &str, amount: i64) {
        match name {
            "cpu" => self.cpu = amount,
            "memory" => self.memory = amount,
            "ephemeral-storage" => self.storage = amount,
            _ => *self.slot(name) = amount,
        }
    }

    fn slot(&mut self, name: &str) -> &mut i64 {
        let at = match self.others.binary_search_by(|(one, _)| (**one).cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.others.insert(at, (name.into(), 0));
                at
            }
        };
        &mut self.others[at].1
    }

    /// The amount of a resource that is none of the three with a field of their own.
    pub fn other(&self, name: &str) -> i64 {
        let found = self.others.binary_search_by(|(one, _)| (**one).cmp(name));
        found.map_or(0, |at| self.others[at].1)
    }

    /// Adds all amounts.
    pub fn add(&mut self, more: &Self) {
        self.cpu = self.cpu.saturating_add(more.cpu);
        self.memory = self.memory.saturating_add(more.memory);
        self.storage = self.storage.saturating_add(more.storage);
        for (name, amount) in &more.others {
            let slot = self.slot(name);
            *slot = slot.saturating_add(*amount);
        }
    }

    /// Takes all amounts away.
    pub fn subtract(&mut self, less: &Self) {
        self.cpu = self.cpu.saturating_sub(less.cpu);
        self.memory = self.memory.saturating_sub(less.memory);
        self.storage = self.storage.saturating_sub(less.storage);
        for (name, amount) in &less.others {
            let slot = self.slot(name);
            *slot = slot.saturating_sub(*amount);
        }
    }

    /// Raises each amount to the other's, if that is more.
    pub fn raise(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.storage = self.storage.max(other.storage);
        for (name, amount) in &other.others {
            let slot = self.slot(name);
            *slot = (*slot).max(*amount);
        }
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.cpu == 0
            && self.memory == 0
            && self.storage == 0
            && self.others.iter().all(|(_, amount)| *amount == 0)
    }
}

/// A resource list as it stands in JSON.
#[derive(Clone, Debug, Default)]
pub struct Amounts(pub BTreeMap<String, Quantity>);

impl Amounts {
    /// As integers; `pods` is left out.
    pub fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in &self.0 {
            match name.as_str() {
                "pods" => {}
                "cpu" => resources.cpu = quantity.milli(),
                name => resources.set_named(name, quantity.value()),
            }
        }
        resources
    }
}

impl<'de> Deserialize<'de> for Amounts {
    /// A quantity that is none counts as absent: the server lets none through.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Text<'a> {
            Text(#[serde(borrow)] Cow<'a, str>),
            Number(serde_json::Number),
        }
        let pairs: Option<BTreeMap<String, Text<'_>>> = Option::deserialize(deserializer)?;
        let pairs = pairs.unwrap_or_default().into_iter().filter_map(|(name, text)| {
            let quantity = match text {
                Text::Text(text) => text.parse(),
                Text::Number(number) => number.to_string().parse(),
            };
            Some((name, quantity.ok()?))
        });
        Ok(Self(pairs.collect()))
    }
}
