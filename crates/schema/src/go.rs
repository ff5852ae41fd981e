//! Texts as Go prints them, since clients see and match on upstream's messages.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

/// `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        escape(letter, '"', &mut out);
    }
    out.push('"');
    out
}

/// A byte as the JSON scanner's errors quote it.
pub(crate) fn quote_byte(byte: u8) -> String {
    let mut out = String::from("'");
    match byte {
        b'"' => out.push('"'),
        other => escape(char::from(other), '\'', &mut out),
    }
    out.push('\'');
    out
}

fn escape(letter: char, delimiter: char, out: &mut String) {
    match letter {
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\\' => out.push_str("\\\\"),
        letter if letter == delimiter => {
            out.push('\\');
            out.push(letter);
        }
        letter if (letter as u32) < 0x80 && letter.is_control() => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{:02x}", letter as u32);
        }
        letter if letter.is_control() => {
            let _ = write!(out, "\\u{:04x}", letter as u32);
        }
        letter => out.push(letter),
    }
}

/// A number as go-yaml prints it.
pub(crate) fn number(value: &Number) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() && float.fract() == 0.0 && float.abs() < 1e21 => format!("{float:.0}"),
        _ => value.to_string(),
    }
}

/// A number as it most likely stood in the source: what is beyond int64 was written without a point.
pub(crate) fn literal(value: &Number) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() && float.fract() == 0.0 && (9.2e18..1e21).contains(&float.abs()) => {
            format!("{float:.0}")
        }
        _ => value.to_string(),
    }
}

/// A tree as `%v` prints it.
pub(crate) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => number(value),
        Value::String(text) => text.clone(),
        Value::Array(items) => print_list(items),
        Value::Object(map) => print_map(map),
    }
}

/// A list as `%v` prints it.
pub(crate) fn print_list(items: &[Value]) -> String {
    format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" "))
}

/// A map as `%v` prints it.
pub(crate) fn print_map(map: &Map<String, Value>) -> String {
    let mut fields: Vec<_> = map.iter().map(|(name, value)| format!("{name}:{}", print(value))).collect();
    fields.sort();
    format!("map[{}]", fields.join(" "))
}

/// The Go type that a JSON value is read into.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// What JSON calls a value in Go's errors.
pub(crate) fn json_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
