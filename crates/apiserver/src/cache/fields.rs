//! Values of selectable fields, read out of an object's bytes without decoding it.
//!
//! Invariant: one pass over the bytes for all fields of a kind; strings stay where they are.

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

    /// The values of an object. Bytes that are no JSON have none.
    pub fn extract(&self, raw: &[u8]) -> Box<[Value]> {
        if self.names.is_empty() {
            return Box::default();
        }
        let mut values = vec![Value::Absent; self.names.len()];
        // The bytes were indexed before; what the scanner cannot follow counts as absent.
        let _ = visit(&mut Scanner::new(raw), &self.tree, raw, &mut values);
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

/// Reads one value; the rest of what it stands in is read by the caller.
fn visit(scanner: &mut Scanner<'_>, node: &Node, raw: &[u8], out: &mut [Value]) -> Option<()> {
    match scanner.peek()? {
        b'{' if !node.children.is_empty() => {
            scanner.take(b'{');
            while let Some(key) = scanner.key()? {
                let name = &raw[key.range];
                match node.children.iter().find(|(child, _)| child.as_bytes() == name) {
                    Some((_, child)) if !key.escaped => visit(scanner, child, raw, out)?,
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
            for leaf in &node.leaves {
                out[*leaf] = value.clone();
            }
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
        let quoted = raw.get(text.range.start - 1..text.range.end + 1)?;
        return serde_json::from_slice::<Box<str>>(quoted).ok().map(Value::Owned);
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
