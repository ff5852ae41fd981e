//! From the wire to trees, as Go's JSON of the same object would be.
//!
//! Go's clients write every scalar that is not behind a pointer, zero or not; what JSON leaves out when empty is left
//! out here, and a zero behind a pointer stays.

use super::wire::{Reader, Scalar, broken};
use super::{DEPTH, MAGIC};
use crate::check::duration;
use crate::shape::{Field, FieldFlags, NodeId, Shape, StructId, Types};
use crate::{Error, Result, Schema, parse};
use base64::Engine;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Reads an object: `schema` finds the schema of what it says it is, by group, version and kind. The tree carries
/// `apiVersion` and `kind`.
///
/// # Errors
/// `Error::Decode` for anything that is no such object, or of a kind without a schema.
pub fn decode(body: &[u8], schema: &dyn Fn(&str, &str, &str) -> Option<Schema>) -> Result<Value> {
    let Some(unknown) = body.strip_prefix(MAGIC) else {
        return Err(Error::Decode(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into(),
        ));
    };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader::new(unknown);
    while let Some(field) = reader.next()? {
        match field {
            (1, Scalar::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some(field) = meta.next()? {
                    match field {
                        (1, Scalar::Bytes(text)) => api_version = string(text),
                        (2, Scalar::Bytes(text)) => kind = string(text),
                        _ => {}
                    }
                }
            }
            (2, Scalar::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let Some(schema) = schema(group, version, &kind) else {
        return Err(Error::Decode(format!("no kind {kind:?} is registered for version {api_version:?}")));
    };
    let Shape::Struct(id) = schema.types().shape(schema.root()) else {
        return Err(broken("a kind that is no message"));
    };
    let mut map = Walker { types: schema.types() }.message(id, raw, 0)?;
    map.insert("apiVersion".into(), api_version.into());
    map.insert("kind".into(), kind.into());
    Ok(Value::Object(map))
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Walker<'a> {
    types: &'a Types,
}

/// Where a message is being read: the struct, and which of its embedded structs (1 + its index; 0 for itself).
#[derive(Clone, Copy)]
struct Place {
    id: StructId,
    level: u16,
}

impl Walker<'_> {
    fn message(&self, id: StructId, bytes: &[u8], depth: usize) -> Result<Map<String, Value>> {
        let mut map = Map::new();
        self.fields(Place { id, level: 0 }, bytes, depth, &mut map)?;
        Ok(map)
    }

    fn fields(&self, place: Place, bytes: &[u8], depth: usize, map: &mut Map<String, Value>) -> Result<()> {
        if depth > DEPTH {
            return Err(broken("exceeded max depth"));
        }
        let mut reader = Reader::new(bytes);
        while let Some((number, scalar)) = reader.next()? {
            let fields = self.types.fields(place.id);
            let own = |field: &&Field| field.inlined == place.level && u64::from(field.number) == number;
            if let Some(field) = fields.iter().find(own) {
                self.field(field, scalar, depth, map)?;
                continue;
            }
            let embedded = self.types.inlined(place.id);
            let below =
                |one: &crate::shape::Inlined| one.parent == place.level && u64::from(one.number) == number;
            if let (Some(at), Scalar::Bytes(bytes)) = (embedded.iter().position(below), scalar) {
                let level = u16::try_from(at + 1).map_err(|_| broken("too many embedded messages"))?;
                self.fields(Place { level, ..place }, bytes, depth + 1, map)?;
            }
        }
        Ok(())
    }

    fn field(
        &self,
        field: &Field,
        scalar: Scalar<'_>,
        depth: usize,
        map: &mut Map<String, Value>,
    ) -> Result<()> {
        let name = self.types.text(field.name);
        match self.types.shape(field.node) {
            Shape::List { item, .. } if !self.types.node(field.node).wrapped => {
                let mut items = match map.remove(name) {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                };
                self.items(item, scalar, depth, &mut items)?;
                map.insert(name.to_owned(), Value::Array(items));
            }
            Shape::Map { value, .. } => {
                let Scalar::Bytes(entry) = scalar else {
                    return Err(broken("a map entry that is no message"));
                };
                let (key, value) = self.entry(value, entry, depth)?;
                match map.get_mut(name) {
                    Some(Value::Object(entries)) => drop(entries.insert(key, value)),
                    _ => drop(map.insert(name.to_owned(), Value::Object(Map::from_iter([(key, value)])))),
                }
            }
            _ => {
                let value = self.value(field.node, scalar, depth)?;
                if keeps(field.flags, &value) {
                    map.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    /// One item, or many of a packed list of numbers.
    fn items(&self, item: NodeId, scalar: Scalar<'_>, depth: usize, items: &mut Vec<Value>) -> Result<()> {
        let number = matches!(self.types.shape(item), Shape::Int32 | Shape::Int64 | Shape::Bool);
        if let (true, Scalar::Bytes(packed)) = (number, scalar) {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                let one = Scalar::Varint(reader.varint()?);
                items.push(self.value(item, one, depth)?);
            }
            return Ok(());
        }
        items.push(self.value(item, scalar, depth)?);
        Ok(())
    }

    fn entry(&self, node: NodeId, bytes: &[u8], depth: usize) -> Result<(String, Value)> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field {
                (1, Scalar::Bytes(text)) => key = string(text),
                (2, scalar) => value = Some(self.value(node, scalar, depth + 1)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| self.zero(node))))
    }

    fn zero(&self, node: NodeId) -> Value {
        match self.types.shape(node) {
            Shape::Int32 | Shape::Int64 => 0.into(),
            Shape::Bool => false.into(),
            Shape::String | Shape::Bytes => "".into(),
            Shape::Quantity => "0".into(),
            Shape::Struct(_) | Shape::Map { .. } => Value::Object(Map::new()),
            Shape::List { .. } => Value::Array(Vec::new()),
            _ => Value::Null,
        }
    }

    fn value(&self, node: NodeId, scalar: Scalar<'_>, depth: usize) -> Result<Value> {
        let shape = self.types.shape(node);
        let bytes = match (shape, scalar) {
            // Negative int32 values are written as 64 bits.
            (Shape::Int32, Scalar::Varint(value)) => return Ok((value as i32).into()),
            (Shape::Int64, Scalar::Varint(value)) => return Ok(value.cast_signed().into()),
            (Shape::Bool, Scalar::Varint(value)) => return Ok((value != 0).into()),
            (Shape::Float64, Scalar::Fixed64(bits)) => return Ok(f64::from_bits(bits).into()),
            (_, Scalar::Bytes(bytes)) => bytes,
            _ => return Err(broken("wrong wireType for a field")),
        };
        Ok(match shape {
            Shape::String => string(bytes).into(),
            Shape::Bytes => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Shape::Struct(id) => Value::Object(self.message(id, bytes, depth + 1)?),
            Shape::List { item, .. } => self.wrapped(item, bytes, depth)?,
            Shape::IntOrString => int_or_string(bytes)?,
            Shape::Quantity => match only(bytes, 1)? {
                Some(Scalar::Bytes(text)) => string(text).into(),
                _ => "0".into(),
            },
            Shape::Time | Shape::MicroTime => time(bytes, shape)?,
            Shape::Duration => match only(bytes, 1)? {
                Some(Scalar::Varint(nanoseconds)) => {
                    duration::print_nanoseconds(nanoseconds.cast_signed()).into()
                }
                _ => "0s".into(),
            },
            Shape::Raw | Shape::Fields | Shape::Json | Shape::Any => match only(bytes, 1)? {
                Some(Scalar::Bytes(json)) if !json.is_empty() => parse::json(json)?.value,
                _ => Value::Null,
            },
            Shape::OrBool(schema) => self.or(schema, bytes, depth, 2, &|scalar| match scalar {
                Scalar::Varint(allowed) => Ok((allowed != 0).into()),
                _ => Err(broken("wrong wireType for a field")),
            })?,
            Shape::OrList(schema) | Shape::OrStrings(schema) => self.or_list(shape, schema, bytes, depth)?,
            Shape::Map { .. } => return Err(broken("a map inside a list")),
            Shape::Int32 | Shape::Int64 | Shape::Bool | Shape::Float64 => {
                return Err(broken("wrong wireType for a field"));
            }
        })
    }

    fn wrapped(&self, item: NodeId, bytes: &[u8], depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, scalar)) = reader.next()? {
            if number == 1 {
                self.items(item, scalar, depth + 1, &mut items)?;
            }
        }
        Ok(Value::Array(items))
    }

    /// A struct in field `number`, or, without one, what the other field says.
    fn or(
        &self,
        schema: NodeId,
        bytes: &[u8],
        depth: usize,
        number: u64,
        other: &dyn Fn(Scalar<'_>) -> Result<Value>,
    ) -> Result<Value> {
        let mut found = Value::Null;
        let mut reader = Reader::new(bytes);
        while let Some((at, scalar)) = reader.next()? {
            if at == number {
                return self.value(schema, scalar, depth + 1);
            }
            found = other(scalar)?;
        }
        Ok(found)
    }

    fn or_list(&self, shape: Shape, schema: NodeId, bytes: &[u8], depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field {
                (1, scalar) => return self.value(schema, scalar, depth + 1),
                (2, Scalar::Bytes(text)) if matches!(shape, Shape::OrStrings(_)) => {
                    items.push(string(text).into())
                }
                (2, scalar) => items.push(self.value(schema, scalar, depth + 1)?),
                _ => {}
            }
        }
        Ok(Value::Array(items))
    }
}

/// Whether JSON shows the value: all but what it leaves out when empty.
fn keeps(flags: FieldFlags, value: &Value) -> bool {
    let empty = match value {
        // A time that is not set, or a raw value that is not there, is null: absent says the same.
        Value::Null => return false,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => {
            return !(map.is_empty() && flags.has(FieldFlags::OMIT_ZERO) && !flags.has(FieldFlags::POINTER));
        }
    };
    !empty || flags.has(FieldFlags::POINTER) || !flags.has(FieldFlags::OMIT_EMPTY)
}

/// The last field of a number in a message.
fn only(bytes: &[u8], wanted: u64) -> Result<Option<Scalar<'_>>> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, scalar)) = reader.next()? {
        if number == wanted {
            found = Some(scalar);
        }
    }
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Result<Value> {
    let text = matches!(only(bytes, 1)?, Some(Scalar::Varint(1)));
    Ok(match (text, only(bytes, 2)?, only(bytes, 3)?) {
        (true, _, Some(Scalar::Bytes(bytes))) => string(bytes).into(),
        (true, ..) => "".into(),
        (false, Some(Scalar::Varint(value)), _) => (value as i32).into(),
        (false, ..) => 0.into(),
    })
}

/// Null for the zero time, which is an empty message.
fn time(bytes: &[u8], shape: Shape) -> Result<Value> {
    let (Some(Scalar::Varint(seconds)), nanoseconds) = (only(bytes, 1)?, only(bytes, 2)?) else {
        return Ok(Value::Null);
    };
    let nanoseconds = match nanoseconds {
        Some(Scalar::Varint(value)) => value as i32,
        _ => 0,
    };
    let at = Timestamp::new(seconds.cast_signed(), nanoseconds).map_err(|_| broken("a time out of range"))?;
    let micro = shape == Shape::MicroTime;
    Ok(if micro { gifee_base::clock::format_micro_time(at) } else { gifee_base::clock::format_time(at) }
        .into())
}
