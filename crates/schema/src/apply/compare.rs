//! What changed between two objects, as sets of fields.
//!
//! Invariant: no field is in two of the sets, and equal objects give empty ones. Answers to structured-merge-diff's
//! `typed/compare.go`.

use serde_json::{Map, Value};

use super::element::{Element, equal};
use super::set::{Filter, Set};
use super::typing::{At, Atom, Fields, Frame, List, Type};
use crate::Schema;
use crate::shape::ListKind;

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields that only the old object has.
    pub removed: Set,
    /// Fields whose value differs.
    pub modified: Set,
    /// Fields that only the new object has.
    pub added: Set,
}

impl Comparison {
    /// Only what a write may own.
    #[must_use]
    pub fn filtered(self, filter: &Filter) -> Self {
        Self {
            removed: filter.apply(self.removed),
            modified: filter.apply(self.modified),
            added: filter.apply(self.added),
        }
    }

    /// What the new object says that the old one did not.
    pub fn changed(&self) -> Set {
        if self.added.is_empty() {
            return self.modified.clone();
        }
        self.modified.union(&self.added)
    }
}

/// Compares two objects of a kind; without a schema, of what they look like.
pub fn compare(schema: Option<&Schema>, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    node(&mut comparison, Type::of(schema), None, Some(old), Some(new));
    comparison
}

fn node(
    out: &mut Comparison,
    kind: Type<'_>,
    frame: Option<&Frame<'_>>,
    old: Option<&Value>,
    new: Option<&Value>,
) {
    let (old_atom, new_atom) = (kind.atom(old), kind.atom(new));
    let leaf = if new.is_none() {
        atom(out, &old_atom, frame, old, new)
    } else if old.is_none() || old_atom.is_like(&new_atom) {
        atom(out, &new_atom, frame, old, new)
    } else {
        atom(out, &old_atom, frame, old, new);
        atom(out, &new_atom, frame, old, new)
    };
    if leaf {
        return;
    }
    if old.is_none() {
        out.added.insert(&Frame::path(frame));
    } else if new.is_none() {
        out.removed.insert(&Frame::path(frame));
    }
}

/// Whether it was a leaf, which has been entered into the sets.
fn atom(
    out: &mut Comparison,
    atom: &Atom<'_>,
    frame: Option<&Frame<'_>>,
    old: Option<&Value>,
    new: Option<&Value>,
) -> bool {
    match atom {
        Atom::Scalar(_) => leaf(out, frame, old, new),
        Atom::List(list) => {
            let (before, after) = (items(old), items(new));
            if list.kind == ListKind::Atomic || (before.is_empty() && after.is_empty()) {
                return leaf(out, frame, old, new);
            }
            if old.is_none() || new.is_none() || before != after {
                list_items(out, list, frame, before, after);
            }
            false
        }
        Atom::Map(fields) => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
            if fields.atomic || (empty(before) && empty(after)) {
                return leaf(out, frame, old, new);
            }
            map_fields(out, fields, frame, before, after);
            match (before, after) {
                (Some(map), None) => nulls(&mut out.removed, fields, frame, map),
                (None, Some(map)) => nulls(&mut out.added, fields, frame, map),
                _ => {}
            }
            false
        }
    }
}

fn leaf(out: &mut Comparison, frame: Option<&Frame<'_>>, old: Option<&Value>, new: Option<&Value>) -> bool {
    let set = match (old, new) {
        (None, _) => &mut out.added,
        (_, None) => &mut out.removed,
        (Some(old), Some(new)) if equal(old, new) => return true,
        _ => &mut out.modified,
    };
    set.insert(&Frame::path(frame));
    true
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The fields of both maps in the order of their names.
fn map_fields(
    out: &mut Comparison,
    fields: &Fields<'_>,
    frame: Option<&Frame<'_>>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
) {
    let mut one = |name: &str, before: Option<&Value>, after: Option<&Value>| {
        // Most of an object stays as it is, and that is seen without asking what it is.
        if before.is_some() && before == after {
            return;
        }
        let kind = fields.step(name).map_or(Type::Deduced, |step| step.kind);
        // An object of a typed client has some fields whether or not anybody gave them a value.
        let before = before.or_else(|| old.and_then(|_| fields.absent(name)));
        let after = after.or_else(|| new.and_then(|_| fields.absent(name)));
        let below = Frame { parent: frame, at: At::Field(name) };
        node(out, kind, Some(&below), before, after);
    };
    for (name, before) in old.into_iter().flatten() {
        one(name, Some(before), new.and_then(|new| new.get(name)));
    }
    for (name, after) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            one(name, None, Some(after));
        }
    }
}

/// The fields that a typed object has as null, of an object that is only on one side.
fn nulls(set: &mut Set, fields: &Fields<'_>, frame: Option<&Frame<'_>>, map: &Map<String, Value>) {
    for name in fields.nulls(map) {
        set.insert(&Frame::path(Some(&Frame { parent: frame, at: At::Field(name) })));
    }
}

/// The items in the order of their elements; such that have none, which validation refuses, are passed over.
fn sorted<'a>(list: &List<'_>, items: &'a [Value]) -> Vec<(Element, &'a Value)> {
    let elements = items.iter().filter_map(|item| Some((list.element(item).ok()?, item)));
    let mut elements: Vec<_> = elements.collect();
    elements.sort_by(|left, right| left.0.cmp(&right.0));
    elements
}

fn list_items(
    out: &mut Comparison,
    list: &List<'_>,
    frame: Option<&Frame<'_>>,
    old: &[Value],
    new: &[Value],
) {
    let (old, new) = (sorted(list, old), sorted(list, new));
    let (mut old, mut new) = (&old[..], &new[..]);
    while let Some((element, _)) = match (old.first(), new.first()) {
        (Some(left), Some(right)) => Some(if left.0 <= right.0 { left } else { right }),
        (left, right) => left.or(right),
    } {
        let take = |items: &[(Element, &Value)]| items.iter().take_while(|item| item.0 == *element).count();
        let ((before, rest_old), (after, rest_new)) = (old.split_at(take(old)), new.split_at(take(new)));
        (old, new) = (rest_old, rest_new);
        let below = Frame { parent: frame, at: At::Item(element) };
        let (one, other) = (before.first().map(|item| item.1), after.first().map(|item| item.1));
        match (before.len(), after.len()) {
            (0 | 1, 0 | 1) => {
                node(out, list.item, Some(&below), one, other);
            }
            // Items that cannot be told apart are one field together.
            (2.., 2..) => {
                let same = before.len() == after.len()
                    && before.iter().zip(after).all(|(left, right)| equal(left.1, right.1));
                if !same {
                    out.modified.insert(&Frame::path(Some(&below)));
                }
            }
            (2.., _) => {
                if other.is_some() {
                    node(out, list.item, Some(&below), None, other);
                }
                out.removed.insert(&Frame::path(Some(&below)));
            }
            (_, _) => {
                if one.is_some() {
                    node(out, list.item, Some(&below), one, None);
                }
                out.added.insert(&Frame::path(Some(&below)));
            }
        }
    }
}
