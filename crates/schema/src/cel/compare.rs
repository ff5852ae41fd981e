//! Equality, order and addition of values, and their way into JSON.
//!
//! Invariant: what they do is counted, since values that share parts can be far larger than what was paid to
//! build them. Answers to cel-go's traits `Equaler`, `Comparer` and `Adder`, and to the apiserver's list kinds.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::Budget;
use super::error::Error;
use super::functions::{convert, time};
use super::kind::{Order, Type};
use super::value::{Items, Key, Text, Value};

/// How deep values may nest when they are walked.
const DEPTH: usize = 200;

/// Whether two values are equal. Values of different types are not, but numbers compare across types.
pub(super) fn equal(a: &Value<'_>, b: &Value<'_>, budget: &mut Budget) -> Result<bool, Error> {
    equal_at(a, b, budget, 0)
}

fn equal_at(a: &Value<'_>, b: &Value<'_>, budget: &mut Budget, depth: usize) -> Result<bool, Error> {
    budget.work(1)?;
    if depth > DEPTH {
        return Err(Error::new("value is nested too deeply"));
    }
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Ip(a), Value::Ip(b)) => a == b,
        (Value::Cidr(a), Value::Cidr(b)) => a == b,
        (Value::Quantity(a), Value::Quantity(b)) => a.cmp(b) == Ordering::Equal,
        (Value::Semver(a), Value::Semver(b)) => a.order(b) == Ordering::Equal,
        (Value::Url(a), Value::Url(b)) => a == b,
        (Value::Format(a), Value::Format(b)) => a == b,
        (Value::Decision(a), Value::Decision(b)) => Arc::ptr_eq(a, b),
        (Value::Check(a), Value::Check(b)) => Arc::ptr_eq(a, b),
        (Value::Preserved(a), Value::Preserved(b)) => a == b,
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal_at(a, b, budget, depth + 1)?,
            _ => false,
        },
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => number_order(a, b) == Some(Ordering::Equal),
        (Value::Items(a, kind), Value::Items(b, other))
            if matches!((kind, other), (Type::Dyn, Type::Dyn)) =>
        {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal_at(&Value::dynamic(a), &Value::dynamic(b), budget, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => match (a.items(), b.items()) {
            (Some(left), Some(right)) => lists_equal(a, left, right, budget, depth)?,
            (None, None) if a.is_map() && b.is_map() => maps_equal(a, b, budget, depth)?,
            _ => false,
        },
    })
}

fn order(list: &Value<'_>) -> Order {
    match list {
        Value::Items(_, Type::List(list)) => list.order.clone(),
        Value::Ordered(ordered) => ordered.1.clone(),
        _ => Order::Atomic,
    }
}

fn lists_equal(
    list: &Value<'_>,
    a: Items<'_, '_>,
    b: Items<'_, '_>,
    budget: &mut Budget,
    depth: usize,
) -> Result<bool, Error> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match order(list) {
        Order::Atomic => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal_at(&a?, &b?, budget, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Order::Set => {
            let others = b.collect()?;
            for item in a.iter() {
                let item = item?;
                if !contains(&others, &item, budget, depth)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Order::Map(keys) => {
            let others = b.collect()?;
            for item in a.iter() {
                let item = item?;
                match with_keys(&others, &item, &keys, budget, depth)? {
                    Some(index) if equal_at(&item, &others[index], budget, depth + 1)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
    }
}

fn contains(items: &[Value<'_>], item: &Value<'_>, budget: &mut Budget, depth: usize) -> Result<bool, Error> {
    for other in items {
        if equal_at(item, other, budget, depth + 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The place of the item that has the same values of keys.
fn with_keys(
    items: &[Value<'_>],
    item: &Value<'_>,
    keys: &[String],
    budget: &mut Budget,
    depth: usize,
) -> Result<Option<usize>, Error> {
    'items: for (index, other) in items.iter().enumerate() {
        for key in keys {
            let key = Key::String(Text::Shared(Arc::from(key.as_str())));
            if !entries_equal(item.entry(&key), other.entry(&key), budget, depth)? {
                continue 'items;
            }
        }
        return Ok(Some(index));
    }
    Ok(None)
}

fn maps_equal(a: &Value<'_>, b: &Value<'_>, budget: &mut Budget, depth: usize) -> Result<bool, Error> {
    if let (Value::Struct(a), Value::Struct(b)) = (a, b) {
        if a.name != b.name || a.fields.len() != b.fields.len() {
            return Ok(false);
        }
        for (name, value) in &a.fields {
            match b.fields.get(name) {
                Some(other) if equal_at(value, other, budget, depth + 1)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(true);
    }
    let (Some(keys), Some(others)) = (a.keys(), b.keys()) else { return Ok(false) };
    if keys.len() != others.len() {
        return Ok(false);
    }
    for key in keys {
        let Some(key) = Key::of(&key) else { return Ok(false) };
        if !entries_equal(a.entry(&key), b.entry(&key), budget, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

type Entry<'a> = Option<Result<Value<'a>, Error>>;

/// Whether both entries are there and equal, or both are not there.
fn entries_equal(a: Entry<'_>, b: Entry<'_>, budget: &mut Budget, depth: usize) -> Result<bool, Error> {
    match (a, b) {
        (None, None) => Ok(true),
        (Some(a), Some(b)) => equal_at(&a?, &b?, budget, depth + 1),
        _ => Ok(false),
    }
}

/// The order of two numbers, also of different types; None if one is not a number.
pub(super) fn number_order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Double(a), Value::Int(b)) => float_order(*a, i128::from(*b)),
        (Value::Double(a), Value::Uint(b)) => float_order(*a, i128::from(*b)),
        (Value::Int(a), Value::Double(b)) => float_order(*b, i128::from(*a)).map(Ordering::reverse),
        (Value::Uint(a), Value::Double(b)) => float_order(*b, i128::from(*a)).map(Ordering::reverse),
        _ => None,
    }
}

fn float_order(float: f64, whole: i128) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Every 64-bit integer lies between these; the cast saturates beyond.
    let floor = float.floor() as i128;
    Some(match floor.cmp(&whole) {
        Ordering::Equal if float > float.floor() => Ordering::Greater,
        other => other,
    })
}

/// The order of two values of one type that has an order.
///
/// # Errors
/// `no such overload`.
pub(super) fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, Error> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some((**a).cmp(&**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => number_order(a, b),
        _ => return Err(Error::overload()),
    })
}

/// The sum of two lists, by the kind of the first.
pub(super) fn add_lists<'a>(a: &Value<'a>, b: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    let (Some(left), Some(right)) = (a.items(), b.items()) else { return Err(Error::overload()) };
    budget.work(left.len() + right.len())?;
    let mut sum = left.collect()?;
    let order = order(a);
    match &order {
        Order::Atomic => {
            sum.extend(right.collect()?);
            return Ok(Value::list(sum));
        }
        Order::Set => {
            for item in right.iter() {
                let item = item?;
                if !contains(&sum, &item, budget, 0)? {
                    sum.push(item);
                }
            }
        }
        Order::Map(keys) => {
            for item in right.iter() {
                let item = item?;
                match with_keys(&sum, &item, keys, budget, 0)? {
                    Some(index) => sum[index] = item,
                    None => sum.push(item),
                }
            }
        }
    }
    Ok(Value::Ordered(Arc::new((sum, order))))
}

/// A value as JSON.
///
/// # Errors
/// If it is nothing that JSON has, or too much of it.
pub(super) fn to_json(value: &Value<'_>, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
    budget.work(1)?;
    if depth > DEPTH {
        return Err(Error::new("value is nested too deeply"));
    }
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Double(value) => serde_json::Number::from_f64(*value).map_or(Json::Null, Json::Number),
        Value::String(text) => Json::String(text.to_string()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Duration(value) => Json::String(time::print_duration(*value)),
        Value::Timestamp(value) => Json::String(time::print_time(*value)),
        Value::Items(items, _) => Json::Array(items.to_vec()),
        Value::Entries(entries, _) => Json::Object((*entries).clone()),
        Value::Preserved(json) => (*json).clone(),
        Value::Optional(None) => Json::Null,
        Value::Optional(Some(value)) => to_json(value, budget, depth + 1)?,
        Value::Quantity(_) | Value::Ip(_) | Value::Cidr(_) => Json::String(convert::print(value)?),
        Value::Struct(object) => {
            let mut fields = serde_json::Map::new();
            for (name, value) in &object.fields {
                fields.insert(name.to_string(), to_json(value, budget, depth + 1)?);
            }
            Json::Object(fields)
        }
        Value::Map(map) => {
            let mut entries = serde_json::Map::new();
            for (key, value) in map.iter() {
                entries.insert(key.to_string(), to_json(value, budget, depth + 1)?);
            }
            Json::Object(entries)
        }
        other => match other.items() {
            Some(items) => Json::Array(
                items.iter().map(|item| to_json(&item?, budget, depth + 1)).collect::<Result<_, _>>()?,
            ),
            None => return Err(Error::new(format!("type '{}' cannot be converted", other.type_name()))),
        },
    })
}
