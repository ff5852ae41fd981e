//! As much YAML as kubeconfigs are made of: mappings, sequences, strings, booleans and nulls.
//!
//! Numbers stay strings, since no field of a kubeconfig is one. Aliases are refused.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Deeper nesting is refused.
const DEPTH_MAXIMUM: usize = 64;

enum Open {
    Sequence(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let value = match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == DEPTH_MAXIMUM {
                    return Err(format!("nested deeper than {DEPTH_MAXIMUM} levels"));
                }
                open.push(match event {
                    Event::SequenceStart(..) => Open::Sequence(Vec::new()),
                    _ => Open::Mapping(Map::new(), None),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::Sequence(list)) => Value::Array(list),
                Some(Open::Mapping(map, _)) => Value::Object(map),
                None => continue,
            },
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::Alias(_) => return Err("aliases are not supported".into()),
            // Later documents are ignored, as kubectl does.
            Event::DocumentEnd => break,
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::Sequence(list)) => list.push(value),
            Some(Open::Mapping(map, key)) => match key.take() {
                Some(key) => {
                    map.insert(key, value);
                }
                None => match value {
                    Value::String(text) => *key = Some(text),
                    Value::Bool(flag) => *key = Some(flag.to_string()),
                    _ => return Err("a key that is no string".into()),
                },
            },
        }
    }
    Ok(Value::Null)
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        (ScalarStyle::Plain, "true" | "True" | "TRUE") => Value::Bool(true),
        (ScalarStyle::Plain, "false" | "False" | "FALSE") => Value::Bool(false),
        _ => Value::String(text.to_owned()),
    }
}

pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes a value from the start of a line.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(out, "{:indent$}{}:", "", string(key));
                after(value, indent, indent + 2, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                let _ = write!(out, "{:indent$}-", "");
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        // The first key stands behind the dash.
                        let mut inner = String::new();
                        block(value, indent + 2, &mut inner);
                        let _ = write!(out, " {}", inner.trim_start());
                    }
                    _ => after(value, indent + 2, indent + 2, out),
                }
            }
        }
        _ => {
            let _ = writeln!(out, "{:indent$}{}", "", inline(value));
        }
    }
}

/// Writes a value behind a key or dash.
fn after(value: &Value, list_indent: usize, map_indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, map_indent, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, list_indent, out);
        }
        _ => {
            let _ = writeln!(out, " {}", inline(value));
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

/// Plain where no reader could take it for anything else, else as JSON, which YAML includes.
fn string(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@+=".contains(&byte))
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/')
        && !text.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}
