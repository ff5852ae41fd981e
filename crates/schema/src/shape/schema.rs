//! Views of the arena for those who use it: one type as a root, and a struct with its fields' facts.

use std::sync::Arc;

use super::{Field, FieldFlags, NodeId, Shape, StructId, Types};
use crate::facts;
use crate::structural::{Structural, prune};
use serde_json::Value;

/// One type as the root of objects: what the engines take. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    types: Arc<Types>,
    root: NodeId,
}

impl Schema {
    /// A node of an arena as a root.
    pub fn new(types: Arc<Types>, root: NodeId) -> Schema {
        Schema { types, root }
    }

    /// The schema of a built-in kind, of its list kind, or of an options kind (which belongs to every group).
    pub fn builtin(group: &str, version: &str, kind: &str) -> Option<Schema> {
        let types = facts::builtin();
        let root = types.root(group, version, kind)?;
        Some(Schema { types: types.clone(), root })
    }

    /// Whether objects have a protobuf form: those of the built-in kinds do, but for tables.
    pub fn has_wire(&self) -> bool {
        let builtin = std::ptr::eq(Arc::as_ptr(&self.types), Arc::as_ptr(facts::builtin()));
        builtin && matches!(self.types.shape(self.root), Shape::Struct(id) if self.types.row(id).wire)
    }

    /// The structural schema, if this is the root of a custom resource.
    pub fn structural(&self) -> Option<&Structural> {
        let custom = self.types.custom.as_ref().filter(|custom| custom.root == self.root)?;
        Some(&custom.structural)
    }

    /// The schema of a custom resource as its definition has it.
    pub fn published(&self) -> Option<&Value> {
        let custom = self.types.custom.as_ref().filter(|custom| custom.root == self.root)?;
        Some(&custom.published)
    }

    /// Makes a stored tree of a custom resource what the schema has it be now: pruned, and with defaults.
    pub fn mend(&self, value: &mut Value) {
        if let Some(structural) = self.structural() {
            prune::mend(structural, &self.types, self.root, value);
            structural.fill(value);
        }
    }

    /// Takes out of a tree of a custom resource what the schema does not know.
    pub fn prune(&self, value: &mut Value) {
        if let Some(structural) = self.structural() {
            prune::mend(structural, &self.types, self.root, value);
        }
    }

    /// The arena.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// The root's node.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The schema at a path of field names below the root; items of lists and values of maps are entered by
    /// any word, `*` by custom.
    pub fn at(&self, path: &[&str]) -> Option<Schema> {
        let mut node = self.root;
        for word in path {
            node = match self.types.shape(node) {
                Shape::Struct(id) => self.types.field(id, word)?.node,
                Shape::List { item, .. } => item,
                Shape::Map { value, .. } => value,
                _ => return None,
            };
        }
        Some(Schema { types: self.types.clone(), root: node })
    }
}

/// A struct seen through its arena.
#[derive(Clone, Copy)]
pub struct StructRef<'a> {
    pub(crate) types: &'a Types,
    pub(crate) id: StructId,
}

impl<'a> StructRef<'a> {
    /// The Go name, such as `PodSpec`.
    pub fn name(&self) -> &'a str {
        self.types.text(self.types.row(self.id).name)
    }

    /// The OpenAPI model name, such as `io.k8s.api.core.v1.PodSpec`.
    pub fn model(&self) -> String {
        let row = self.types.row(self.id);
        format!("{}.{}", self.types.text(self.types.package(row.package).model), self.name())
    }

    /// Whether it is replaced whole under server-side apply wherever it is used.
    pub fn atomic(&self) -> bool {
        self.types.row(self.id).atomic
    }

    /// Whether it may have further fields, of any shape.
    pub fn open(&self) -> bool {
        self.types.row(self.id).open
    }

    /// Its fields, in the order of their names.
    pub fn fields(&self) -> impl Iterator<Item = FieldRef<'a>> + use<'a> {
        let types = self.types;
        types.fields(self.id).iter().map(move |field| FieldRef { types, field })
    }

    /// A field by its JSON name.
    pub fn field(&self, name: &str) -> Option<FieldRef<'a>> {
        let field = self.types.field(self.id, name)?;
        Some(FieldRef { types: self.types, field })
    }
}

/// A field seen through its arena.
#[derive(Clone, Copy)]
pub struct FieldRef<'a> {
    types: &'a Types,
    field: &'a Field,
}

impl<'a> FieldRef<'a> {
    /// The JSON name.
    pub fn name(&self) -> &'a str {
        self.types.text(self.field.name)
    }

    /// The node of its value.
    pub fn node(&self) -> NodeId {
        self.field.node
    }

    /// The one-bit facts.
    pub fn flags(&self) -> FieldFlags {
        self.field.flags
    }

    /// The protobuf field number, inside the embedded message if it comes from one; 0 if it has none.
    pub fn number(&self) -> u16 {
        self.field.number
    }

    /// The key by which strategic merge tells items apart; empty if it has none.
    pub fn merge_key(&self) -> &'a str {
        self.types.text(self.field.merge_key)
    }

    /// The declared default as JSON text; empty if there is none.
    pub fn default(&self) -> &'a str {
        self.types.text(self.field.default)
    }
}
