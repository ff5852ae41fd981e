//! `sets.contains`, `sets.equivalent` and `sets.intersects` of lists.

use super::Native;
use crate::cel::compare;
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "sets.contains" => |arguments, budget| {
            let (a, b) = lists(arguments)?;
            Ok(Value::Bool(within(&b, &a, budget)?))
        },
        "sets.equivalent" => |arguments, budget| {
            let (a, b) = lists(arguments)?;
            Ok(Value::Bool(within(&a, &b, budget)? && within(&b, &a, budget)?))
        },
        "sets.intersects" => |arguments, budget| {
            let (a, b) = lists(arguments)?;
            for item in &a {
                if has(&b, item, budget)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        },
        _ => return None,
    })
}

type Pair<'a> = (Vec<Value<'a>>, Vec<Value<'a>>);

fn lists<'a>(arguments: &[Value<'a>]) -> Result<Pair<'a>, Error> {
    let [a, b] = arguments else { return Err(Error::overload()) };
    let read = |list: &Value<'a>| list.items().ok_or_else(Error::overload)?.collect();
    Ok((read(a)?, read(b)?))
}

fn within(a: &[Value<'_>], b: &[Value<'_>], budget: &mut Budget) -> Result<bool, Error> {
    for item in a {
        if !has(b, item, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has(list: &[Value<'_>], wanted: &Value<'_>, budget: &mut Budget) -> Result<bool, Error> {
    for item in list {
        if compare::equal(item, wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}
