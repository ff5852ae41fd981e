//! Operators, `size`, `type`, `contains` and their like.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Native, Outcome, time};
use crate::cel::compare;
use crate::cel::error::Error;
use crate::cel::evaluate::insert_entry;
use crate::cel::program::Budget;
use crate::cel::value::{Key, Map, Value};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        "-_" => negate,
        "!_" => not,
        "_==_" => |arguments, budget| pair(arguments, budget, |equal| equal),
        "_!=_" => |arguments, budget| pair(arguments, budget, |equal| !equal),
        "_<_" => |arguments, _| order(arguments, Ordering::is_lt),
        "_<=_" => |arguments, _| order(arguments, Ordering::is_le),
        "_>_" => |arguments, _| order(arguments, Ordering::is_gt),
        "_>=_" => |arguments, _| order(arguments, Ordering::is_ge),
        "@in" => contains,
        "size" => size,
        "type" => |arguments, _| match arguments {
            [value] => Ok(Value::Type(Arc::from(value.type_name()))),
            _ => Err(Error::overload()),
        },
        "dyn" => |arguments, _| arguments.first().cloned().ok_or_else(Error::overload),
        "cel.@mapInsert" => insert,
        _ => return None,
    })
}

fn pair<'a>(arguments: &[Value<'a>], budget: &mut Budget, answer: fn(bool) -> bool) -> Outcome<'a> {
    match arguments {
        [a, b] => Ok(Value::Bool(answer(compare::equal(a, b, budget)?))),
        _ => Err(Error::overload()),
    }
}

fn order<'a>(arguments: &[Value<'a>], answer: fn(Ordering) -> bool) -> Outcome<'a> {
    match arguments {
        // What is not a number is neither below nor above anything.
        [a, b] => Ok(Value::Bool(compare::compare(a, b)?.is_some_and(answer))),
        _ => Err(Error::overload()),
    }
}

fn overflow(unsigned: bool) -> Error {
    Error::new(if unsigned { "unsigned integer overflow" } else { "integer overflow" })
}

fn int<'a>(value: Option<i64>) -> Outcome<'a> {
    value.map(Value::Int).ok_or_else(|| overflow(false))
}

fn uint<'a>(value: Option<u64>) -> Outcome<'a> {
    value.map(Value::Uint).ok_or_else(|| overflow(true))
}

fn add<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(a), Value::Int(b)] => int(a.checked_add(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_add(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => {
            let mut sum = String::with_capacity(a.len() + b.len());
            sum.push_str(a);
            sum.push_str(b);
            Ok(Value::text(sum))
        }
        [Value::Bytes(a), Value::Bytes(b)] => Ok(Value::Bytes([&**a, &**b].concat().into())),
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(|| overflow(false))
        }
        [Value::Timestamp(at), Value::Duration(by)] | [Value::Duration(by), Value::Timestamp(at)] => {
            time::shift(*at, *by)
        }
        [a, b] => compare::add_lists(a, b, budget),
        _ => Err(Error::overload()),
    }
}

fn subtract<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(a), Value::Int(b)] => int(a.checked_sub(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_sub(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(|| overflow(false))
        }
        [Value::Timestamp(at), Value::Duration(by)] => {
            by.checked_neg().map_or_else(|| Err(overflow(false)), |by| time::shift(*at, by))
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => time::between(*a, *b),
        _ => Err(Error::overload()),
    }
}

fn multiply<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(a), Value::Int(b)] => int(a.checked_mul(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_mul(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => Err(Error::overload()),
    }
}

fn divide<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Error::new("division by zero"))
        }
        [Value::Int(a), Value::Int(b)] => int(a.checked_div(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_div(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => Err(Error::overload()),
    }
}

fn modulo<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Error::new("modulus by zero"))
        }
        [Value::Int(a), Value::Int(b)] => int(a.checked_rem(*b)),
        [Value::Uint(a), Value::Uint(b)] => uint(a.checked_rem(*b)),
        _ => Err(Error::overload()),
    }
}

fn negate<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Int(value)] => int(value.checked_neg()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        _ => Err(Error::overload()),
    }
}

fn not<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(Error::overload()),
    }
}

fn contains<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [value, range] = arguments else { return Err(Error::overload()) };
    if let Some(items) = range.items() {
        for item in items.iter() {
            if compare::equal(&item?, value, budget)? {
                return Ok(Value::Bool(true));
            }
        }
        return Ok(Value::Bool(false));
    }
    if !range.is_map() {
        return Err(Error::overload());
    }
    Ok(Value::Bool(Key::of(value).is_some_and(|key| range.entry(&key).is_some())))
}

fn size<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [value] => value
            .size()
            .map(|size| Value::Int(size as i64))
            .ok_or_else(|| Error::new("no such overload: size")),
        _ => Err(Error::overload()),
    }
}

fn insert<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let Some((Value::Map(target), rest)) = arguments.split_first() else { return Err(Error::overload()) };
    budget.work(target.len())?;
    let mut map: Map<'a> = (**target).clone();
    match rest {
        [key, value] => insert_entry(&mut map, key, value.clone())?,
        [Value::Map(more)] => {
            for (key, value) in more.iter() {
                insert_entry(&mut map, &Value::from(key.clone()), value.clone())?;
            }
        }
        _ => return Err(Error::overload()),
    }
    Ok(Value::Map(Arc::new(map)))
}
