//! What webhooks and policies are shown of a write, in place of the trees that it works on.
//!
//! Invariant: others know ownership as a list, which on the way of a write is one text, and a write of a scale as a
//! Scale; what they change comes back in the form that the write works on. One road for all four who are asked.

use super::{Write, managed, scale};
use gifee_base::object::unfold;
use serde_json::Value;
use std::borrow::Cow;

/// The two objects of a write, to be looked at.
pub struct Shown<'a> {
    /// As it is to be.
    pub object: Cow<'a, Value>,
    /// As it is.
    pub old: Option<Cow<'a, Value>>,
}

impl<'a> Shown<'a> {
    /// Of a write.
    pub fn new(write: &Write<'_>, object: &'a Value, old: Option<&'a Value>) -> Self {
        match scale_of(write, object) {
            Some(scale) => Self { object: Cow::Owned(scale), old: old_scale(write, old) },
            None => Self { object: managed::shown(object), old: old.map(managed::shown) },
        }
    }
}

/// The two objects of a write, of which the one that is to be may be changed.
pub struct Lent<'a> {
    /// As it is to be.
    pub object: Value,
    /// As it is.
    pub old: Option<Cow<'a, Value>>,
    whole: Option<Whole>,
}

/// The object itself is lent, and not its scale.
struct Whole {
    /// Who owns what of it, as the write has it.
    managed: Option<String>,
}

impl<'a> Lent<'a> {
    /// Takes the object out of the write until it is given back.
    pub fn new(write: &Write<'_>, object: &mut Value, old: Option<&'a Value>) -> Self {
        if let Some(scale) = scale_of(write, object) {
            return Self { object: scale, old: old_scale(write, old), whole: None };
        }
        let managed = managed::text(object).map(str::to_owned);
        let mut object = object.take();
        unfold(&mut object);
        Self { object, old: old.map(managed::shown), whole: Some(Whole { managed }) }
    }

    /// Puts what became of the object back into the write.
    pub fn give_back(self, write: &Write<'_>, object: &mut Value) {
        match self.whole {
            None => scale::put_back(write.resource, object, &self.object),
            Some(whole) => {
                *object = self.object;
                managed::refold(write, object, whole.managed);
            }
        }
    }
}

fn scale_of(write: &Write<'_>, object: &Value) -> Option<Value> {
    if write.subresource == "scale" { scale::shown(write.resource, object) } else { None }
}

fn old_scale<'a>(write: &Write<'_>, old: Option<&Value>) -> Option<Cow<'a, Value>> {
    old.and_then(|old| scale::shown(write.resource, old)).map(Cow::Owned)
}
