//! Which pod goes first, and what it is told. Pure.
//!
//! Answers to `pkg/kubelet/eviction/helpers.go`.

use gifee_base::Quantity;
use gifee_base::quantity::Format;

/// A pod of this priority, or more, is never evicted.
const CRITICAL: i64 = 2_000_000_000;

/// What a node can run short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Memory.
    Memory,
    /// Bytes of the disk.
    Disk,
    /// Files of the disk.
    Inodes,
}

impl Signal {
    /// The resource that is reclaimed.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::Disk => "ephemeral-storage",
            Signal::Inodes => "inodes",
        }
    }
}

/// What was read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Of what.
    pub signal: Signal,
    /// What is left.
    pub available: i64,
    /// What is to be left at least.
    pub threshold: i64,
}

impl Reading {
    /// Whether the node is short of it.
    pub(super) fn low(&self) -> bool {
        self.available < self.threshold
    }
}

/// How much of a resource a part of a pod uses, and how much it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The container.
    pub name: String,
    /// What it uses.
    pub used: i64,
    /// What it asked for.
    pub requested: i64,
}

/// A pod that may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its UID.
    pub uid: String,
    /// Its priority.
    pub priority: i64,
    /// What all of it uses.
    pub used: i64,
    /// What all of it asked for.
    pub requested: i64,
    /// Its containers.
    pub parts: Vec<Part>,
}

/// The pod that goes: one that uses more than it asked for, then one that matters less, then the one that is most above.
pub(super) fn victim(candidates: Vec<Candidate>) -> Option<Candidate> {
    let open = candidates.into_iter().filter(|one| one.priority < CRITICAL);
    open.min_by_key(|one| {
        let above = one.used.saturating_sub(one.requested);
        (above <= 0, one.priority, above.saturating_neg())
    })
}

/// What it is told.
pub(super) fn message(reading: &Reading, victim: &Candidate) -> String {
    let resource = reading.signal.resource();
    let format = if reading.signal == Signal::Inodes { Format::DecimalSi } else { Format::BinarySi };
    let say = |value: i64| Quantity::from_units(value, format).to_string();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        say(reading.threshold),
        say(reading.available)
    );
    for part in victim.parts.iter().filter(|part| part.used > part.requested) {
        let Part { name, used, requested } = part;
        text.push_str(&format!(
            "Container {name} was using {}, request is {}, has larger consumption of {resource}. ",
            say(*used),
            say(*requested)
        ));
    }
    text
}
