//! Values of selectable fields, read out of an object's bytes without decoding it.
//!
//! Invariant: one pass over the bytes for all fields of a kind; strings stay where they are.

use gifee_registry::kind::Field;
use serde::de::DeserializeSeed;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::sync::Arc;

/// The selectable fields of a stored kind, as a tree of their paths.
#[derive(Debug, Default)]
pub struct Fields {
    names: Vec<(Arc<str>, &'static str)>,
    tree: Node,
    indexed: Option<usize>,
}

#[derive(Debug, Default)]
struct Node {
    children: Vec<(Arc<str>, Node)>,
    leaves: Vec<usize>,
}

/// The value of one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// Not there.
    #[default]
    Absent,
    /// From here to there in the object's bytes.
    Span(u32, u32),
    /// Not as it stands in the bytes: a string with escapes.
    Owned(Box<str>),
}

impl Fields {
    /// Of these rows.
    pub fn new(fields: &[Field]) -> Self {
        let mut all = Self::default();
        for (index, field) in fields.iter().enumerate() {
            all.names.push((field.name.clone(), field.absent));
            if field.indexed && all.indexed.is_none() {
                all.indexed = Some(index);
            }
            let mut node = &mut all.tree;
            for part in &field.path {
                let at = node.children.iter().position(|(name, _)| name == part).unwrap_or_else(|| {
                    node.children.push((part.clone(), Node::default()));
                    node.children.len() - 1
                });
                node = &mut node.children[at].1;
            }
            node.leaves.push(index);
        }
        all
    }

    /// The number of a field.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|(one, _)| &**one == name)
    }

    /// The field that watchers are indexed by.
    pub fn indexed(&self) -> Option<usize> {
        self.indexed
    }

    /// The values of an object. Bytes that are no JSON have none.
    pub fn extract(&self, raw: &[u8]) -> Box<[Value]> {
        if self.names.is_empty() {
            return Box::default();
        }
        let mut values = vec![Value::Absent; self.names.len()];
        let mut deserializer = serde_json::Deserializer::from_slice(raw);
        let seed = Seed { node: &self.tree, raw, out: &mut values };
        // The bytes were indexed before; a field of an unforeseen shape counts as absent.
        let _ = seed.deserialize(&mut deserializer);
        values.into_boxed_slice()
    }

    /// The text of a value of an object with these bytes.
    pub fn text<'a>(&'a self, raw: &'a [u8], values: &'a [Value], index: usize) -> &'a str {
        match values.get(index) {
            Some(Value::Span(start, end)) => {
                let bytes = raw.get(*start as usize..*end as usize).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Some(Value::Owned(text)) => text,
            _ => self.names.get(index).map_or("", |(_, absent)| absent),
        }
    }
}

struct Seed<'a, 'r> {
    node: &'a Node,
    raw: &'r [u8],
    out: &'a mut [Value],
}

impl Seed<'_, '_> {
    fn set(&mut self, value: &Value) {
        for leaf in &self.node.leaves {
            self.out[*leaf] = value.clone();
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E>(mut self, text: &'de str) -> Result<(), E> {
        let start = (text.as_ptr() as usize).wrapping_sub(self.raw.as_ptr() as usize);
        if text.is_empty() {
            return Ok(());
        }
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + text.len())) {
            self.set(&Value::Span(start, end));
        }
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.set(&Value::Owned(text.into()));
        Ok(())
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.set(&Value::Owned(if value { "true" } else { "false" }.into()));
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.set(&Value::Owned(value.to_string().into()));
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.set(&Value::Owned(value.to_string().into()));
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.set(&Value::Owned(value.to_string().into()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        items.next_element_seed(self)?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.node.children.iter().find(|(child, _)| **child == *name) {
                Some((_, node)) => map.next_value_seed(Seed { node, raw: self.raw, out: self.out })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_path_without_decoding() {
        let rows =
            ["spec.nodeName", "spec.hostNetwork", "status.podIPs.ip", "metadata.x", "spec.n"].map(|path| {
                Field {
                    name: path.into(),
                    path: path.split('.').map(Arc::from).collect(),
                    absent: if path.ends_with("hostNetwork") { "false" } else { "" },
                    indexed: path.ends_with("nodeName"),
                }
            });
        let fields = Fields::new(&rows);
        let check = |raw: &str, expect: [&str; 5]| {
            let values = fields.extract(raw.as_bytes());
            let texts = [0, 1, 2, 3, 4].map(|index| fields.text(raw.as_bytes(), &values, index));
            assert_eq!(texts, expect, "{raw}");
        };
        check(r#"{"spec":{"nodeName":"a","z":[1,{"q":2}]}}"#, ["a", "false", "", "", ""]);
        check(
            r#"{"metadata":{"x":"a\"b"},"spec":{"hostNetwork":true,"n":-3}}"#,
            ["", "true", "", "a\"b", "-3"],
        );
        check(r#"{"status":{"podIPs":[{"ip":"1.2.3.4"},{"ip":"::1"}]}}"#, ["", "false", "1.2.3.4", "", ""]);
        check(r#"{"spec":{"nodeName":null},"status":{"podIPs":[]}}"#, ["", "false", "", "", ""]);
        check(r#"{"spec":{"nodeName":["first","second"]},"status":7}"#, ["first", "false", "", "", ""]);
        check("nonsense", ["", "false", "", "", ""]);
        assert_eq!(fields.indexed(), Some(0));
    }
}
