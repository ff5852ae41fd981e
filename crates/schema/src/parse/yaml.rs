//! YAML to trees, as go-yaml v2 and its way through JSON give them, over a YAML library's events.
//!
//! Invariant: no recursion (a stack of open nodes, at most `MAXIMUM_DEPTH`); aliases are copies, and their
//! nodes are counted.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};
use serde_json::{Map, Value};

use super::scalar::{Tag, resolve};
use super::{MAXIMUM_ALIAS_NODES, MAXIMUM_DEPTH, MAXIMUM_FINDINGS, Parsed};
use crate::go::{number, quote};
use crate::{Error, Result};

/// The documents of a YAML text, read as they are asked for. Ends after an error.
pub struct Documents<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    ended: bool,
}

impl<'a> Documents<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Documents<'a>> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::Syntax("yaml: invalid leading UTF-8 octet".to_string()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok(Documents { text, parser: Parser::new_from_str(text), ended: false })
    }

    /// The first document; null if there is none.
    pub(super) fn first(&mut self) -> Result<Parsed> {
        let document = self.document().transpose();
        document.unwrap_or(Ok(Parsed { value: Value::Null, duplicates: Vec::new() }))
    }

    fn document(&mut self) -> Result<Option<Parsed>> {
        let mut loader = Loader::default();
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event.map_err(|error| scan_error(self.text, &error))?;
            match event {
                Event::DocumentEnd => return Ok(Some(loader.finish())),
                Event::StreamEnd => return Ok(None),
                event => loader.event(event, span.start.line())?,
            }
        }
        Ok(None)
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Parsed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.document() {
                Ok(Some(Parsed { value: Value::Null, .. })) => {}
                Ok(Some(parsed)) => return Some(Ok(parsed)),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// What go-yaml's parser complains about; its scanner finds the rest.
const PARSED: [&str; 5] =
    ["a block collection", "a block mapping", "a flow mapping", "a flow sequence", "a node"];

/// An error in the words of go-yaml, which tells what is wrong without where it was at that moment, does not name the
/// first line, and counts lines from zero in what its parser finds.
fn scan_error(text: &str, error: &ScanError) -> Error {
    let (info, marker) = (error.info(), error.marker());
    let within = info.strip_prefix("while parsing ").or_else(|| info.strip_prefix("while scanning "));
    let (place, what) = within.and_then(|info| info.split_once(", ")).unwrap_or(("", info));
    let (scanned, parsed) = (marker.line(), marker.line().saturating_sub(1));
    let (line, what) = match what {
        "found unknown anchor" => {
            let alias = text.chars().skip(marker.index()).skip_while(|c| *c == '*');
            let name: String = alias.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            return Error::Syntax(format!("yaml: unknown anchor '{name}' referenced"));
        }
        "misplaced bracket" => (parsed, "did not find expected node content"),
        "illegal placement of ':' indicator" => (parsed, "did not find expected ',' or ']'"),
        "expected ',' or ']'" => (scanned, "did not find expected ',' or ']'"),
        "simple key expect ':'" | "simple key expected" => (scanned, "could not find expected ':'"),
        "found unexpected end of stream" => (text.matches('\n').count() + 1, what),
        what if what.starts_with("tab") || what.starts_with("unexpected character") => {
            (scanned, "found character that cannot start any token")
        }
        what => (if PARSED.contains(&place) { parsed } else { scanned }, what),
    };
    if line == 0 || line == 1 && scanned == 1 {
        return Error::Syntax(format!("yaml: {what}"));
    }
    Error::Syntax(format!("yaml: line {line}: {what}"))
}

fn fail<T>(message: &str) -> Result<T> {
    Err(Error::Syntax(format!("yaml: {message}")))
}

/// An object's key: its text in JSON, and as Go prints it.
struct Key {
    text: String,
    printed: String,
    merge: bool,
}

enum Open {
    Map { map: Map<String, Value>, key: Option<Key> },
    List(Vec<Value>),
}

struct OpenNode {
    open: Open,
    anchor: usize,
    line: usize,
    /// Nodes in it so far, itself included.
    nodes: usize,
    /// The greatest depth below it so far.
    depth: usize,
}

/// A finished node.
struct Node {
    value: Value,
    line: usize,
    nodes: usize,
    depth: usize,
    /// Written as a plain or tagged `<<`.
    merge: bool,
}

#[derive(Default)]
struct Loader {
    stack: Vec<OpenNode>,
    anchors: HashMap<usize, (Value, usize, usize)>,
    alias_nodes: usize,
    root: Option<Value>,
    duplicates: Vec<String>,
}

impl Loader {
    fn finish(self) -> Parsed {
        let duplicates = match self.duplicates.is_empty() {
            true => Vec::new(),
            false => vec![format!("yaml: unmarshal errors:\n{}", self.duplicates.join("\n"))],
        };
        Parsed { value: self.root.unwrap_or(Value::Null), duplicates }
    }

    fn event(&mut self, event: Event, line: usize) -> Result<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let core = tag.as_deref().filter(|tag| tag.is_yaml_core_schema());
                let kind = match (&tag, core) {
                    (None, _) if plain => Tag::Implicit,
                    (_, Some(tag)) => Tag::Core(tag.suffix.as_str()),
                    _ => Tag::Text,
                };
                let merge = &*text == "<<" && matches!(kind, Tag::Implicit | Tag::Core("merge"));
                let value = resolve(kind, &text)?;
                let node = Node { value, line, nodes: 1, depth: 0, merge };
                self.done(node, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(Open::List(Vec::new()), anchor, line),
            Event::MappingStart(anchor, _) => {
                self.open(Open::Map { map: Map::new(), key: None }, anchor, line)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(node) = self.stack.pop() else { return Ok(()) };
                let value = match node.open {
                    Open::Map { map, .. } => Value::Object(map),
                    Open::List(items) => Value::Array(items),
                };
                let OpenNode { anchor, line, nodes, depth, .. } = node;
                self.done(Node { value, line, nodes, depth: depth + 1, merge: false }, anchor)
            }
            Event::Alias(anchor) => {
                let Some((value, nodes, depth)) = self.anchors.get(&anchor) else {
                    return fail("anchor value contains itself");
                };
                let (nodes, depth) = (*nodes, *depth);
                self.alias_nodes += nodes;
                if self.alias_nodes > MAXIMUM_ALIAS_NODES {
                    return fail("document contains excessive aliasing");
                }
                if self.stack.len() + depth > MAXIMUM_DEPTH {
                    return fail("exceeded max depth");
                }
                self.done(Node { value: value.clone(), line, nodes, depth, merge: false }, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open, anchor: usize, line: usize) -> Result<()> {
        if self.stack.len() >= MAXIMUM_DEPTH {
            return fail("exceeded max depth");
        }
        self.stack.push(OpenNode { open, anchor, line, nodes: 1, depth: 0 });
        Ok(())
    }

    /// Hands a finished node to what is around it.
    fn done(&mut self, node: Node, anchor: usize) -> Result<()> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.value.clone(), node.nodes, node.depth));
        }
        let Some(parent) = self.stack.last_mut() else {
            self.root = Some(node.value);
            return Ok(());
        };
        parent.nodes += node.nodes;
        parent.depth = parent.depth.max(node.depth);
        match &mut parent.open {
            Open::List(items) => items.push(node.value),
            Open::Map { map, key: pending } => match pending.take() {
                None => *pending = Some(key(node)?),
                Some(key) if key.merge => merge(map, node, &mut self.duplicates)?,
                Some(key) => set(map, key, node, &mut self.duplicates),
            },
        }
        Ok(())
    }
}

fn key(node: Node) -> Result<Key> {
    let merge = node.merge;
    let same = |text: String| Key { printed: text.clone(), text, merge };
    Ok(match node.value {
        Value::String(text) => Key { printed: quote(&text), text, merge },
        Value::Number(value) => same(number(&value)),
        Value::Bool(value) => same(value.to_string()),
        Value::Null => {
            return Err(Error::Syntax("unsupported map key of type: %!s(<nil>), key: <nil>".to_string()));
        }
        Value::Array(_) | Value::Object(_) => return fail("invalid map key"),
    })
}

fn set(map: &mut Map<String, Value>, key: Key, node: Node, duplicates: &mut Vec<String>) {
    if map.insert(key.text, node.value).is_some() && duplicates.len() < MAXIMUM_FINDINGS {
        duplicates.push(format!("  line {}: key {} already set in map", node.line, key.printed));
    }
}

/// `<<`: the fields of an object, or of a list of objects of which the first wins.
fn merge(map: &mut Map<String, Value>, node: Node, duplicates: &mut Vec<String>) -> Result<()> {
    let objects = match node.value {
        Value::Object(object) => vec![Value::Object(object)],
        Value::Array(items) => items,
        _ => vec![Value::Null],
    };
    for object in objects.into_iter().rev() {
        let Value::Object(object) = object else {
            return fail("map merge requires map or sequence of maps as the value");
        };
        for (text, value) in object {
            let key = Key { printed: quote(&text), text, merge: false };
            set(map, key, Node { value, line: node.line, nodes: 0, depth: 0, merge: false }, duplicates);
        }
    }
    Ok(())
}
