//! Reads the generated table of Kubernetes' own types, `facts/kubernetes.txt`, into an arena, once.
//!
//! A line each; `#` starts a comment line:
//!
//! ```text
//! package ALIAS MODEL VERSION GROUP          what follows is in this Go package; `-`: no kinds, `""`: core
//! alias NAME TYPE [wrapped] [enum=A|B]       a named type that is no struct
//! struct NAME [kind] [struct=atomic] [nowire]
//!  FIELD TYPE NUMBER [FLAGS] [list=KIND[:KEYS]] [map=atomic] [struct=atomic] [patch=STRATEGY[:KEY]] [default=JSON]
//!  +NAME TYPE NUMBER                         an embedded struct
//! ```
//!
//! TYPE is a scalar's word, `[]TYPE`, `{}TYPE`, a name of the package, or `ALIAS.NAME`. NUMBER is protobuf's,
//! `-` without one. FLAGS: `o` omitempty, `z` omitzero, `p` pointer, `r` required. Invariant: the committed
//! table is well formed, which a test holds.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::shape::{Builder, FieldFlags, FieldRow, ListKind, NodeId, NodeRow, Shape, StructId, Types};
use crate::{Error, Result};

const TABLE: &str = include_str!("../facts/kubernetes.txt");

/// The arena of the built-in kinds.
pub(crate) fn builtin() -> &'static Arc<Types> {
    static TYPES: OnceLock<Arc<Types>> = OnceLock::new();
    TYPES.get_or_init(|| Arc::new(read(TABLE).expect("the committed table is well formed, a test reads it")))
}

/// What a name of the table stands for.
#[derive(Clone, Copy)]
enum Entry {
    Struct(StructId),
    /// A line number, read when the alias is first met.
    Alias(usize),
}

struct Reader {
    builder: Builder,
    lines: Vec<&'static str>,
    /// (package alias, name), where `Builder` holds no strings to look up by.
    entries: HashMap<(&'static str, &'static str), (Entry, u16)>,
    aliases: HashMap<usize, NodeId>,
}

/// Reads a table.
pub(crate) fn read(table: &'static str) -> Result<Types> {
    let lines: Vec<_> = table.lines().collect();
    let mut reader =
        Reader { builder: Builder::new(table), lines, entries: HashMap::new(), aliases: HashMap::new() };
    reader.declare()?;
    reader.fill()?;
    reader.builder.finish()
}

fn malformed(line: &str) -> Error {
    Error::Table(format!("a malformed line of facts: {line}"))
}

impl Reader {
    /// First pass: packages and names.
    fn declare(&mut self) -> Result<()> {
        let (mut alias, mut package) = ("", 0);
        for at in 0..self.lines.len() {
            let line = self.lines[at];
            let mut words = line.split(' ');
            match words.next() {
                Some("package") => {
                    let mut next = || words.next().ok_or_else(|| malformed(line));
                    let (name, model, version, group) = (next()?, next()?, next()?, next()?);
                    let group = if group == "\"\"" { "" } else { group };
                    package = self.builder.package(model, version, group)?;
                    alias = name;
                }
                Some("struct") => {
                    let name = words.next().ok_or_else(|| malformed(line))?;
                    let id = self.builder.structure(name, package)?;
                    self.entries.insert((alias, name), (Entry::Struct(id), package));
                }
                Some("alias") => {
                    let name = words.next().ok_or_else(|| malformed(line))?;
                    self.entries.insert((alias, name), (Entry::Alias(at), package));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Second pass: fields.
    fn fill(&mut self) -> Result<()> {
        let (mut alias, mut current) = ("", None);
        for at in 0..self.lines.len() {
            let line = self.lines[at];
            if let Some(field) = line.strip_prefix(' ') {
                let id = current.ok_or_else(|| malformed(line))?;
                self.field(alias, id, field)?;
                continue;
            }
            let mut words = line.split(' ');
            match words.next() {
                Some("package") => alias = words.next().unwrap_or_default(),
                Some("struct") => current = Some(self.structure(alias, line)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn structure(&mut self, alias: &'static str, line: &'static str) -> Result<StructId> {
        let mut words = line.split(' ').skip(1);
        let name = words.next().unwrap_or_default();
        let Some(&(Entry::Struct(id), package)) = self.entries.get(&(alias, name)) else {
            return Err(malformed(line));
        };
        for word in words {
            let row = self.builder.row(id);
            match word {
                "kind" => row.kind = true,
                "struct=atomic" => row.atomic = true,
                "nowire" => row.wire = false,
                _ => return Err(malformed(line)),
            }
        }
        if self.builder.row(id).kind {
            let kind = self.builder.row(id).name;
            let (group, version) = self.builder.group_version(package);
            let root = self.builder.plain(Shape::Struct(id));
            self.builder.kind(group, version, kind, root);
        }
        Ok(id)
    }

    fn field(&mut self, alias: &'static str, id: StructId, line: &'static str) -> Result<()> {
        let (line, default) = line.split_once(" default=").unwrap_or((line, ""));
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or_else(|| malformed(line));
        let (name, reference, number) = (next()?, next()?, next()?);
        let number = match number {
            "-" => 0,
            other => other.parse().map_err(|_| malformed(line))?,
        };
        let node = self.reference(alias, reference)?;
        if let Some(embedded) = name.strip_prefix('+') {
            let Shape::Struct(target) = self.builder.shape(node) else { return Err(malformed(line)) };
            return self.builder.inline(id, embedded, target, number);
        }
        let mut row = FieldRow { name, node, flags: FieldFlags::default(), number, merge_key: "", default };
        for word in words {
            match word.split_once('=') {
                None => row.flags = row.flags.with(flags(word).ok_or_else(|| malformed(line))?),
                Some(("list", value)) => {
                    row.node = self.list(row.node, value).ok_or_else(|| malformed(line))??
                }
                Some(("map", "atomic")) => {
                    let Shape::Map { value, .. } = self.builder.shape(row.node) else {
                        return Err(malformed(line));
                    };
                    row.node = self.builder.reshaped(row.node, Shape::Map { value, atomic: true });
                }
                Some(("struct", "atomic")) => row.flags = row.flags.with(FieldFlags::ATOMIC),
                Some(("patch", value)) => {
                    let (strategies, key) = value.split_once(':').unwrap_or((value, ""));
                    row.merge_key = key;
                    for strategy in strategies.split(',') {
                        row.flags = row.flags.with(match strategy {
                            "merge" => FieldFlags::MERGE,
                            "replace" => FieldFlags::REPLACE,
                            "retainKeys" => FieldFlags::RETAIN_KEYS,
                            _ => return Err(malformed(line)),
                        });
                    }
                }
                Some(_) => return Err(malformed(line)),
            }
        }
        self.builder.field(id, row)
    }

    fn list(&mut self, node: NodeId, value: &'static str) -> Option<Result<NodeId>> {
        let (kind, keys) = value.split_once(':').unwrap_or((value, ""));
        let kind = match kind {
            "atomic" => ListKind::Atomic,
            "set" => ListKind::Set,
            "map" => ListKind::Map,
            _ => return None,
        };
        let Shape::List { item, .. } = self.builder.shape(node) else {
            // Upstream declares bytes atomic lists here and there, which changes nothing.
            return (self.builder.shape(node) == Shape::Bytes).then_some(Ok(node));
        };
        Some(
            self.builder
                .name(keys)
                .map(|keys| self.builder.reshaped(node, Shape::List { item, kind: Some(kind), keys })),
        )
    }

    fn reference(&mut self, alias: &'static str, word: &'static str) -> Result<NodeId> {
        if let Some(rest) = word.strip_prefix("[]") {
            let item = self.reference(alias, rest)?;
            let keys = self.builder.name("")?;
            return Ok(self.builder.plain(Shape::List { item, kind: None, keys }));
        }
        if let Some(rest) = word.strip_prefix("{}") {
            let value = self.reference(alias, rest)?;
            return Ok(self.builder.plain(Shape::Map { value, atomic: false }));
        }
        if let Some(shape) = scalar(word) {
            return Ok(self.builder.plain(shape));
        }
        if word.starts_with("or") {
            let of = self.reference(alias, "JSONSchemaProps")?;
            let shape = match word {
                "orbool" => Shape::OrBool(of),
                "orlist" => Shape::OrList(of),
                "orstrings" => Shape::OrStrings(of),
                _ => return Err(malformed(word)),
            };
            return Ok(self.builder.plain(shape));
        }
        let (alias, name) = word.split_once('.').unwrap_or((alias, word));
        let &(entry, package) = self.entries.get(&(alias, name)).ok_or_else(|| malformed(word))?;
        match entry {
            Entry::Struct(id) => Ok(self.builder.plain(Shape::Struct(id))),
            Entry::Alias(at) => self.alias(alias, name, package, at),
        }
    }

    fn alias(&mut self, alias: &'static str, name: &'static str, package: u16, at: usize) -> Result<NodeId> {
        if let Some(node) = self.aliases.get(&at) {
            return Ok(*node);
        }
        let line = self.lines[at];
        let (line, values) = line.split_once(" enum=").unwrap_or((line, ""));
        let mut words = line.split(' ').skip(2);
        let target = self.reference(alias, words.next().ok_or_else(|| malformed(line))?)?;
        let wrapped = words.next() == Some("wrapped");
        let values: Vec<_> = match values {
            "" => Vec::new(),
            values => values.split('|').map(|value| if value == "\"\"" { "" } else { value }).collect(),
        };
        let row = NodeRow { shape: self.builder.shape(target), name, package, values: &values, wrapped };
        let node = self.builder.node(row)?;
        self.aliases.insert(at, node);
        Ok(node)
    }
}

fn flags(word: &str) -> Option<FieldFlags> {
    word.chars().try_fold(FieldFlags::default(), |flags, letter| {
        Some(flags.with(match letter {
            'o' => FieldFlags::OMIT_EMPTY,
            'z' => FieldFlags::OMIT_ZERO,
            'p' => FieldFlags::POINTER,
            'r' => FieldFlags::REQUIRED,
            _ => return None,
        }))
    })
}

fn scalar(word: &str) -> Option<Shape> {
    Some(match word {
        "string" => Shape::String,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "float64" => Shape::Float64,
        "bool" => Shape::Bool,
        "bytes" => Shape::Bytes,
        "intstr" => Shape::IntOrString,
        "quantity" => Shape::Quantity,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "duration" => Shape::Duration,
        "raw" => Shape::Raw,
        "fields" => Shape::Fields,
        "json" => Shape::Json,
        "any" => Shape::Any,
        _ => return None,
    })
}
