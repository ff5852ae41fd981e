//! Strategic merge of objects: directives, and each field by its declared strategy. Lists are in `list`.

use serde_json::{Map, Value};

use super::list::{self, Keyed};
use super::merge::prune;
use crate::shape::{FieldFlags, NodeId, Shape, Types};
use crate::{Error, Result, go};

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_ELEMENT_ORDER: &str = "invalid patch format of setElementOrder list";

/// What is declared about a field.
#[derive(Clone, Copy)]
pub(super) struct Declared<'a> {
    /// Of a list, its items; of another value itself.
    pub node: NodeId,
    pub flags: FieldFlags,
    pub merge_key: &'a str,
}

fn bad(message: &str) -> Error {
    Error::Patch(message.to_string())
}

pub(super) fn bad_type(expected: &str, found: &Value) -> Error {
    Error::Internal(format!("expected a {expected}, but received a {}", go::type_name(found)))
}

pub(super) fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> Error {
    Error::Internal(format!("unknown patch type: {} in map: {}", go::print(directive), go::print_map(patch)))
}

/// `FIELD` of `$directive/FIELD`.
fn field_of<'a>(name: &'a str, directive: &str, error: &str) -> Result<&'a str> {
    name.split_once('/')
        .filter(|(prefix, _)| *prefix == directive)
        .map(|(_, field)| field)
        .ok_or_else(|| bad(error))
}

pub(super) fn merge_map(
    types: &Types,
    node: NodeId,
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(types, node, &mut original, &mut patch)?;
    for (name, value) in patch {
        let deletion = name.starts_with(DELETE_FROM);
        let name = match deletion {
            true => field_of(&name, DELETE_FROM, BAD_PRIMITIVE_LIST)?.to_string(),
            false => name,
        };
        if value.is_null() {
            original.remove(&name);
            continue;
        }
        let present = original.remove(&name);
        if let Some(merged) = merge_value(types, node, &name, present, value, deletion)? {
            original.insert(name, merged);
        }
    }
    Ok(original)
}

/// The new value of a field; None if it goes.
fn merge_value(
    types: &Types,
    node: NodeId,
    name: &str,
    present: Option<Value>,
    value: Value,
    deletion: bool,
) -> Result<Option<Value>> {
    match (present, value) {
        (Some(Value::Object(present)), Value::Object(value)) => {
            let declared = lookup(types, node, name)?;
            if declared.flags.has(FieldFlags::REPLACE) {
                return Ok(Some(Value::Object(value)));
            }
            merge_map(types, declared.node, present, value).map(|merged| Some(Value::Object(merged)))
        }
        (Some(Value::Array(present)), Value::Array(value)) => {
            let declared = lookup_list(types, node, name)?;
            let merged = if declared.flags.has(FieldFlags::MERGE) || deletion {
                list::merge(types, declared, present, value, deletion)?
            } else {
                value
            };
            Ok(Some(Value::Array(merged)))
        }
        (present, _) if deletion => Ok(present),
        (_, mut value) => {
            prune(&mut value);
            Ok(without_directives(value))
        }
    }
}

/// The value with nothing in it that only directs; None if it is a directive itself.
pub(super) fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?))).collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<()> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(retained) = retained else { return Err(bad(BAD_RETAIN_KEYS)) };
    let keeps = |name: &str| retained.iter().any(|one| one.as_str() == Some(name));
    let directs = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directs(name) && !keeps(name)) {
        return Err(bad(BAD_RETAIN_KEYS));
    }
    original.retain(|name, _| keeps(name));
    Ok(())
}

fn set_element_orders(
    types: &Types,
    node: NodeId,
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<()> {
    let directives: Vec<String> =
        patch.keys().filter(|name| name.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Value::Array(order) = order else { return Err(bad_type("[]interface {}", &order)) };
        let name = field_of(&directive, ELEMENT_ORDER, BAD_ELEMENT_ORDER)?;
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(bad_type("[]interface {}", &other)),
        };
        let patched = list(patch.remove(name))?;
        let present = list(original.get(name).cloned())?;
        let declared = lookup_list(types, node, name)?;
        let key = Keyed(declared.merge_key);
        list::check_order(key, patched.as_deref().unwrap_or_default(), &order)?;
        let present_items = present.clone().unwrap_or_default();
        let patch_items = patched.clone().unwrap_or_default();
        let merged = match (present, patched) {
            (None, None) => continue,
            (Some(present), None) => present,
            (None, Some(patched)) => patched.into_iter().filter_map(without_directives).collect(),
            (Some(present), Some(patched)) if declared.flags.has(FieldFlags::MERGE) => {
                list::merge(types, declared, present, patched, false)?
            }
            (Some(_), Some(patched)) => patched,
        };
        list::same_kind(&[&present_items, &patch_items])?;
        let server_order = list::server_order(key, &present_items, &patch_items);
        let ordered = list::order(key, merged, &order, &server_order)?;
        original.insert(name.to_string(), Value::Array(ordered));
    }
    Ok(())
}

fn lookup<'a>(types: &'a Types, node: NodeId, name: &str) -> Result<Declared<'a>> {
    let kind = match types.shape(node) {
        Shape::Struct(id) => {
            if let Some(field) = types.field(id, name) {
                let merge_key = types.text(field.merge_key);
                return Ok(Declared { node: field.node, flags: field.flags, merge_key });
            }
            return Err(Error::Internal(format!(
                "unable to find api field in struct {} for the json field {}",
                types.structure(id).name(),
                go::quote(name)
            )));
        }
        Shape::Map { .. } => "map",
        Shape::Any => "interface",
        _ => {
            let go_type = types.go_type(node);
            let short = go_type.rsplit('.').next().unwrap_or(&go_type);
            return Err(Error::Internal(format!(
                "unable to find api field in struct {short} for the json field {}",
                go::quote(name)
            )));
        }
    };
    Err(Error::Internal(format!("merging an object in json but data type is not struct, instead is: {kind}")))
}

fn lookup_list<'a>(types: &'a Types, node: NodeId, name: &str) -> Result<Declared<'a>> {
    let declared = lookup(types, node, name)?;
    match types.shape(declared.node) {
        Shape::List { item, .. } => Ok(Declared { node: item, ..declared }),
        _ => Err(Error::Internal("expected slice or array type, but got: struct".to_string())),
    }
}
