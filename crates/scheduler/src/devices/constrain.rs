//! Constraints of a claim while devices are tried out.
//!
//! Invariant: what keeps a device out keeps it out whatever else is added. Answers to `matchAttribute` and
//! `distinctAttribute` of upstream's structured allocator.

use super::object::{Constraint, Device};
use serde_json::Value;

/// A constraint, and the values that the devices so far have.
#[derive(Debug)]
pub struct Held<'a> {
    constraint: &'a Constraint,
    values: Vec<&'a Value>,
}

impl<'a> Held<'a> {
    /// With no device yet.
    pub fn new(constraint: &'a Constraint) -> Self {
        Self { constraint, values: Vec::new() }
    }

    /// Adds a device for a request; whether the constraint lets it.
    pub fn add(&mut self, request: &str, device: &'a Device) -> bool {
        if !self.constraint.concerns(request) {
            return true;
        }
        let name = self.constraint.attribute.as_deref().unwrap_or_default();
        let Some(value) = device.attribute(name).filter(|value| is_single(value)) else { return false };
        let fits = match self.constraint.distinct {
            true => !self.values.contains(&value),
            false => self.values.first().is_none_or(|first| *first == value),
        };
        if fits {
            self.values.push(value);
        }
        fits
    }

    /// Takes the device away that was added last.
    pub fn remove(&mut self, request: &str) {
        if self.constraint.concerns(request) {
            self.values.pop();
        }
    }
}

fn is_single(value: &Value) -> bool {
    let kinds = ["int", "bool", "string", "version"];
    value.as_object().is_some_and(|one| one.keys().all(|kind| kinds.contains(&kind.as_str())))
}
