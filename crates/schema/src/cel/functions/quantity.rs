//! Quantities. Answers to the apiserver's `library/quantity.go`.

use std::cmp::Ordering;
use std::sync::Arc;

use gifee_base::Quantity;
use gifee_base::quantity::Format;

use super::{Native, Outcome, semver};
use crate::cel::error::Error;
use crate::cel::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "quantity" => |arguments, _| match arguments {
            [Value::String(text)] => parse(text),
            _ => Err(Error::overload()),
        },
        "isQuantity" => |arguments, _| match arguments {
            [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
            _ => Err(Error::overload()),
        },
        "sign" => |arguments, _| match arguments {
            [Value::Quantity(value)] => Ok(Value::Int(value.sign().into())),
            _ => Err(Error::overload()),
        },
        "isGreaterThan" => |arguments, _| compare(arguments, |order| Value::Bool(order.is_gt())),
        "isLessThan" => |arguments, _| compare(arguments, |order| Value::Bool(order.is_lt())),
        "compareTo" => |arguments, _| compare(arguments, |order| Value::Int(order as i64)),
        "asApproximateFloat" => |arguments, _| match arguments {
            [Value::Quantity(value)] => Ok(Value::Double(float(value))),
            _ => Err(Error::overload()),
        },
        "asInteger" => |arguments, _| match arguments {
            [Value::Quantity(value)] => {
                integer(value).map(Value::Int).ok_or_else(|| Error::new("cannot convert value to integer"))
            }
            _ => Err(Error::overload()),
        },
        "isInteger" => |arguments, _| match arguments {
            [Value::Quantity(value)] => Ok(Value::Bool(integer(value).is_some())),
            _ => Err(Error::overload()),
        },
        "add" => |arguments, _| join(arguments, Quantity::plus),
        "sub" => |arguments, _| join(arguments, Quantity::minus),
        _ => return None,
    })
}

/// Reads one.
pub(in crate::cel) fn parse<'a>(text: &str) -> Outcome<'a> {
    text.parse::<Quantity>()
        .map(|quantity| Value::Quantity(Arc::new(quantity)))
        .map_err(|error| Error::new(error.to_string()))
}

fn compare<'a>(arguments: &[Value<'a>], answer: fn(Ordering) -> Value<'static>) -> Outcome<'a> {
    match arguments {
        [Value::Quantity(a), Value::Quantity(b)] => Ok(answer((**a).cmp(&**b))),
        [Value::Semver(a), Value::Semver(b)] => Ok(answer(semver::Semver::order(a, b))),
        _ => Err(Error::overload()),
    }
}

fn integer(value: &Quantity) -> Option<i64> {
    let whole = value.value();
    (Quantity::from_units(whole, Format::DecimalSi).cmp(value) == Ordering::Equal).then_some(whole)
}

/// To within a thousandth, which is what an approximation of a fraction can be asked for.
fn float(value: &Quantity) -> f64 {
    integer(value).map_or_else(|| value.milli() as f64 / 1000.0, |whole| whole as f64)
}

fn join<'a>(arguments: &[Value<'a>], join: fn(Quantity, Quantity) -> Quantity) -> Outcome<'a> {
    let (a, b) = match arguments {
        [Value::Quantity(a), Value::Quantity(b)] => (**a, **b),
        [Value::Quantity(a), Value::Int(b)] => (**a, Quantity::from_units(*b, Format::DecimalSi)),
        _ => return Err(Error::overload()),
    };
    Ok(Value::Quantity(Arc::new(join(a, b))))
}
