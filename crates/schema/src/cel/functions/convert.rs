//! Conversions between types: `int`, `uint`, `double`, `bool`, `string`, `bytes`; and how values print.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Native, Outcome, network, time};
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "int" => int,
        "uint" => uint,
        "double" => double,
        "bool" => boolean,
        "bytes" => bytes,
        "string" => |arguments, _| match arguments {
            [text @ Value::String(_)] => Ok(text.clone()),
            [value] => print(value).map(Value::text),
            _ => Err(Error::overload()),
        },
        _ => return None,
    })
}

fn refused(from: &str, to: &str) -> Error {
    Error::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn int<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let overflow = || Error::new("integer overflow");
    match arguments {
        [value @ Value::Int(_)] => Ok(value.clone()),
        [Value::Uint(value)] => i64::try_from(*value).map(Value::Int).map_err(|_| overflow()),
        [Value::Double(value)] if *value > -9.223372036854776e18 && *value < 9.223372036854776e18 => {
            Ok(Value::Int(*value as i64))
        }
        [Value::Double(_)] => Err(overflow()),
        [Value::Duration(value)] => Ok(Value::Int(*value)),
        [Value::Timestamp(value)] => Ok(Value::Int(value.seconds)),
        [Value::String(text)] => text.parse().map(Value::Int).map_err(|_| refused("string", "int")),
        [other] => Err(refused(other.type_name(), "int")),
        _ => Err(Error::overload()),
    }
}

fn uint<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let overflow = || Error::new("unsigned integer overflow");
    match arguments {
        [value @ Value::Uint(_)] => Ok(value.clone()),
        [Value::Int(value)] => u64::try_from(*value).map(Value::Uint).map_err(|_| overflow()),
        [Value::Double(value)] if *value > -1.0 && *value < 1.8446744073709552e19 => {
            Ok(Value::Uint(*value as u64))
        }
        [Value::Double(_)] => Err(overflow()),
        [Value::String(text)] => text.parse().map(Value::Uint).map_err(|_| refused("string", "uint")),
        [other] => Err(refused(other.type_name(), "uint")),
        _ => Err(Error::overload()),
    }
}

fn double<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [value @ Value::Double(_)] => Ok(value.clone()),
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [Value::String(text)] => text.parse().map(Value::Double).map_err(|_| refused("string", "double")),
        [other] => Err(refused(other.type_name(), "double")),
        _ => Err(Error::overload()),
    }
}

fn boolean<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [value @ Value::Bool(_)] => Ok(value.clone()),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(refused("string", "bool")),
        },
        [other] => Err(refused(other.type_name(), "bool")),
        _ => Err(Error::overload()),
    }
}

fn bytes<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [value @ Value::Bytes(_)] => Ok(value.clone()),
        [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
        [other] => Err(refused(other.type_name(), "bytes")),
        _ => Err(Error::overload()),
    }
}

/// The text of a value that `string` takes.
pub(in crate::cel) fn print(value: &Value<'_>) -> Result<String, Error> {
    Ok(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => print_double(*value),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| Error::new("invalid UTF-8 in bytes, cannot convert to string"))?
            .to_owned(),
        Value::Duration(value) => time::print_duration(*value),
        Value::Timestamp(value) => time::print_time(*value),
        Value::Ip(ip) => network::print(*ip),
        Value::Cidr(cidr) => cidr.to_string(),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Type(name) => name.to_string(),
        other => return Err(refused(other.type_name(), "string")),
    })
}

/// Go's shortest text of a float.
pub(in crate::cel) fn print_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let exponent = if value == 0.0 {
        0
    } else {
        format!("{value:e}").rsplit('e').next().and_then(|text| text.parse::<i32>().ok()).unwrap_or(0)
    };
    if (-4..21).contains(&exponent) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// Bytes of a base64 text of a schema.
pub(in crate::cel) fn from_base64<'a>(text: &str) -> Outcome<'a> {
    match STANDARD.decode(text) {
        Ok(bytes) => Ok(Value::Bytes(Arc::from(bytes))),
        Err(error) => Err(Error::new(format!("Invalid byte formatted string {text}: {error}"))),
    }
}

/// A value as Go would print it in a message.
pub(in crate::cel) fn display(value: &Value<'_>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Ok(text) = print(value) {
        return out.write_str(&text);
    }
    match value {
        Value::Null => out.write_str("null"),
        Value::Optional(None) => out.write_str("optional.none()"),
        Value::Optional(Some(value)) => write!(out, "optional({value:?})"),
        Value::Items(items, _) => write!(out, "{}", serde_json::Value::Array(items.to_vec())),
        Value::Entries(entries, _) => write!(out, "{}", serde_json::Value::Object((*entries).clone())),
        Value::Preserved(json) => write!(out, "{json}"),
        Value::Map(map) => {
            out.write_str("{")?;
            for (index, (key, value)) in map.iter().enumerate() {
                write!(out, "{}{key}: {value:?}", if index > 0 { ", " } else { "" })?;
            }
            out.write_str("}")
        }
        Value::Struct(object) => {
            write!(out, "{}{{", object.name)?;
            for (index, (name, value)) in object.fields.iter().enumerate() {
                write!(out, "{}{name}: {value:?}", if index > 0 { ", " } else { "" })?;
            }
            out.write_str("}")
        }
        Value::Semver(version) => write!(out, "{version}"),
        Value::Url(url) => write!(out, "{url}"),
        other => match other.items() {
            Some(items) => {
                out.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    match item {
                        Ok(item) => write!(out, "{comma}{item:?}")?,
                        Err(error) => write!(out, "{comma}{error}")?,
                    }
                }
                out.write_str("]")
            }
            None => out.write_str(other.type_name()),
        },
    }
}
