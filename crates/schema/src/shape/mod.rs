//! Structural schemas in a compact arena: structs, fields and nodes by index, all text in one string.
//!
//! Invariant: a `Types` never changes once built; indices stay inside the arena that gave them. The same
//! arena form carries the built-in kinds and, built at run time, CustomResourceDefinitions. Answers to the
//! parts of kube-openapi's `spec.Schema` and structured-merge-diff's `schema.Schema` that engines need.

use std::borrow::Cow;
use std::sync::Arc;

/// A text of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    start: u32,
    length: u16,
}

/// A node (one use of a type) of the arena that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// A struct of the arena that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(u32);

/// How a list merges under server-side apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// Replaced whole.
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
        /// How it merges.
        kind: ListKind,
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
    /// A JSON schema or a Boolean.
    OrBool(NodeId),
    /// A JSON schema or a list of them.
    OrList(NodeId),
    /// A JSON schema or a list of strings.
    OrStrings(NodeId),
}

/// Facts about a field that are one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FieldFlags(u16);

/// How strategic merge treats a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PatchStrategy<'a> {
    /// Lists are merged by `merge_key` (or as sets of scalars if it is empty) instead of replaced.
    pub merge: bool,
    /// `$retainKeys` is honoured.
    pub retain_keys: bool,
    /// The key that tells items apart.
    pub merge_key: &'a str,
}

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name: Name,
    node: NodeId,
    flags: FieldFlags,
    number: u16,
    merge_key: Name,
}

/// The arena.
#[derive(Debug)]
pub struct Types {
    text: Cow<'static, str>,
    fields: Vec<Field>,
}

/// A struct seen through its arena.
#[derive(Clone, Copy)]
pub struct StructRef<'a> {
    types: &'a Types,
    id: StructId,
}

/// One type as the root of objects: what the engines take. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    types: Arc<Types>,
    root: NodeId,
}
