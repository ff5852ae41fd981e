//! From trees to the wire.
//!
//! A value that does not fit its shape is left out: trees that come here have been checked, or were stored.

use super::envelope;
use super::wire::{put_bytes, put_integer, put_tag};
use crate::check::duration;
use crate::shape::{NodeId, Shape, StructId, Types};
use crate::{Error, Result, Schema};
use base64::Engine;
use jiff::Timestamp;
use serde_json::Value;

/// Writes an object in its envelope; version and kind are those in the tree.
///
/// # Errors
/// `Error::Internal` if the schema's root is no message.
pub fn encode(schema: &Schema, object: &Value) -> Result<Vec<u8>> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let message = message(schema, object)?;
    let mut out = Vec::with_capacity(message.len() + 64);
    envelope::object(&mut out, text("apiVersion"), text("kind"), |out| out.extend_from_slice(&message));
    Ok(out)
}

/// Writes the message alone.
///
/// # Errors
/// `Error::Internal` if the schema's root is no message.
pub fn message(schema: &Schema, object: &Value) -> Result<Vec<u8>> {
    let Shape::Struct(id) = schema.types().shape(schema.root()) else {
        return Err(Error::Internal("protobuf: a kind that is no message".into()));
    };
    let mut out = Vec::new();
    Walker { types: schema.types() }.level(id, 0, object, &mut out);
    Ok(out)
}

struct Walker<'a> {
    types: &'a Types,
}

impl Walker<'_> {
    fn message(&self, id: StructId, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        self.level(id, 0, value, &mut out);
        out
    }

    /// The fields of a struct itself (level 0) or of an embedded one, by their numbers.
    fn level(&self, id: StructId, level: u16, value: &Value, out: &mut Vec<u8>) {
        let mut numbers: Vec<(u16, Option<NodeId>, &str, u16)> = Vec::new();
        for field in self.types.fields(id).iter().filter(|field| field.inlined == level && field.number > 0) {
            let name = self.types.text(field.name);
            if value.get(name).is_some_and(|value| !value.is_null()) {
                numbers.push((field.number, Some(field.node), name, 0));
            }
        }
        for (at, one) in self.types.inlined(id).iter().enumerate() {
            if one.parent == level && one.number > 0 {
                numbers.push((one.number, None, "", u16::try_from(at + 1).unwrap_or(u16::MAX)));
            }
        }
        numbers.sort_unstable_by_key(|(number, ..)| *number);
        for (number, node, name, below) in numbers {
            match node {
                Some(node) => self.field(number, node, &value[name], out),
                None => {
                    let mut embedded = Vec::new();
                    self.level(id, below, value, &mut embedded);
                    put_bytes(out, number, &embedded);
                }
            }
        }
    }

    fn field(&self, number: u16, node: NodeId, value: &Value, out: &mut Vec<u8>) {
        match (self.types.shape(node), value) {
            (Shape::List { item, .. }, Value::Array(items)) if !self.types.node(node).wrapped => {
                items.iter().for_each(|one| self.one(number, item, one, out));
            }
            (Shape::Map { value: node, .. }, Value::Object(entries)) => {
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    match value {
                        // The zero time, which is an empty message.
                        Value::Null => put_bytes(&mut entry, 2, b""),
                        value => self.one(2, node, value, &mut entry),
                    }
                    put_bytes(out, number, &entry);
                }
            }
            _ => self.one(number, node, value, out),
        }
    }

    fn one(&self, number: u16, node: NodeId, value: &Value, out: &mut Vec<u8>) {
        let shape = self.types.shape(node);
        match (shape, value) {
            (Shape::String, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
            (Shape::Int32 | Shape::Int64, Value::Number(value)) => {
                put_integer(out, number, value.as_i64().unwrap_or_default().cast_unsigned());
            }
            (Shape::Bool, Value::Bool(value)) => put_integer(out, number, u64::from(*value)),
            (Shape::Float64, Value::Number(value)) => {
                put_tag(out, number, 1);
                out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
            }
            (Shape::Bytes, Value::String(text)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
                put_bytes(out, number, &bytes);
            }
            (Shape::Struct(id), Value::Object(_)) => put_bytes(out, number, &self.message(id, value)),
            (Shape::List { item, .. }, Value::Array(items)) => {
                let mut list = Vec::new();
                items.iter().for_each(|one| self.one(1, item, one, &mut list));
                put_bytes(out, number, &list);
            }
            (Shape::Raw | Shape::Fields | Shape::Json | Shape::Any, value) => {
                put_bytes(out, number, &holding(1, value.to_string().as_bytes()));
            }
            _ => {
                if let Some(message) = self.special(shape, value) {
                    put_bytes(out, number, &message);
                }
            }
        }
    }

    /// Messages whose JSON is no object of the same fields.
    fn special(&self, shape: Shape, value: &Value) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match (shape, value) {
            (Shape::IntOrString, Value::Number(value)) => {
                put_integer(&mut out, 1, 0);
                put_integer(&mut out, 2, value.as_i64().unwrap_or_default().cast_unsigned());
                put_bytes(&mut out, 3, b"");
            }
            (Shape::IntOrString, Value::String(text)) => {
                put_integer(&mut out, 1, 1);
                put_integer(&mut out, 2, 0);
                put_bytes(&mut out, 3, text.as_bytes());
            }
            (Shape::Quantity, Value::String(text)) => put_bytes(&mut out, 1, text.as_bytes()),
            (Shape::Quantity, Value::Number(value)) => put_bytes(&mut out, 1, value.to_string().as_bytes()),
            (Shape::Time | Shape::MicroTime, Value::String(text)) => {
                let at: Timestamp = text.parse().ok()?;
                put_integer(&mut out, 1, at.as_second().cast_unsigned());
                put_integer(&mut out, 2, i64::from(at.subsec_nanosecond()).cast_unsigned());
            }
            (Shape::Duration, Value::String(text)) => {
                put_integer(&mut out, 1, duration::nanoseconds(text).ok()?.cast_unsigned());
            }
            (Shape::OrBool(_), Value::Bool(allowed)) => put_integer(&mut out, 1, u64::from(*allowed)),
            (Shape::OrBool(schema), Value::Object(_)) => {
                put_integer(&mut out, 1, 1);
                self.one(2, schema, value, &mut out);
            }
            (Shape::OrList(schema) | Shape::OrStrings(schema), Value::Object(_)) => {
                self.one(1, schema, value, &mut out)
            }
            (Shape::OrList(schema), Value::Array(items)) => {
                items.iter().for_each(|one| self.one(2, schema, one, &mut out));
            }
            (Shape::OrStrings(_), Value::Array(items)) => {
                items
                    .iter()
                    .filter_map(Value::as_str)
                    .for_each(|text| put_bytes(&mut out, 2, text.as_bytes()));
            }
            _ => return None,
        }
        Some(out)
    }
}

fn holding(number: u16, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, bytes);
    out
}
