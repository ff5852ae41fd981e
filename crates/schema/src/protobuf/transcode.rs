//! From the JSON bytes of an object to the wire, without a tree in between: what responses are made of.
//!
//! Invariant: the same message as [`super::message`] writes of the same object, but in the order of the JSON; what
//! cannot be followed gives None, and the caller goes by way of a tree. Fields of an embedded struct are written as
//! several messages of its number, which a reader merges.

use super::DEPTH;
use super::wire::{close, open, put_bytes, put_integer, put_tag};
use crate::Schema;
use crate::check::duration;
use crate::shape::{Field, NodeId, Shape, StructId, Types};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::scan::{Scanner, Text};
use jiff::Timestamp;
use std::borrow::Cow;

/// How deep structs are embedded in one another at most.
const EMBEDDED: usize = 4;

/// Appends the message of the object whose JSON is `json`. On None, `out` has the length it had.
pub fn transcode(schema: &Schema, json: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Shape::Struct(id) = schema.types().shape(schema.root()) else { return None };
    let before = out.len();
    let mut walker = Walker { types: schema.types(), json, scanner: Scanner::new(json), out };
    let done = walker.structure(id, 0);
    let whole = done.is_some() && walker.scanner.at_end();
    if !whole {
        out.truncate(before);
    }
    whole.then_some(())
}

struct Walker<'a> {
    types: &'a Types,
    json: &'a [u8],
    scanner: Scanner<'a>,
    out: &'a mut Vec<u8>,
}

impl<'a> Walker<'a> {
    fn text(&self, text: &Text) -> Option<Cow<'a, str>> {
        let range = text.range.clone();
        if !text.escaped {
            return std::str::from_utf8(&self.json[range]).ok().map(Cow::Borrowed);
        }
        // With its quotes again, it is a value that a real parser reads.
        serde_json::from_slice(self.json.get(range.start - 1..range.end + 1)?).ok().map(Cow::Owned)
    }

    /// The bytes of the next value.
    fn raw(&mut self) -> Option<&'a [u8]> {
        let start = self.scanner.position();
        self.scanner.skip()?;
        self.json.get(start..self.scanner.passed())
    }

    fn structure(&mut self, id: StructId, depth: usize) -> Option<()> {
        if depth > DEPTH || !self.scanner.take(b'{') {
            return None;
        }
        let fields = self.types.fields(id);
        let mut next = 0;
        while let Some(key) = self.scanner.key()? {
            let name = self.text(&key)?;
            // Keys come sorted, as fields are; where they do not, the search begins anew.
            let at = match fields.get(next) {
                Some(field) if self.types.text(field.name) == name => Some(next),
                _ => fields.binary_search_by(|field| self.types.text(field.name).cmp(&name)).ok(),
            };
            let Some(at) = at else {
                self.scanner.skip()?;
                continue;
            };
            next = at + 1;
            let field = &fields[at];
            if field.number == 0 || self.scanner.peek()? == b'n' {
                self.scanner.skip()?;
                continue;
            }
            self.placed(id, field, depth)?;
        }
        Some(())
    }

    /// A field inside the messages of the structs that it is embedded by.
    fn placed(&mut self, id: StructId, field: &Field, depth: usize) -> Option<()> {
        if field.inlined == 0 {
            return self.field(field.number, field.node, depth);
        }
        let embedded = self.types.inlined(id);
        // From the innermost to the outermost.
        let (mut numbers, mut count) = ([0_u16; EMBEDDED], 0);
        let mut level = field.inlined;
        while level > 0 {
            let one = embedded.get(usize::from(level) - 1)?;
            if one.number == 0 {
                return self.scanner.skip();
            }
            *numbers.get_mut(count)? = one.number;
            (count, level) = (count + 1, one.parent);
        }
        let mut marks = [0_usize; EMBEDDED];
        for at in (0..count).rev() {
            marks[at] = open(self.out, numbers[at]);
        }
        self.field(field.number, field.node, depth)?;
        marks[..count].iter().for_each(|mark| close(self.out, *mark));
        Some(())
    }

    fn field(&mut self, number: u16, node: NodeId, depth: usize) -> Option<()> {
        match self.types.shape(node) {
            Shape::List { item, .. } if !self.types.node(node).wrapped => self.items(number, item, depth),
            Shape::Map { value, .. } => {
                if !self.scanner.take(b'{') {
                    return None;
                }
                while let Some(key) = self.scanner.key()? {
                    let entry = open(self.out, number);
                    let key = self.text(&key)?;
                    put_bytes(self.out, 1, key.as_bytes());
                    if self.scanner.peek()? == b'n' {
                        // The zero time, which is an empty message.
                        self.scanner.skip()?;
                        put_bytes(self.out, 2, b"");
                    } else {
                        self.one(2, value, depth + 1)?;
                    }
                    close(self.out, entry);
                }
                Some(())
            }
            _ => self.one(number, node, depth),
        }
    }

    fn items(&mut self, number: u16, item: NodeId, depth: usize) -> Option<()> {
        if depth > DEPTH || !self.scanner.take(b'[') {
            return None;
        }
        while self.scanner.item()? {
            if self.scanner.peek()? == b'n' {
                self.scanner.skip()?;
            } else {
                self.one(number, item, depth + 1)?;
            }
        }
        Some(())
    }

    fn one(&mut self, number: u16, node: NodeId, depth: usize) -> Option<()> {
        match self.types.shape(node) {
            Shape::String => {
                let text = self.scanner.string()?;
                let text = self.text(&text)?;
                put_bytes(self.out, number, text.as_bytes());
            }
            Shape::Int32 | Shape::Int64 => {
                let value = self.integer()?;
                put_integer(self.out, number, value.cast_unsigned());
            }
            Shape::Bool => {
                let value = self.boolean()?;
                put_integer(self.out, number, u64::from(value));
            }
            Shape::Float64 => {
                let value: f64 = std::str::from_utf8(self.raw()?).ok()?.parse().ok()?;
                put_tag(self.out, number, 1);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Shape::Bytes => {
                let text = self.scanner.string()?;
                let text = self.text(&text)?;
                let mark = open(self.out, number);
                STANDARD.decode_vec(&*text, self.out).ok()?;
                close(self.out, mark);
            }
            Shape::Struct(id) => {
                let mark = open(self.out, number);
                self.structure(id, depth + 1)?;
                close(self.out, mark);
            }
            Shape::List { item, .. } => {
                let mark = open(self.out, number);
                self.items(1, item, depth)?;
                close(self.out, mark);
            }
            Shape::Raw | Shape::Fields | Shape::Json | Shape::Any => {
                let raw = self.raw()?;
                let mark = open(self.out, number);
                put_bytes(self.out, 1, raw);
                close(self.out, mark);
            }
            shape => {
                let mark = open(self.out, number);
                self.special(shape, depth)?;
                close(self.out, mark);
            }
        }
        Some(())
    }

    fn integer(&mut self) -> Option<i64> {
        std::str::from_utf8(self.raw()?).ok()?.parse().ok()
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.raw()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Messages whose JSON is no object of the same fields.
    fn special(&mut self, shape: Shape, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        let first = self.scanner.peek()?;
        match (shape, first) {
            (Shape::IntOrString, b'"') => {
                let text = self.scanner.string()?;
                let text = self.text(&text)?;
                put_integer(self.out, 1, 1);
                put_integer(self.out, 2, 0);
                put_bytes(self.out, 3, text.as_bytes());
            }
            (Shape::IntOrString, _) => {
                let value = self.integer()?;
                put_integer(self.out, 1, 0);
                put_integer(self.out, 2, value.cast_unsigned());
                put_bytes(self.out, 3, b"");
            }
            (Shape::OrBool(_), b't' | b'f') => {
                let allowed = self.boolean()?;
                put_integer(self.out, 1, u64::from(allowed));
            }
            (Shape::OrBool(schema), b'{') => {
                put_integer(self.out, 1, 1);
                self.one(2, schema, depth + 1)?;
            }
            (Shape::OrList(schema) | Shape::OrStrings(schema), b'{') => self.one(1, schema, depth + 1)?,
            (Shape::OrList(schema), b'[') => self.items(2, schema, depth + 1)?,
            (Shape::OrStrings(_), b'[') => {
                self.scanner.take(b'[');
                while self.scanner.item()? {
                    let text = self.scanner.string()?;
                    let text = self.text(&text)?;
                    put_bytes(self.out, 2, text.as_bytes());
                }
            }
            (_, b'"') => {
                let text = self.scanner.string()?;
                let text = self.text(&text)?;
                self.worded(shape, &text)?;
            }
            (Shape::Quantity, _) => {
                let raw = self.raw()?;
                put_bytes(self.out, 1, raw);
            }
            _ => return None,
        }
        Some(())
    }

    /// Messages whose JSON is text.
    fn worded(&mut self, shape: Shape, text: &str) -> Option<()> {
        match shape {
            Shape::Quantity => put_bytes(self.out, 1, text.as_bytes()),
            Shape::Time | Shape::MicroTime => {
                let at: Timestamp = text.parse().ok()?;
                put_integer(self.out, 1, at.as_second().cast_unsigned());
                put_integer(self.out, 2, i64::from(at.subsec_nanosecond()).cast_unsigned());
            }
            Shape::Duration => put_integer(self.out, 1, duration::nanoseconds(text).ok()?.cast_unsigned()),
            _ => return None,
        }
        Some(())
    }
}
