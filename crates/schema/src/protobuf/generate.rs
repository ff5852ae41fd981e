//! Objects of any kind, made up from its schema alone: what round trips are tested with.
//!
//! Invariant: they are in the form that Go would print, so what comes back can be compared as it is.

use crate::Schema;
use crate::shape::{Field, FieldFlags, NodeId, Shape, StructId, Types};
use serde_json::{Map, Value, json};

/// Levels of structs below which optional fields are left out.
const LEVELS: usize = 7;

/// An object of a kind; the same for the same seed.
pub fn object(schema: &Schema, api_version: &str, kind: &str, seed: u64) -> Value {
    let mut generator =
        Generator { types: schema.types(), state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 };
    let Shape::Struct(id) = generator.types.shape(schema.root()) else { return Value::Null };
    let mut map = generator.structure(id, 0);
    map.insert("apiVersion".into(), api_version.into());
    map.insert("kind".into(), kind.into());
    Value::Object(map)
}

struct Generator<'a> {
    types: &'a Types,
    state: u64,
}

impl Generator<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift: any numbers will do.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % bound
    }

    fn placed(&self, id: StructId, field: &Field) -> bool {
        let mut level = field.inlined;
        while level > 0 {
            let one = &self.types.inlined(id)[usize::from(level) - 1];
            if one.number == 0 {
                return false;
            }
            level = one.parent;
        }
        field.number > 0
    }

    fn structure(&mut self, id: StructId, level: usize) -> Map<String, Value> {
        let mut map = Map::new();
        let types = self.types;
        for field in types.fields(id) {
            // The deeper, the fewer.
            if !self.placed(id, field) || self.below(2 + level as u64) > 1 {
                continue;
            }
            let value = self.value(field.node, level + 1);
            if self.keeps(field, &value) {
                map.insert(types.text(field.name).to_owned(), value);
            }
        }
        map
    }

    fn keeps(&self, field: &Field, value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::Object(map) => {
                let map_shape = matches!(self.types.shape(field.node), Shape::Map { .. });
                !map.is_empty() || !(map_shape || field.flags.has(FieldFlags::OMIT_ZERO))
            }
            Value::Array(items) => !items.is_empty() || self.types.node(field.node).wrapped,
            _ => true,
        }
    }

    fn text(&mut self) -> Value {
        let words = [
            "a",
            "web",
            "x/y.z",
            "ä\u{1f600}",
            "line\nbreak \"quoted\" \\ \u{1}",
            "0",
            "true",
            "long long text",
        ];
        let word = words[self.below(words.len() as u64) as usize];
        format!("{word}{}", self.below(100)).into()
    }

    fn value(&mut self, node: NodeId, level: usize) -> Value {
        match self.types.shape(node) {
            Shape::Struct(_) | Shape::OrBool(_) | Shape::OrList(_) | Shape::OrStrings(_)
                if level > LEVELS =>
            {
                Value::Null
            }
            Shape::Struct(id) => Value::Object(self.structure(id, level)),
            Shape::List { item, .. } => {
                let count = 1 + self.below(3);
                let items = (0..count).map(|_| self.value(item, level + 1));
                Value::Array(items.filter(|one| !one.is_null()).collect())
            }
            Shape::Map { value, .. } => {
                let count = 1 + self.below(3);
                let entries = (0..count).map(|index| (format!("key-{index}"), self.value(value, level + 1)));
                Value::Object(entries.filter(|(_, value)| !value.is_null()).collect())
            }
            Shape::String => self.text(),
            Shape::Int32 => [1, -1, 80, i32::MAX, i32::MIN][self.below(5) as usize].into(),
            Shape::Int64 => [1, -1, 300, i64::MAX, i64::MIN][self.below(5) as usize].into(),
            Shape::Float64 => [0.5, -1.25, 1e10][self.below(3) as usize].into(),
            Shape::Bool => true.into(),
            Shape::Bytes => ["AA==", "aGVsbG8=", "/+8="][self.below(3) as usize].into(),
            Shape::IntOrString => {
                [json!(8080), json!(-3), json!("25%"), json!("http")][self.below(4) as usize].clone()
            }
            Shape::Quantity => ["1", "100m", "64Mi", "0"][self.below(4) as usize].into(),
            Shape::Time => ["2026-01-02T03:04:05Z", "1970-01-01T00:00:01Z"][self.below(2) as usize].into(),
            Shape::MicroTime => {
                ["2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05.000000Z"][self.below(2) as usize].into()
            }
            Shape::Duration => ["1m30s", "1h0m0s", "1.5s"][self.below(3) as usize].into(),
            Shape::Raw => json!({ "apiVersion": "x/v1", "kind": "Y", "list": [1, null, { "a": "b" }] }),
            Shape::Fields => json!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {} } } }),
            Shape::Json | Shape::Any => {
                [json!({ "a": [1] }), json!("x"), json!(7), json!([true])][self.below(4) as usize].clone()
            }
            Shape::OrBool(schema) => {
                [json!(true), json!(false), self.value(schema, level + 1)][self.below(3) as usize].clone()
            }
            Shape::OrList(schema) => {
                let one = self.value(schema, level + 1);
                if one.is_null() || self.below(2) == 0 { one } else { json!([one]) }
            }
            Shape::OrStrings(schema) => match self.value(schema, level + 1) {
                Value::Null => Value::Null,
                one if self.below(2) == 0 => one,
                _ => json!(["a", "b"]),
            },
        }
    }
}
