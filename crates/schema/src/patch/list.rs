//! Strategic merge of lists: by a merge key or as scalars, and the order of what comes out.
//!
//! Invariant: work grows with the lists' lengths, not with their product.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::strategic::{Declared, PATCH, bad_type, merge_map, unknown_directive};
use crate::shape::Types;
use crate::{Error, Result, go};

/// How items of a list are told apart: by a field of theirs, or, if it is empty, by themselves.
#[derive(Clone, Copy)]
pub(super) struct Keyed<'a>(pub &'a str);

impl Keyed<'_> {
    /// What tells an item apart, as text; None for an object without its merge key.
    fn of(self, item: &Value) -> Option<String> {
        match item {
            Value::Object(map) if !self.0.is_empty() => map.get(self.0).map(Value::to_string),
            other => Some(other.to_string()),
        }
    }

    fn required(self, item: &Value) -> Result<String> {
        let map = item.as_object().ok_or_else(|| bad_type("map[string]interface {}", item))?;
        self.of(item).ok_or_else(|| missing_key(map, self.0))
    }

    /// Where each is first.
    fn positions(self, items: &[Value]) -> HashMap<String, usize> {
        let mut positions = HashMap::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            if let Some(key) = self.of(item) {
                positions.entry(key).or_insert(at);
            }
        }
        positions
    }
}

fn missing_key(map: &Map<String, Value>, key: &str) -> Error {
    Error::Internal(format!("map: {} does not contain declared merge key: {key}", go::print_map(map)))
}

fn directive(item: &Value) -> Option<&Value> {
    item.as_object().and_then(|map| map.get(PATCH))
}

/// Whether the lists' items are objects; an error if they are of different types or lists.
pub(super) fn same_kind(lists: &[&[Value]]) -> Result<bool> {
    let mut items = lists.iter().flat_map(|list| list.iter());
    let Some(first) = items.next() else {
        return Err(Error::Internal("no elements in any of the given slices".to_string()));
    };
    if first.is_array() {
        return Err(Error::Unprocessable("lists of lists are not supported".to_string()));
    }
    if !first.is_null() && items.all(|item| go::type_name(item) == go::type_name(first)) {
        return Ok(first.is_object());
    }
    let printed: Vec<_> = lists.iter().map(|list| go::print_list(list)).collect();
    Err(Error::Internal(format!("list element types are not identical: [{}]", printed.join(" "))))
}

pub(super) fn merge(
    types: &Types,
    declared: Declared,
    original: Vec<Value>,
    patch: Vec<Value>,
    deletion: bool,
) -> Result<Vec<Value>> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let key = Keyed(declared.merge_key);
    if !same_kind(&[&original, &patch])? {
        if deletion {
            let gone: HashSet<String> = patch.iter().map(Value::to_string).collect();
            return Ok(original.into_iter().filter(|item| !gone.contains(&item.to_string())).collect());
        }
        let mut seen = HashSet::new();
        let both = original.iter().chain(&patch).filter(|item| seen.insert(item.to_string())).cloned();
        let merged: Vec<Value> = both.collect();
        if let Some(item) = merged.first().filter(|_| !key.0.is_empty()) {
            return Err(bad_type("map[string]interface {}", item));
        }
        return order(Keyed(""), merged, &patch, &original);
    }
    if declared.merge_key.is_empty() {
        return Err(Error::Internal("cannot merge lists without merge key for struct".to_string()));
    }
    let (original, patch) = directed(key, original, patch)?;
    let (server_order, patch_order) = (keys_only(key, &original), keys_only(key, &patch));
    let merged = merge_objects(types, declared, original, patch)?;
    order(key, merged, &patch_order, &server_order)
}

/// Items that stand for others in what is only looked up by key.
fn keys_only(key: Keyed, items: &[Value]) -> Vec<Value> {
    let stripped = items.iter().map(|item| {
        let found = item.as_object().and_then(|map| map.get_key_value(key.0));
        Value::Object(found.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect())
    });
    stripped.collect()
}

/// Carries out the patch's items that only direct: what is left of both lists.
fn directed(key: Keyed, original: Vec<Value>, patch: Vec<Value>) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut gone = HashSet::new();
    let mut replaces = false;
    let mut rest = Vec::with_capacity(patch.len());
    for item in patch {
        let Some(found) = directive(&item) else {
            rest.push(item);
            continue;
        };
        match found.as_str() {
            Some("delete") => {
                gone.insert(key.required(&item)?);
            }
            Some("replace") => replaces = true,
            Some("merge") => {
                return Err(Error::Internal(
                    "merging lists cannot yet be specified in the patch".to_string(),
                ));
            }
            _ => return Err(unknown_directive(found, item.as_object().unwrap_or(&Map::new()))),
        }
    }
    if replaces {
        return Ok((rest, Vec::new()));
    }
    let mut kept = original;
    if !gone.is_empty() {
        kept.retain(|item| key.of(item).is_none_or(|of| !gone.contains(&of)));
    }
    Ok((kept, rest))
}

fn merge_objects(
    types: &Types,
    declared: Declared,
    original: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Vec<Value>> {
    let key = Keyed(declared.merge_key);
    let mut merged = original;
    let mut positions = key.positions(&merged);
    for item in patch {
        let of = key.required(&item)?;
        match positions.get(&of) {
            Some(at) => {
                let Value::Object(present) = merged[*at].take() else { continue };
                let Value::Object(item) = item else { continue };
                merged[*at] = Value::Object(merge_map(types, declared.node, present, item)?);
            }
            None => {
                positions.insert(of, merged.len());
                merged.push(item);
            }
        }
    }
    Ok(merged)
}

/// Puts what stands in `wanted` into its order and lets the rest keep the order it has in `server`, among them as near
/// to where it was as that allows.
pub(super) fn order(
    key: Keyed,
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
) -> Result<Vec<Value>> {
    let wanted = key.positions(wanted);
    let server = key.positions(server);
    let (mut chosen, mut rest) = (Vec::new(), Vec::new());
    for item in merged {
        let of = if item.is_object() && !key.0.is_empty() { key.required(&item)? } else { item.to_string() };
        if wanted.contains_key(&of) { chosen.push((of, item)) } else { rest.push((of, item)) }
    }
    chosen.sort_by_key(|(of, _)| wanted.get(of).copied());
    sort_known(&mut rest, &server);
    let (mut chosen, mut rest) = (chosen.into_iter().peekable(), rest.into_iter().peekable());
    let mut out = Vec::with_capacity(chosen.len() + rest.len());
    loop {
        let rest_first = match (rest.peek(), chosen.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((left, _)), Some((right, _))) => match (server.get(left), server.get(right)) {
                (Some(left), Some(right)) => left < right,
                _ => false,
            },
        };
        out.extend(if rest_first { rest.next() } else { chosen.next() }.map(|(_, item)| item));
    }
}

/// Sorts by position; what has none comes first, the last of them foremost, as upstream's comparison makes it.
fn sort_known(items: &mut Vec<(String, Value)>, positions: &HashMap<String, usize>) {
    let (mut known, mut unknown): (Vec<_>, Vec<_>) =
        std::mem::take(items).into_iter().partition(|(of, _)| positions.contains_key(of));
    known.sort_by_key(|(of, _)| positions.get(of).copied());
    unknown.reverse();
    items.append(&mut unknown);
    items.append(&mut known);
}

/// Whether the items of a patch stand in the order that `$setElementOrder` gives them. What stands after the
/// last one it gives may only be deletions, as upstream has it.
pub(super) fn check_order(key: Keyed, patch: &[Value], order: &[Value]) -> Result<()> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut items = Vec::with_capacity(patch.len());
    for item in patch {
        if !key.0.is_empty() && !item.is_object() {
            return Err(bad_type("map[string]interface {}", item));
        }
        if key.0.is_empty() || directive(item).and_then(Value::as_str) != Some("delete") {
            items.push(item);
        }
    }
    let of = |item: &Value| if key.0.is_empty() { Ok(item.to_string()) } else { key.required(item) };
    let (mut at, mut next) = (0, 0);
    while at < items.len() && next < order.len() {
        if directive(items[at]).is_some() {
            at += 1;
            continue;
        }
        at += usize::from(of(items[at])? == of(&order[next])?);
        next += 1;
    }
    if at == items.len() {
        return Ok(());
    }
    Err(Error::Internal(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        go::print_list(patch),
        go::print_list(order)
    )))
}

/// The order of the live list as upstream sees it once a patch was merged: what the patch adds stands where
/// something was deleted.
pub(super) fn server_order(key: Keyed, original: &[Value], patch: &[Value]) -> Vec<Value> {
    let (mut gone, mut replaces) = (HashSet::new(), false);
    for item in patch {
        match directive(item).and_then(Value::as_str) {
            Some("delete") => gone.extend(key.of(item)),
            Some("replace") => replaces = true,
            _ => {}
        }
    }
    if replaces || gone.is_empty() || key.0.is_empty() {
        return original.to_vec();
    }
    let present: HashSet<_> =
        original.iter().filter_map(|item| key.of(item)).filter(|of| !gone.contains(of)).collect();
    let kept = original.iter().filter(|item| key.of(item).is_none_or(|of| !gone.contains(&of)));
    let added = patch
        .iter()
        .filter(|item| directive(item).is_none() && key.of(item).is_some_and(|of| !present.contains(&of)));
    kept.chain(added).take(original.len()).cloned().collect()
}
