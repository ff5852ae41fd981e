//! The walk itself. Recursion is bounded by the tree's depth, which parsing bounds.

use std::borrow::Cow;

use gifee_base::quantity;
use serde_json::{Map, Number, Value};

use super::{Findings, base64, duration, time};
use crate::go::json_word;
use crate::parse::MAXIMUM_FINDINGS;
use crate::shape::{Field, FieldFlags, NOT_ALWAYS, NodeId, Shape, StructId, Types};
use crate::{Error, Result, go};

pub(super) fn walk(types: &Types, root: NodeId, value: &mut Value) -> Result<Findings> {
    let mut walk = Walk { types, unknown: Vec::new(), wrong: None, fatal: None, quiet: 0 };
    if value.is_null() && matches!(walk.types.shape(root), Shape::Struct(_)) {
        *value = Value::Object(Map::new());
    }
    walk.node(root, value, None);
    match walk.fatal.or(walk.wrong) {
        Some(message) => Err(Error::Decode(message)),
        None => Ok(Findings { unknown: walk.unknown }),
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(StructId, &'a Field),
    Index(usize),
    Key(&'a str),
}

struct Frame<'a> {
    parent: Option<&'a Frame<'a>>,
    step: Step<'a>,
}

struct Walk<'a> {
    types: &'a Types,
    unknown: Vec<String>,
    /// The first value of a wrong type: Go reads on, so a fatal error still wins.
    wrong: Option<String>,
    /// The first error of a type that reads itself.
    fatal: Option<String>,
    /// Inside types that read themselves, where unknown fields go unnoticed.
    quiet: usize,
}

impl Walk<'_> {
    fn node(&mut self, node: NodeId, value: &mut Value, frame: Option<&Frame>) {
        let shape = self.types.shape(node);
        match (shape, &mut *value) {
            // Only what has no other zero value comes here as null.
            (_, Value::Null) => {}
            (Shape::Struct(id), Value::Object(map)) => self.object(id, map, frame),
            (Shape::List { item, .. }, Value::Array(items)) => self.list(item, items, frame),
            (Shape::Map { value: inner, .. }, Value::Object(map)) => self.map(inner, map, frame),
            (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => {}
            (Shape::Int32, Value::Number(number)) => self.integer(number, i32::MAX.into(), node, frame),
            (Shape::Int64, Value::Number(number)) => self.integer(number, i64::MAX, node, frame),
            (Shape::Float64, Value::Number(number)) => canonical_float(number),
            (Shape::Raw | Shape::Fields | Shape::Json | Shape::Any, _) => {}
            (Shape::IntOrString, Value::String(_)) => {}
            (Shape::IntOrString, Value::Number(number)) => self.int_or_string(number, node, frame),
            (Shape::IntOrString, other) => {
                let word = json_word(other);
                self.wrong_type(word, node, frame, true);
            }
            (Shape::Quantity, value) => self.quantity(value),
            (Shape::Bytes, Value::String(text)) => match base64::canonical(text) {
                Ok(None) => {}
                Ok(Some(canonical)) => *text = canonical,
                Err(at) => self.save(format!("illegal base64 data at input byte {at}")),
            },
            (Shape::Time | Shape::MicroTime | Shape::Duration, Value::String(_)) => self.text(shape, value),
            (Shape::Time | Shape::MicroTime | Shape::Duration, other) => {
                let word = json_word(other);
                self.wrong_type(word, node, frame, true);
            }
            (Shape::OrBool(inner), value) => self.or_bool(inner, value, frame),
            (Shape::OrList(inner), value) => self.or_list(inner, value, frame),
            (Shape::OrStrings(inner), value) => self.or_strings(inner, value, frame),
            (_, other) => {
                let word = json_word(other);
                self.wrong_type(word, node, frame, false);
            }
        }
    }

    fn object(&mut self, id: StructId, map: &mut Map<String, Value>, frame: Option<&Frame>) {
        let types = self.types;
        let mut present = 0u64;
        map.retain(|key, value| {
            let Some(field) = types.field(id, key) else {
                self.report_unknown(frame, key);
                return false;
            };
            let keep = self.field(id, field, value, frame);
            if keep && field.always != NOT_ALWAYS {
                present |= 1 << field.always;
            }
            keep
        });
        let missing = types.row(id).always & !present;
        if missing == 0 {
            return;
        }
        for field in types.fields(id) {
            if field.always != NOT_ALWAYS && missing & (1 << field.always) != 0 {
                let mut value = zero(types.shape(field.node));
                self.node(
                    field.node,
                    &mut value,
                    Some(&Frame { parent: frame, step: Step::Field(id, field) }),
                );
                map.insert(types.text(field.name).to_string(), value);
            }
        }
    }

    /// Whether the field stays.
    fn field(&mut self, id: StructId, field: &Field, value: &mut Value, frame: Option<&Frame>) -> bool {
        if value.is_null() {
            return false;
        }
        self.node(field.node, value, Some(&Frame { parent: frame, step: Step::Field(id, field) }));
        let omitted = field.flags.has(FieldFlags::OMIT_EMPTY) && !field.flags.has(FieldFlags::POINTER);
        !(value.is_null() || omitted && is_empty(self.types.shape(field.node), value))
    }

    fn list(&mut self, item: NodeId, items: &mut [Value], frame: Option<&Frame>) {
        let shape = self.types.shape(item);
        for (index, value) in items.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero(shape);
            }
            self.node(item, value, Some(&Frame { parent: frame, step: Step::Index(index) }));
        }
    }

    fn map(&mut self, inner: NodeId, map: &mut Map<String, Value>, frame: Option<&Frame>) {
        let shape = self.types.shape(inner);
        map.retain(|key, value| {
            if value.is_null() {
                *value = zero(shape);
            }
            self.node(inner, value, Some(&Frame { parent: frame, step: Step::Key(key) }));
            // Zero times stay, as null.
            !value.is_null() || matches!(shape, Shape::Json | Shape::Any | Shape::Time | Shape::MicroTime)
        });
    }

    fn integer(&mut self, number: &Number, maximum: i64, node: NodeId, frame: Option<&Frame>) {
        if !number.as_i64().is_some_and(|value| value <= maximum && value >= -maximum - 1) {
            self.wrong_type(&format!("number {}", go_number(number)), node, frame, false);
        }
    }

    fn int_or_string(&mut self, number: &Number, node: NodeId, frame: Option<&Frame>) {
        if number.as_i64().is_none_or(|value| i32::try_from(value).is_err()) {
            self.wrong_type(&format!("number {}", go_number(number)), node, frame, true);
        }
    }

    fn quantity(&mut self, value: &mut Value) {
        let text = match &*value {
            Value::String(text) if is_short_quantity(text.as_bytes()) => return,
            Value::String(text) => Cow::Borrowed(text.trim()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            other => Cow::Owned(other.to_string()),
        };
        match quantity::canonical(&text) {
            Ok(canonical) => {
                if value.as_str() != Some(&canonical) {
                    *value = Value::String(canonical);
                }
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn text(&mut self, shape: Shape, value: &mut Value) {
        let Value::String(text) = value else { return };
        let canonical = match shape {
            Shape::Duration => duration::canonical(text),
            Shape::MicroTime => time::canonical(text, true),
            _ => time::canonical(text, false),
        };
        match canonical {
            Ok(canonical) if canonical.is_empty() => *value = Value::Null,
            Ok(canonical) => {
                if let Cow::Owned(canonical) = canonical {
                    *text = canonical;
                }
            }
            Err(message) => self.fail(message),
        }
    }

    fn or_bool(&mut self, inner: NodeId, value: &mut Value, frame: Option<&Frame>) {
        match value {
            Value::Bool(_) => {}
            Value::Object(_) => self.quietly(inner, value, frame),
            _ => self.fail("boolean or JSON schema expected".to_string()),
        }
    }

    fn or_list(&mut self, inner: NodeId, value: &mut Value, frame: Option<&Frame>) {
        match value {
            Value::Object(_) => self.quietly(inner, value, frame),
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    self.quietly(inner, item, frame);
                }
            }
            _ => *value = Value::Null,
        }
    }

    fn or_strings(&mut self, inner: NodeId, value: &mut Value, frame: Option<&Frame>) {
        match value {
            Value::Object(_) => self.quietly(inner, value, frame),
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    if item.is_null() {
                        *item = Value::String(String::new());
                    }
                    if !item.is_string() {
                        let word = json_word(item);
                        self.fail(format!("json: cannot unmarshal {word} into Go value of type string"));
                    }
                }
            }
            _ => *value = Value::Null,
        }
    }

    fn quietly(&mut self, node: NodeId, value: &mut Value, frame: Option<&Frame>) {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        self.quiet += 1;
        self.node(node, value, frame);
        self.quiet -= 1;
    }

    fn save(&mut self, message: String) {
        self.wrong.get_or_insert(message);
    }

    fn fail(&mut self, message: String) {
        self.fatal.get_or_insert(message);
    }

    #[cold]
    fn report_unknown(&mut self, frame: Option<&Frame>, key: &str) {
        if self.quiet > 0 || self.unknown.len() >= MAXIMUM_FINDINGS {
            return;
        }
        let mut path = String::new();
        if let Some(frame) = frame {
            self.write_path(frame, &mut path);
            path.push('.');
        }
        path.push_str(key);
        self.unknown.push(path);
    }

    fn write_path(&self, frame: &Frame, out: &mut String) {
        if let Some(parent) = frame.parent {
            self.write_path(parent, out);
        }
        let key = match frame.step {
            Step::Field(_, field) => self.types.text(field.name),
            Step::Key(key) => key,
            Step::Index(index) => {
                out.push_str(&format!("[{index}]"));
                return;
            }
        };
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(key);
    }

    /// An `UnmarshalTypeError`; `own` if the type reads itself, which ends the reading.
    #[cold]
    fn wrong_type(&mut self, word: &str, node: NodeId, frame: Option<&Frame>, own: bool) {
        let mut fields = Vec::new();
        let mut structure = None;
        let mut next = frame;
        while let Some(frame) = next {
            if let Step::Field(id, field) = frame.step {
                structure.get_or_insert(id);
                fields.push(self.types.text(field.name));
                let inlined = self.types.inlined(id);
                let mut at = field.inlined;
                while at > 0 {
                    let row = inlined[usize::from(at) - 1];
                    fields.push(self.types.text(row.name));
                    at = row.parent;
                }
            }
            next = frame.parent;
        }
        fields.reverse();
        let go_type = match self.types.shape(node) {
            Shape::IntOrString => "int32".to_string(),
            _ => self.types.go_type(node),
        };
        let target = match structure {
            Some(id) => {
                format!("Go struct field {}.{}", self.types.text(self.types.row(id).name), fields.join("."))
            }
            None => "Go value".to_string(),
        };
        let message = format!("json: cannot unmarshal {word} into {target} of type {go_type}");
        match own {
            true => self.fail(message),
            false => self.save(message),
        }
    }
}

fn go_number(number: &Number) -> Cow<'static, str> {
    Cow::Owned(go::literal(number))
}

/// Whether it is surely canonical: a number below 1,000 without a leading zero, and a suffix.
fn is_short_quantity(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let suffix = [&b""[..], b"m", b"k", b"M", b"G", b"T", b"Ki", b"Mi", b"Gi", b"Ti"];
    (1..=3).contains(&digits) && text[0] != b'0' && suffix.contains(&&text[digits..])
}

/// The value Go writes for a null it read into a list or map, or for a field that was not given.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::Struct(_) | Shape::Map { .. } => Value::Object(Map::new()),
        Shape::List { .. } => Value::Array(Vec::new()),
        Shape::String | Shape::Bytes => Value::String(String::new()),
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => Value::from(0),
        Shape::Bool => Value::Bool(false),
        Shape::Quantity => Value::String("0".to_string()),
        Shape::Duration => Value::String("0s".to_string()),
        _ => Value::Null,
    }
}

/// Whether Go's `omitempty` leaves the value out; structs are never empty.
fn is_empty(shape: Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::String | Shape::Bytes, Value::String(text)) => text.is_empty(),
        (Shape::Int32 | Shape::Int64 | Shape::Float64, Value::Number(number)) => number.as_f64() == Some(0.0),
        (Shape::Bool, Value::Bool(value)) => !value,
        (Shape::List { .. }, Value::Array(items)) => items.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// Go writes a whole float without a point.
fn canonical_float(number: &mut Number) {
    if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15)
        && number.is_f64()
    {
        *number = Number::from(float as i64);
    }
}
