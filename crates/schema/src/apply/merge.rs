//! The merge of an applied configuration into the object as it is, and the removal of fields.
//!
//! Invariant: what the configuration does not say stays; items of lists keep their order, and the configuration's
//! own order among those it names. Answers to structured-merge-diff's `typed/merge.go` and `typed/remove.go`.

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Set;
use super::typing::{Atom, Fields, List, Type};
use crate::Schema;
use crate::shape::ListKind;

/// Merges a configuration, which [`validate`](super::validate) accepted, into an object.
pub fn merge(schema: Option<&Schema>, live: &Value, configuration: &Value) -> Value {
    node(Type::of(schema), Some(live), Some(configuration)).unwrap_or(Value::Null)
}

fn node(kind: Type<'_>, left: Option<&Value>, right: Option<&Value>) -> Option<Value> {
    let (Some(left), Some(right)) = (left, right) else { return right.or(left).cloned() };
    match kind.atom(Some(right)) {
        Atom::Scalar(_) => Some(right.clone()),
        Atom::List(list) => {
            let (before, after) = (items(left), items(right));
            if list.kind == ListKind::Atomic || (before.is_empty() && after.is_empty()) {
                return Some(right.clone());
            }
            let merged = merge_items(&list, before, after);
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
        Atom::Map(fields) => {
            let (before, after) = (left.as_object(), right.as_object());
            let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
            if fields.atomic || (empty(before) && empty(after)) {
                return Some(right.clone());
            }
            let merged = merge_fields(&fields, before, after);
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn merge_fields(
    fields: &Fields<'_>,
    left: Option<&Map<String, Value>>,
    right: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut merged = left.cloned().unwrap_or_default();
    for (name, value) in right.into_iter().flatten() {
        let kind = fields.step(name).map_or(Type::Deduced, |step| step.kind);
        match node(kind, merged.get(name), Some(value)) {
            Some(value) => drop(merged.insert(name.clone(), value)),
            None => drop(merged.remove(name)),
        }
    }
    merged
}

/// An index of items by their elements. Of items that cannot be told apart, none is merged with.
struct Index<'a> {
    elements: Vec<Element>,
    by_element: Vec<(usize, Option<&'a Value>)>,
}

impl<'a> Index<'a> {
    fn new(list: &List<'_>, items: &'a [Value]) -> (Self, Vec<&'a Value>) {
        let (mut elements, mut kept) = (Vec::new(), Vec::new());
        for item in items {
            if let Ok(element) = list.element(item) {
                elements.push(element);
                kept.push(item);
            }
        }
        let mut order: Vec<_> = (0..elements.len()).collect();
        order.sort_by(|left, right| elements[*left].cmp(&elements[*right]));
        let mut by_element: Vec<(usize, Option<&Value>)> = Vec::new();
        for at in order {
            match by_element.last_mut() {
                Some(last) if elements[last.0] == elements[at] => last.1 = None,
                _ => by_element.push((at, Some(kept[at]))),
            }
        }
        (Self { elements, by_element }, kept)
    }

    /// None if there is none; `Some(None)` if there are several.
    fn get(&self, element: &Element) -> Option<Option<&'a Value>> {
        let found = self.by_element.binary_search_by(|one| self.elements[one.0].cmp(element));
        found.ok().map(|at| self.by_element[at].1)
    }
}

fn merge_items(list: &List<'_>, left: &[Value], right: &[Value]) -> Vec<Value> {
    let ((left, left_items), (right, _)) = (Index::new(list, left), Index::new(list, right));
    let mut out = Vec::with_capacity(left.elements.len().max(right.elements.len()));
    // Items of both, in the order of the configuration: which of them comes next.
    let shared: Vec<usize> =
        (0..right.elements.len()).filter(|at| left.get(&right.elements[*at]).is_some()).collect();
    let mut shared = shared.into_iter();
    let mut next = shared.next();
    let mut merged = vec![false; right.by_element.len()];
    let position =
        |element: &Element| right.by_element.binary_search_by(|one| right.elements[one.0].cmp(element)).ok();
    let both = |element: &Element| -> Option<Value> {
        node(list.item, left.get(element).flatten(), right.get(element).flatten())
    };
    let (mut l, mut r) = (0, 0);
    while l < left.elements.len() || r < right.elements.len() {
        if let (Some(own), Some(other)) = (left.elements.get(l), right.elements.get(r)) {
            if own == other {
                position(own).into_iter().for_each(|at| merged[at] = true);
                out.extend(both(own));
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if right.get(own).is_some() && next.is_some_and(|next| right.elements[next] != *own) {
                // An item of both, but not the one whose turn it is.
                l += 1;
                continue;
            }
        }
        if let Some(own) = left.elements.get(l) {
            match position(own) {
                None => {
                    out.push(left_items[l].clone());
                    l += 1;
                    continue;
                }
                Some(at) if merged[at] => l += 1,
                Some(_) => {}
            }
        }
        if let Some(other) = right.elements.get(r) {
            position(other).into_iter().for_each(|at| merged[at] = true);
            out.extend(both(other));
            if next.is_some_and(|next| right.elements[next] == *other) {
                next = shared.next();
            }
            r += 1;
        }
    }
    out
}

/// The object without the fields of a set; null where nothing is left.
pub fn remove(schema: Option<&Schema>, object: &Value, fields: &Set) -> Value {
    remove_below(Type::of(schema), object, fields)
}

fn remove_below(kind: Type<'_>, value: &Value, set: &Set) -> Value {
    match (kind.atom(Some(value)), value) {
        (Atom::Scalar(_), value) => value.clone(),
        (Atom::List(list), Value::Array(items)) if list.kind != ListKind::Atomic => {
            let kept = items.iter().filter_map(|item| {
                let Some(node) = list.element(item).ok().and_then(|element| set.node(&element)) else {
                    return Some(item.clone());
                };
                if node.member {
                    return None;
                }
                Some(remove_below(list.item, item, &node.below))
            });
            let kept: Vec<_> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        (Atom::Map(fields), Value::Object(map)) if !fields.atomic => {
            let kept = map.iter().filter_map(|(name, value)| {
                let Some(node) = set.node(&Element::field(name)) else {
                    return Some((name.clone(), value.clone()));
                };
                if node.member {
                    return None;
                }
                let kind = fields.step(name).map_or(Type::Deduced, |step| step.kind);
                Some((name.clone(), remove_below(kind, value, &node.below)))
            });
            let kept: Map<_, _> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        _ => Value::Null,
    }
}
