//! Values of selectable fields, read out of an object's bytes without decoding it.
//!
//! Invariant: one pass over the bytes for all fields of a kind; strings stay where they are.

use gifee_base::Object;
use gifee_base::scan::Scanner;
use gifee_registry::kind::Field;
use std::ops::Range;
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

    /// The values of an object.
    pub fn extract(&self, object: &Object) -> Box<[Value]> {
        if self.names.is_empty() {
            return Box::default();
        }
        let mut values = vec![Value::Absent; self.names.len()];
        // The bytes were indexed before; what the scanner cannot follow counts as absent.
        let _ = self.visit(object, &mut values);
        values.into_boxed_slice()
    }

    /// Reads the members of the object; what of the metadata is indexed is not looked for again.
    fn visit(&self, object: &Object, out: &mut [Value]) -> Option<()> {
        let (raw, mut scanner) = (&object.raw()[..], Scanner::new(object.raw()));
        if !scanner.take(b'{') {
            return None;
        }
        while let Some(key) = scanner.key()? {
            let name = &raw[key.range];
            match self.tree.child(name) {
                Some(metadata) if name == b"metadata" && metadata.is_indexed() => {
                    for (name, node) in &metadata.children {
                        let text = if &**name == "name" { object.name() } else { object.namespace() };
                        node.put(&indexed(raw, text), out);
                    }
                    scanner.pass(object.metadata_end());
                }
                Some(child) if !key.escaped => visit(&mut scanner, child, raw, out)?,
                _ if name == b"metadata" => scanner.pass(object.metadata_end()),
                _ => scanner.skip()?,
            }
        }
        Some(())
    }

    /// The text of a value of an object with these bytes. Where it is absent, the next field counts if it has the same
    /// name.
    pub fn text<'a>(&'a self, raw: &'a [u8], values: &'a [Value], index: usize) -> &'a str {
        match values.get(index) {
            Some(Value::Span(start, end)) => {
                let bytes = raw.get(*start as usize..*end as usize).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Some(Value::Owned(text)) => text,
            _ => match (self.names.get(index), self.names.get(index + 1)) {
                (Some((name, _)), Some((next, _))) if name == next => self.text(raw, values, index + 1),
                (Some((_, absent)), _) => absent,
                (None, _) => "",
            },
        }
    }
}

impl Node {
    fn child(&self, name: &[u8]) -> Option<&Self> {
        self.children.iter().find(|(child, _)| child.as_bytes() == name).map(|(_, child)| child)
    }

    /// Whether it is metadata of which nothing is selected by but what every object has an index of.
    fn is_indexed(&self) -> bool {
        self.children
            .iter()
            .all(|(name, node)| matches!(&**name, "name" | "namespace") && node.children.is_empty())
    }

    fn put(&self, value: &Value, out: &mut [Value]) {
        for leaf in &self.leaves {
            out[*leaf] = value.clone();
        }
    }
}

/// A text of the index: where it is in the bytes, if it is there as it is.
fn indexed(raw: &[u8], text: &str) -> Value {
    let start = (text.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
    match text {
        "" => Value::Absent,
        _ if start < raw.len() => span(start..start + text.len()),
        _ => Value::Owned(text.into()),
    }
}

/// Reads one value; the rest of what it stands in is read by the caller.
fn visit(scanner: &mut Scanner<'_>, node: &Node, raw: &[u8], out: &mut [Value]) -> Option<()> {
    match scanner.peek()? {
        b'{' if !node.children.is_empty() => {
            scanner.take(b'{');
            while let Some(key) = scanner.key()? {
                match node.child(&raw[key.range]) {
                    Some(child) if !key.escaped => visit(scanner, child, raw, out)?,
                    _ => scanner.skip()?,
                }
            }
            Some(())
        }
        // A list counts as its first item.
        b'[' => {
            scanner.take(b'[');
            let mut first = true;
            while scanner.item()? {
                if std::mem::take(&mut first) {
                    visit(scanner, node, raw, out)?;
                } else {
                    scanner.skip()?;
                }
            }
            Some(())
        }
        b'{' => scanner.skip(),
        _ => {
            let start = scanner.position();
            let value = scalar(scanner, raw, start)?;
            node.put(&value, out);
            Some(())
        }
    }
}

/// The text of a string, Boolean or number; null is absent.
fn scalar(scanner: &mut Scanner<'_>, raw: &[u8], start: usize) -> Option<Value> {
    if scanner.peek() != Some(b'"') {
        scanner.skip()?;
        let text = raw.get(start..scanner.passed())?;
        return Some(match text {
            b"null" => Value::Absent,
            _ => span(start..scanner.passed()),
        });
    }
    let text = scanner.string()?;
    if text.escaped {
        return text.of(raw).map(|text| Value::Owned(text.into()));
    }
    Some(if text.range.is_empty() { Value::Absent } else { span(text.range) })
}

fn span(range: Range<usize>) -> Value {
    match (u32::try_from(range.start), u32::try_from(range.end)) {
        (Ok(start), Ok(end)) => Value::Span(start, end),
        _ => Value::Absent,
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
            let object = Object::stored(bytes::Bytes::copy_from_slice(raw.as_bytes()), 1).unwrap();
            let values = fields.extract(&object);
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
        assert_eq!(fields.indexed(), Some(0));
    }

    #[test]
    fn names_are_those_of_the_index() {
        let rows = ["metadata.name", "metadata.namespace", "spec.x"].map(|path| Field {
            name: path.into(),
            path: path.split('.').map(Arc::from).collect(),
            absent: "",
            indexed: false,
        });
        let fields = Fields::new(&rows);
        for (raw, expect) in [
            (
                r#"{"metadata":{"managedFields":[{}],"name":"a","namespace":"b"},"spec":{"x":"y"}}"#,
                ["a", "b", "y"],
            ),
            (r#"{"metadata":{"name":"a\"b"},"spec":{"x":1}}"#, ["a\"b", "", "1"]),
            (r#"{"a":{"name":"c"},"spec":{"metadata":{"name":"d"},"x":true}}"#, ["", "", "true"]),
        ] {
            let object = Object::stored(bytes::Bytes::from_static(raw.as_bytes()), 1).unwrap();
            let values = fields.extract(&object);
            assert_eq!([0, 1, 2].map(|index| fields.text(raw.as_bytes(), &values, index)), expect, "{raw}");
        }
    }

    #[test]
    fn fields_of_one_name_stand_in_for_each_other() {
        let field = |path: &str| Field {
            name: "source".into(),
            path: path.split('.').map(Arc::from).collect(),
            absent: "",
            indexed: false,
        };
        let fields = Fields::new(&[field("source.component"), field("reporter")]);
        for (raw, expect) in [
            (r#"{"reporter":"b","source":{"component":"a"}}"#, "a"),
            (r#"{"reporter":"b","source":{"component":""}}"#, "b"),
            (r#"{"reporter":"b","source":{}}"#, "b"),
            ("{}", ""),
        ] {
            let object = Object::stored(bytes::Bytes::from_static(raw.as_bytes()), 1).unwrap();
            assert_eq!(fields.text(raw.as_bytes(), &fields.extract(&object), 0), expect, "{raw}");
        }
    }
}
