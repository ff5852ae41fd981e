//! What a YAML scalar means: go-yaml v2's rules, which are YAML 1.1's with its own numbers.

use base64::Engine;
use serde_json::{Number, Value};

use crate::{Error, Result};

/// A scalar's tag, in go-yaml's short form where it is one of YAML's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag<'a> {
    /// None given, and the scalar is plain.
    Implicit,
    /// Quoted or a block, or one of the application's own tags: text as it stands.
    Text,
    /// `!!name`.
    Core(&'a str),
}

fn fail<T>(message: String) -> Result<T> {
    Err(Error::Syntax(format!("yaml: {message}")))
}

/// The value of a scalar.
pub(super) fn resolve(tag: Tag, text: &str) -> Result<Value> {
    let wanted = match tag {
        Tag::Text | Tag::Core("str") => return Ok(Value::String(text.to_string())),
        Tag::Core("binary") => {
            return match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned())),
                Err(_) => fail("!!binary value contains invalid base64 data".to_string()),
            };
        }
        Tag::Implicit => "",
        Tag::Core(name @ ("bool" | "int" | "float" | "null" | "timestamp")) => name,
        Tag::Core(_) => return Ok(Value::String(text.to_string())),
    };
    let (found, value) = plain(text, wanted)?;
    let fits = wanted.is_empty() || wanted == found || (wanted == "float" && found == "int");
    if fits {
        return Ok(value);
    }
    if wanted == "timestamp" {
        return Ok(Value::String(text.to_string()));
    }
    fail(format!("cannot decode !!{found} `{text}` as a !!{wanted}"))
}

fn plain(text: &str, wanted: &str) -> Result<(&'static str, Value)> {
    let infinite = |text: &str| Err(Error::Syntax(format!("json: unsupported value: {text}")));
    let string = || Ok(("str", Value::String(text.to_string())));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(("null", Value::Null)),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(("bool", Value::Bool(true)));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(("bool", Value::Bool(false)));
        }
        ".nan" | ".NaN" | ".NAN" => return infinite("NaN"),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return infinite("+Inf"),
        "-.inf" | "-.Inf" | "-.INF" => return infinite("-Inf"),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => match finite(text) {
            Some(float) => Ok(("float", float)),
            None => string(),
        },
        b'+' | b'-' | b'0'..=b'9' => {
            if (wanted.is_empty() || wanted == "timestamp") && is_timestamp(text) {
                return Ok(("timestamp", Value::String(text.to_string())));
            }
            let plain: std::borrow::Cow<str> =
                if text.contains('_') { text.replace('_', "").into() } else { text.into() };
            if let Some(number) = integer(&plain) {
                return Ok(("int", Value::Number(number)));
            }
            if !looks_like_float(&plain) {
                return string();
            }
            match finite(&plain) {
                Some(float) => Ok(("float", float)),
                None => string(),
            }
        }
        _ => string(),
    }
}

/// A float as it looks after its way through JSON, where a whole one is an integer.
fn finite(text: &str) -> Option<Value> {
    let float: f64 = text.parse().ok().filter(|float: &f64| float.is_finite())?;
    if float.fract() == 0.0 && float.abs() < 9.2e18 {
        return Some(Value::from(float as i64));
    }
    Number::from_f64(float).map(Value::Number)
}

/// An integer with Go's prefixes; beyond int64 a float, as JSON readers make it.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return (magnitude <= 1 << 63).then(|| Number::from((magnitude as i64).wrapping_neg()));
    }
    if text.starts_with('+') && magnitude > i64::MAX as u64 {
        return None;
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Number::from(value)),
        Err(_) => Number::from_f64(magnitude as f64),
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn looks_like_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let mantissa = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    mantissa && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// Dates stay text, but are not read as numbers.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let year = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    year == 4 && bytes.get(4) == Some(&b'-') && bytes.get(5).is_some_and(u8::is_ascii_digit)
}
