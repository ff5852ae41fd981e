//! From the tree to an arena, the form that built-in kinds have: what merges and patches work from.
//!
//! Invariant: the root has `apiVersion`, `kind` and typed `metadata`, whatever the definition says of them; nothing in
//! it is written that an object does not have.

use super::{Additional, Structural, Type};
use crate::shape::{Builder, FieldFlags, FieldRow, ListKind, NodeId, Shape};
use crate::{Result, Schema, facts};
use serde_json::Value;
use std::sync::Arc;

/// The most bytes of a default that a key of a list may have.
const MAXIMUM_KEY_BYTES: usize = 4 << 10;

/// Names of a custom resource's own types.
struct Names {
    package: u16,
    metadata: NodeId,
}

impl Structural {
    /// The schema of a custom resource of this kind; `published` is the `openAPIV3Schema` that this was read from.
    ///
    /// # Errors
    /// `Error::Table` if a name in it is longer than 64 KiB.
    pub fn schema(
        self: Arc<Self>,
        group: &str,
        version: &str,
        kind: &str,
        published: Value,
    ) -> Result<Schema> {
        let mut builder = Builder::new("");
        let mut parts: Vec<&str> = group.split('.').collect();
        parts.reverse();
        let package = builder.package(&format!("{}.{version}", parts.join(".")), version, group)?;
        let builtin = facts::builtin();
        // Every built-in kind has the same metadata.
        let metadata = Schema::builtin("", "v1", "ConfigMap").and_then(|schema| schema.at(&["metadata"]));
        let metadata = match metadata {
            Some(schema) => builder.import(builtin, schema.root())?,
            None => builder.plain(Shape::Any),
        };
        let names = Names { package, metadata };
        let root = structure(&self, &mut builder, &names, kind, true)?;
        let Shape::Struct(id) = builder.shape(root) else {
            return builder.custom(root, self, published);
        };
        builder.row(id).kind = true;
        let (group, version) = builder.group_version(package);
        let kind = builder.row(id).name;
        builder.kind(group, version, kind, root);
        builder.custom(root, self, published)
    }
}

fn structure(
    schema: &Structural,
    builder: &mut Builder,
    names: &Names,
    name: &str,
    object: bool,
) -> Result<NodeId> {
    let id = builder.structure(name, names.package)?;
    let string = builder.plain(Shape::String);
    let mut fields: Vec<(&str, NodeId, String)> = Vec::new();
    for (name, property) in &schema.properties {
        if !(object && matches!(&**name, "apiVersion" | "kind" | "metadata")) {
            // What an item counts as that does not have this key.
            let default = property.default.as_ref().filter(|value| !value.is_object() && !value.is_array());
            let default = default.map(Value::to_string).filter(|text| text.len() <= MAXIMUM_KEY_BYTES);
            fields.push((name, node(property, builder, names)?, default.unwrap_or_default()));
        }
    }
    if object {
        let own = [("apiVersion", string), ("kind", string), ("metadata", names.metadata)];
        fields.extend(own.map(|(name, node)| (name, node, String::new())));
    }
    for (name, node, default) in &fields {
        let (name, node) = (*name, *node);
        let flags = FieldFlags::POINTER.with(FieldFlags::OMIT_EMPTY);
        builder.field(id, FieldRow { name, node, flags, number: 0, merge_key: "", default })?;
    }
    let row = builder.row(id);
    row.atomic = schema.atomic;
    row.wire = false;
    row.open = schema.preserve;
    Ok(builder.plain(Shape::Struct(id)))
}

fn node(schema: &Structural, builder: &mut Builder, names: &Names) -> Result<NodeId> {
    if schema.int_or_string {
        return Ok(builder.plain(Shape::IntOrString));
    }
    let shape = match (schema.kind, &schema.additional) {
        (Some(Type::Array), _) => {
            let item = match &schema.items {
                Some(items) => node(items, builder, names)?,
                None => builder.plain(Shape::Any),
            };
            let keys = match schema.list {
                Some(ListKind::Map) => schema.keys.join(","),
                _ => String::new(),
            };
            let keys = builder.name(&keys)?;
            Shape::List { item, kind: schema.list, keys }
        }
        (Some(Type::Boolean), _) => Shape::Bool,
        (Some(Type::Integer), _) => Shape::Int64,
        (Some(Type::Number), _) => Shape::Float64,
        (Some(Type::String), _) => Shape::String,
        (_, Some(Additional::Schema(values))) => {
            Shape::Map { value: node(values, builder, names)?, atomic: schema.atomic }
        }
        (_, Some(Additional::Allowed(true))) => {
            Shape::Map { value: builder.plain(Shape::Any), atomic: schema.atomic }
        }
        (None, _) if schema.preserve && schema.properties.is_empty() => Shape::Any,
        (Some(Type::Object), _) if schema.preserve && schema.properties.is_empty() && !schema.embedded => {
            Shape::Any
        }
        _ => return structure(schema, builder, names, "", schema.embedded),
    };
    Ok(builder.plain(shape))
}
