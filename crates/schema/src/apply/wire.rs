//! `FieldsV1`: a set of fields as JSON, read into a [`Set`], written from one, and looked into as it is.
//!
//! Invariant: what is written is in the order of the elements and compact, so that equal sets have equal texts.
//! Recursion ends where the JSON reader's does. Answers to structured-merge-diff's `fieldpath/serialize.go`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use gifee_base::scan::Scanner;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::element::Element;
use super::set::{Node, Set};

impl Set {
    /// Reads the JSON of a `FieldsV1`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let (set, _) = Reader.deserialize(&mut reader).map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        Ok(set)
    }

    /// Appends the JSON of a `FieldsV1`.
    pub fn write(&self, out: &mut String) {
        let mut scratch = String::new();
        self.write_nodes(false, &mut scratch, out);
    }

    fn write_nodes(&self, own: bool, scratch: &mut String, out: &mut String) {
        out.push('{');
        if own && !self.nodes.is_empty() {
            out.push_str(OWN);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if index > 0 || own {
                out.push(',');
            }
            write_element(&node.element, scratch, out);
            out.push(':');
            node.below.write_nodes(node.member, scratch, out);
        }
        out.push('}');
    }

    /// Whether a field of this set is in a `FieldsV1` that was written by [`Set::write`].
    pub(super) fn meets(&self, fields: &str) -> bool {
        let mut scratch = Scratch::default();
        self.nodes.iter().any(|node| {
            let Some(value) = find(fields, &node.element, &mut scratch) else { return false };
            let value = &fields[value];
            (node.member && is_member(value)) || node.below.meets(value)
        })
    }

    /// Whether all of this set is in a `FieldsV1` that was written by [`Set::write`].
    pub(super) fn within(&self, fields: &str) -> bool {
        let mut scratch = Scratch::default();
        self.nodes.iter().all(|node| {
            let Some(value) = find(fields, &node.element, &mut scratch) else { return false };
            let value = &fields[value];
            (!node.member || is_member(value)) && node.below.within(value)
        })
    }
}

/// What says that a field with members below it is a member itself.
pub(super) const OWN: &str = r#"".":{}"#;

#[derive(Default)]
struct Scratch {
    element: String,
    key: String,
}

fn is_member(value: &str) -> bool {
    value == "{}" || value[1..].starts_with(OWN)
}

/// Where what is below an element is.
fn find(fields: &str, element: &Element, scratch: &mut Scratch) -> Option<Range<usize>> {
    scratch.key.clear();
    write_element(element, &mut scratch.element, &mut scratch.key);
    let wanted = &scratch.key.as_bytes()[1..scratch.key.len() - 1];
    let bytes = fields.as_bytes();
    let mut scanner = Scanner::new(bytes);
    if !scanner.take(b'{') {
        return None;
    }
    while let Some(key) = scanner.key()? {
        let start = scanner.position();
        scanner.skip()?;
        if &bytes[key.range] == wanted {
            return Some(start..scanner.passed());
        }
    }
    None
}

/// Appends an element as the JSON string that is its key.
fn write_element(element: &Element, scratch: &mut String, out: &mut String) {
    if let Element::Field(name) = element {
        out.push_str("\"f:");
        write_escaped(name, out);
        out.push('"');
        return;
    }
    scratch.clear();
    element.write(scratch);
    write_string(scratch, out);
}

/// Appends a JSON string.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    write_escaped(text, out);
    out.push('"');
}

/// Appends what is between the quotes of a JSON string.
pub(super) fn write_escaped(text: &str, out: &mut String) {
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let mut rest = text;
    while let Some(at) = rest.bytes().position(special) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => out.push_str(&format!("\\u{other:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Reads one object: what is below a node, and whether the node is a member.
struct Reader;

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = (Set, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = (Set, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of fields")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((Set::default(), true))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut set, mut own) = (Set::default(), false);
        while let Some(Key(key)) = map.next_key()? {
            if key == "." {
                map.next_value::<IgnoredAny>()?;
                own = true;
                continue;
            }
            let Some(element) = Element::parse(&key).map_err(A::Error::custom)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (below, member) = map.next_value_seed(Reader)?;
            let node: &mut Node = set.entry(element);
            node.member |= member;
            if !below.is_empty() {
                node.below = below;
            }
        }
        let own = own || set.is_empty();
        Ok((set, own))
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
