//! Structural schemas in a compact arena: structs, fields and nodes by index, all text in one string.
//!
//! Invariant: a `Types` never changes once built, and an index is used only with the arena that gave it. The
//! same form carries the built-in kinds and, built at run time, CustomResourceDefinitions. Answers to the
//! parts of kube-openapi's `spec.Schema` and structured-merge-diff's `schema.Schema` that engines need.

mod builder;
mod schema;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::structural::Structural;

pub(crate) use builder::{Builder, FieldRow, NodeRow};
pub use schema::{FieldRef, Schema, StructRef};

/// A text of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Name {
    start: u32,
    length: u16,
}

/// A node: one use of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// A struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(u32);

impl StructId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a list merges under server-side apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Replaced whole; also where nothing is declared.
    Atomic,
    /// Of unique scalars, each with its own owner.
    Set,
    /// Of objects told apart by the values of [`Shape::List`]'s keys.
    Map,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// An object with known fields.
    Struct(StructId),
    /// An array.
    List {
        /// The shape of each item.
        item: NodeId,
        /// How it merges; None if nothing is declared, which means atomic.
        kind: Option<ListKind>,
        /// The key fields of `ListKind::Map`, comma-separated; empty otherwise.
        keys: Name,
    },
    /// An object with free keys and values of one shape.
    Map {
        /// The shape of each value.
        value: NodeId,
        /// Replaced whole under server-side apply.
        atomic: bool,
    },
    /// Text.
    String,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A 64-bit float.
    Float64,
    /// A Boolean.
    Bool,
    /// Bytes, base64 in JSON.
    Bytes,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `resource.Quantity`.
    Quantity,
    /// `meta/v1.Time`: RFC 3339 in seconds.
    Time,
    /// `meta/v1.MicroTime`: RFC 3339 in microseconds.
    MicroTime,
    /// `meta/v1.Duration`: text such as `1m30s`.
    Duration,
    /// `runtime.RawExtension`: any object.
    Raw,
    /// `meta/v1.FieldsV1`: any object.
    Fields,
    /// `apiextensions/v1.JSON`: any value.
    Json,
    /// Any value (`interface{}`).
    Any,
    /// A Boolean, or the struct (`apiextensions/v1.JSONSchemaPropsOrBool`).
    OrBool(NodeId),
    /// The struct, or a list of it (`apiextensions/v1.JSONSchemaPropsOrArray`).
    OrList(NodeId),
    /// The struct, or a list of strings (`apiextensions/v1.JSONSchemaPropsOrStringArray`).
    OrStrings(NodeId),
}

/// Facts about a field that are one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FieldFlags(u16);

impl FieldFlags {
    /// A zero value that is not behind a pointer is left out.
    pub const OMIT_EMPTY: FieldFlags = FieldFlags(1);
    /// A zero struct is left out too.
    pub const OMIT_ZERO: FieldFlags = FieldFlags(2);
    /// Present and zero differs from absent.
    pub const POINTER: FieldFlags = FieldFlags(4);
    /// OpenAPI lists it as required.
    pub const REQUIRED: FieldFlags = FieldFlags(8);
    /// The struct here is replaced whole under server-side apply.
    pub const ATOMIC: FieldFlags = FieldFlags(16);
    /// Strategic merge merges the list instead of replacing it.
    pub const MERGE: FieldFlags = FieldFlags(32);
    /// Strategic merge replaces the value (the declared strategy is `replace`).
    pub const REPLACE: FieldFlags = FieldFlags(64);
    /// Strategic merge honours `$retainKeys`.
    pub const RETAIN_KEYS: FieldFlags = FieldFlags(128);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: FieldFlags) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn with(self, other: FieldFlags) -> FieldFlags {
        FieldFlags(self.0 | other.0)
    }
}

/// A field of a struct; fields of embedded structs stand among those of the struct around them.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub(crate) name: Name,
    pub(crate) merge_key: Name,
    pub(crate) default: Name,
    pub(crate) node: NodeId,
    pub(crate) flags: FieldFlags,
    pub(crate) number: u16,
    /// 1 + the index, among the struct's embedded structs, of the one it comes from; 0 if its own.
    pub(crate) inlined: u16,
    /// The bit that stands for it among the fields that are always written; `NOT_ALWAYS` if it is not.
    pub(crate) always: u8,
}

pub(crate) const NOT_ALWAYS: u8 = u8::MAX;

/// A struct embedded in another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inlined {
    /// The Go name, which errors mention.
    pub(crate) name: Name,
    pub(crate) target: StructId,
    pub(crate) number: u16,
    /// 1 + the index of the embedded struct it stands in itself; 0 if directly in the struct.
    pub(crate) parent: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct StructRow {
    pub(crate) name: Name,
    pub(crate) package: u16,
    pub(crate) fields: Range<u32>,
    pub(crate) inlined: Range<u32>,
    pub(crate) atomic: bool,
    pub(crate) kind: bool,
    pub(crate) wire: bool,
    /// It may have further fields, of any shape.
    pub(crate) open: bool,
    /// The bits of the fields that are always written.
    pub(crate) always: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PackageRow {
    /// Prefix of model names, such as `io.k8s.api.apps.v1`.
    pub(crate) model: Name,
    /// The Go package's name, which is the API version too.
    pub(crate) version: Name,
    pub(crate) group: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) shape: Shape,
    /// The Go type's own name and package, if it has one; a struct has its own.
    pub(crate) name: Name,
    pub(crate) package: u16,
    /// The range of allowed values in `Types::values`.
    pub(crate) values: (u32, u32),
    /// In protobuf, a list that is a message with one field `items`.
    pub(crate) wrapped: bool,
}

/// The arena.
#[derive(Debug)]
pub struct Types {
    text: Cow<'static, str>,
    packages: Vec<PackageRow>,
    structs: Vec<StructRow>,
    fields: Vec<Field>,
    inlined: Vec<Inlined>,
    nodes: Vec<Node>,
    values: Vec<Name>,
    /// (group, version, kind) in order, with the root node.
    kinds: Vec<([Name; 3], NodeId)>,
    /// Of a custom resource, what the arena was made from.
    custom: Option<Custom>,
}

/// What the arena of a custom resource was made from.
#[derive(Debug)]
struct Custom {
    root: NodeId,
    structural: Arc<Structural>,
    /// The schema as the definition has it, for documents.
    published: serde_json::Value,
}

impl Types {
    /// The text behind a name.
    #[inline]
    pub fn text(&self, name: Name) -> &str {
        let start = name.start as usize;
        &self.text[start..start + usize::from(name.length)]
    }

    /// What a node is.
    #[inline]
    pub fn shape(&self, node: NodeId) -> Shape {
        self.nodes[node.0 as usize].shape
    }

    #[inline]
    pub(crate) fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    #[inline]
    pub(crate) fn row(&self, id: StructId) -> &StructRow {
        &self.structs[id.0 as usize]
    }

    /// The fields of a struct, in the order of their names.
    #[inline]
    pub(crate) fn fields(&self, id: StructId) -> &[Field] {
        let range = &self.structs[id.0 as usize].fields;
        &self.fields[range.start as usize..range.end as usize]
    }

    pub(crate) fn inlined(&self, id: StructId) -> &[Inlined] {
        let range = &self.structs[id.0 as usize].inlined;
        &self.inlined[range.start as usize..range.end as usize]
    }

    /// A struct's field by its JSON name.
    #[inline]
    pub fn field(&self, id: StructId, name: &str) -> Option<&Field> {
        let fields = self.fields(id);
        let at = fields.binary_search_by(|field| self.text(field.name).cmp(name)).ok()?;
        Some(&fields[at])
    }

    /// The values a string may have, where the type is an enumeration.
    pub fn values(&self, node: NodeId) -> impl Iterator<Item = &str> {
        let (start, end) = self.node(node).values;
        self.values[start as usize..end as usize].iter().map(|name| self.text(*name))
    }

    /// Whether it is that of a custom resource.
    pub(crate) fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// The root node of a kind. A kind of `meta.k8s.io/v1`, such as `DeleteOptions` or `Status`, belongs to every
    /// group and version, as upstream registers it.
    pub fn root(&self, group: &str, version: &str, kind: &str) -> Option<NodeId> {
        let find = |wanted: [&str; 3]| {
            let at =
                self.kinds.binary_search_by(|(key, _)| key.map(|name| self.text(name)).cmp(&wanted)).ok()?;
            Some(self.kinds[at].1)
        };
        find([group, version, kind]).or_else(|| find(["meta.k8s.io", "v1", kind]))
    }

    /// Group, version and kind of every kind, with its root node.
    pub fn kinds(&self) -> impl Iterator<Item = ([&str; 3], NodeId)> {
        self.kinds.iter().map(|(key, node)| (key.map(|name| self.text(name)), *node))
    }

    /// A struct seen through this arena.
    pub fn structure(&self, id: StructId) -> StructRef<'_> {
        StructRef { types: self, id }
    }

    /// The number of structs; ids are below it.
    pub(crate) fn structs(&self) -> impl Iterator<Item = StructId> {
        (0..self.structs.len() as u32).map(StructId)
    }

    pub(crate) fn package(&self, index: u16) -> &PackageRow {
        &self.packages[usize::from(index)]
    }

    /// A struct's name as tables write it, such as `core/v1.Pod`.
    pub(crate) fn alias(&self, id: StructId) -> String {
        let row = self.row(id);
        let model = self.text(self.package(row.package).model);
        let start = model.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        format!("{}.{}", model[start..].replace('.', "/"), self.text(row.name))
    }

    /// The Go type's text as Go's errors print it, such as `v1.PodSpec`, `[]v1.Container`, `map[string]string`.
    pub fn go_type(&self, node: NodeId) -> String {
        let row = self.node(node);
        if row.name.length > 0 {
            return format!("{}.{}", self.text(self.package(row.package).version), self.text(row.name));
        }
        match row.shape {
            Shape::Struct(id) => {
                let row = self.row(id);
                format!("{}.{}", self.text(self.package(row.package).version), self.text(row.name))
            }
            Shape::List { item, .. } => format!("[]{}", self.go_type(item)),
            Shape::Map { value, .. } => format!("map[string]{}", self.go_type(value)),
            other => go_scalar(other).to_string(),
        }
    }
}

fn go_scalar(shape: Shape) -> &'static str {
    match shape {
        Shape::Int32 | Shape::IntOrString => "int32",
        Shape::Int64 => "int64",
        Shape::Float64 => "float64",
        Shape::Bool => "bool",
        Shape::Bytes => "[]uint8",
        Shape::Quantity => "resource.Quantity",
        Shape::Raw => "runtime.RawExtension",
        Shape::Fields => "v1.FieldsV1",
        Shape::Json => "v1.JSON",
        Shape::Any => "interface {}",
        // Times and durations are read as text first.
        _ => "string",
    }
}
