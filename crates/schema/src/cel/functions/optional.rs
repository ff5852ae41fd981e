//! Functions of optional values. `or` and `orValue` are steps, since they run their argument only if needed.

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "optional.none" => |_, _| Ok(Value::Optional(None)),
        "optional.of" => |arguments, _| match arguments {
            [value] => Ok(Value::some(value.clone())),
            _ => Err(Error::overload()),
        },
        "optional.ofNonZeroValue" => |arguments, _| match arguments {
            [value] if is_zero(value) => Ok(Value::Optional(None)),
            [value] => Ok(Value::some(value.clone())),
            _ => Err(Error::overload()),
        },
        "hasValue" => |arguments, _| match arguments {
            [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
            _ => Err(Error::overload()),
        },
        "value" => |arguments, _| match arguments {
            [Value::Optional(Some(value))] => Ok((**value).clone()),
            [Value::Optional(None)] => Err(Error::new("optional.none() dereference")),
            _ => Err(Error::overload()),
        },
        "optional.unwrap" | "unwrapOpt" => |arguments, _| unwrap(arguments),
        _ => return None,
    })
}

fn unwrap<'a>(arguments: &[Value<'a>]) -> Outcome<'a> {
    let list = arguments.first().and_then(Value::items).ok_or_else(Error::overload)?;
    let mut values = Vec::new();
    for item in list.iter() {
        match item? {
            Value::Optional(value) => values.extend(value.as_deref().cloned()),
            other => return Err(Error::new(format!("value {other:?} is not optional"))),
        }
    }
    Ok(Value::list(values))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
        Value::Double(value) => *value == 0.0,
        Value::Optional(value) => value.is_none(),
        Value::Struct(object) => object.fields.is_empty(),
        Value::Timestamp(at) => at.seconds == -62_135_596_800 && at.nanoseconds == 0,
        other => other.size() == Some(0),
    }
}
