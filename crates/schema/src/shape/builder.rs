//! Fills an arena. Nodes are shared where they are equal; structs may be named before they are filled, since
//! types refer to each other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::{
    Custom, Field, FieldFlags, Inlined, NOT_ALWAYS, Name, Node, NodeId, PackageRow, Shape, StructId,
    StructRow, Types,
};
use crate::structural::Structural;
use crate::{Error, Result, Schema};

/// A field as it is declared.
pub(crate) struct FieldRow<'a> {
    pub name: &'a str,
    pub node: NodeId,
    pub flags: FieldFlags,
    pub number: u16,
    pub merge_key: &'a str,
    pub default: &'a str,
}

/// A node as it is declared; what is empty is not declared.
pub(crate) struct NodeRow<'a> {
    pub shape: Shape,
    pub name: &'a str,
    pub package: u16,
    pub values: &'a [&'a str],
    pub wrapped: bool,
}

/// The arena being filled.
pub(crate) struct Builder {
    types: Types,
    known: HashMap<Node, NodeId>,
    /// Per struct: its own fields and its embedded structs, flattened at the end.
    declared: Vec<(Vec<Field>, Vec<Inlined>)>,
}

impl Builder {
    /// An empty arena over a text; names that are parts of it cost nothing.
    pub fn new(text: &'static str) -> Builder {
        let types = Types {
            text: Cow::Borrowed(text),
            packages: Vec::new(),
            structs: Vec::new(),
            fields: Vec::new(),
            inlined: Vec::new(),
            nodes: Vec::new(),
            values: Vec::new(),
            kinds: Vec::new(),
            custom: None,
        };
        Builder { types, known: HashMap::new(), declared: Vec::new() }
    }

    pub fn name(&mut self, text: &str) -> Result<Name> {
        let length = u16::try_from(text.len()).map_err(|_| Error::Table("a name over 64 KiB".to_string()))?;
        if length == 0 {
            return Ok(Name::default());
        }
        let arena = &self.types.text;
        let offset = (text.as_ptr() as usize).wrapping_sub(arena.as_ptr() as usize);
        let start = if offset.saturating_add(text.len()) <= arena.len() {
            offset
        } else {
            let end = arena.len();
            self.types.text.to_mut().push_str(text);
            end
        };
        let start = u32::try_from(start).map_err(|_| Error::Table("a schema over 4 GiB".to_string()))?;
        Ok(Name { start, length })
    }

    pub fn package(&mut self, model: &str, version: &str, group: &str) -> Result<u16> {
        let row =
            PackageRow { model: self.name(model)?, version: self.name(version)?, group: self.name(group)? };
        self.types.packages.push(row);
        u16::try_from(self.types.packages.len() - 1)
            .map_err(|_| Error::Table("too many packages".to_string()))
    }

    /// A struct without fields yet.
    pub fn structure(&mut self, name: &str, package: u16) -> Result<StructId> {
        let name = self.name(name)?;
        let (fields, inlined) = (0..0, 0..0);
        self.types.structs.push(StructRow {
            name,
            package,
            fields,
            inlined,
            atomic: false,
            kind: false,
            wire: true,
            open: false,
            always: 0,
        });
        self.declared.push((Vec::new(), Vec::new()));
        Ok(StructId(self.types.structs.len() as u32 - 1))
    }

    pub fn row(&mut self, id: StructId) -> &mut StructRow {
        &mut self.types.structs[id.0 as usize]
    }

    pub fn node(&mut self, row: NodeRow) -> Result<NodeId> {
        let start = self.types.values.len() as u32;
        for value in row.values {
            let name = self.name(value)?;
            self.types.values.push(name);
        }
        let values = if row.values.is_empty() { (0, 0) } else { (start, self.types.values.len() as u32) };
        let node = Node {
            shape: row.shape,
            name: self.name(row.name)?,
            package: row.package,
            values,
            wrapped: row.wrapped,
        };
        Ok(self.share(node))
    }

    /// A node that is its shape and nothing more.
    pub fn plain(&mut self, shape: Shape) -> NodeId {
        self.share(Node { shape, name: Name::default(), package: 0, values: (0, 0), wrapped: false })
    }

    /// The node with another shape: a list or map with what its field declares about it.
    pub fn reshaped(&mut self, node: NodeId, shape: Shape) -> NodeId {
        let node = Node { shape, ..*self.types.node(node) };
        self.share(node)
    }

    pub fn shape(&self, node: NodeId) -> Shape {
        self.types.shape(node)
    }

    fn share(&mut self, node: Node) -> NodeId {
        let next = NodeId(self.types.nodes.len() as u32);
        let id = *self.known.entry(node).or_insert(next);
        if id == next {
            self.types.nodes.push(node);
        }
        id
    }

    pub fn field(&mut self, id: StructId, row: FieldRow) -> Result<()> {
        let field = Field {
            name: self.name(row.name)?,
            merge_key: self.name(row.merge_key)?,
            default: self.name(row.default)?,
            node: row.node,
            flags: row.flags,
            number: row.number,
            inlined: 0,
            always: NOT_ALWAYS,
        };
        self.declared[id.0 as usize].0.push(field);
        Ok(())
    }

    pub fn inline(&mut self, id: StructId, name: &str, target: StructId, number: u16) -> Result<()> {
        let name = self.name(name)?;
        self.declared[id.0 as usize].1.push(Inlined { name, target, number, parent: 0 });
        Ok(())
    }

    pub fn kind(&mut self, group: Name, version: Name, kind: Name, root: NodeId) {
        self.types.kinds.push(([group, version, kind], root));
    }

    /// Group and version of a package.
    pub fn group_version(&self, package: u16) -> (Name, Name) {
        let row = self.types.package(package);
        (row.group, row.version)
    }

    /// Takes over a node of another arena with all that it reaches, which must not refer to itself.
    pub fn import(&mut self, from: &Types, node: NodeId) -> Result<NodeId> {
        let row = from.node(node);
        let shape = match row.shape {
            Shape::Struct(id) => Shape::Struct(self.import_struct(from, id)?),
            Shape::List { item, kind, keys } => {
                let item = self.import(from, item)?;
                Shape::List { item, kind, keys: self.name(from.text(keys))? }
            }
            Shape::Map { value, atomic } => Shape::Map { value: self.import(from, value)?, atomic },
            other => other,
        };
        let package = self.import_package(from, row.package)?;
        let values: Vec<&str> = from.values(node).collect();
        let name = from.text(row.name);
        self.node(NodeRow { shape, name, package, values: &values, wrapped: row.wrapped })
    }

    fn import_package(&mut self, from: &Types, package: u16) -> Result<u16> {
        let row = from.package(package);
        let model = from.text(row.model);
        let known = self.types.packages.iter().position(|one| self.types.text(one.model) == model);
        match known.and_then(|index| u16::try_from(index).ok()) {
            Some(index) => Ok(index),
            None => self.package(model, from.text(row.version), from.text(row.group)),
        }
    }

    fn import_struct(&mut self, from: &Types, id: StructId) -> Result<StructId> {
        let row = from.row(id).clone();
        let package = self.import_package(from, row.package)?;
        let new = self.structure(from.text(row.name), package)?;
        (self.row(new).atomic, self.row(new).wire) = (row.atomic, row.wire);
        for field in from.fields(id) {
            let row = FieldRow {
                name: from.text(field.name),
                node: self.import(from, field.node)?,
                flags: field.flags,
                number: field.number,
                merge_key: from.text(field.merge_key),
                default: from.text(field.default),
            };
            self.field(new, row)?;
        }
        Ok(new)
    }

    /// The arena of a custom resource, as a schema.
    pub fn custom(mut self, root: NodeId, structural: Arc<Structural>, published: Value) -> Result<Schema> {
        self.types.custom = Some(Custom { root, structural, published });
        Ok(Schema::new(Arc::new(self.finish()?), root))
    }

    /// Flattens embedded structs, orders everything, and gives the arena.
    pub fn finish(mut self) -> Result<Types> {
        for index in 0..self.declared.len() {
            let (mut fields, mut inlined) = (Vec::new(), Vec::new());
            self.flatten(StructId(index as u32), 0, 0, &mut fields, &mut inlined)?;
            let Types { text, fields: all, inlined: all_inlined, nodes, structs, .. } = &mut self.types;
            let word =
                |name: Name| &text[name.start as usize..name.start as usize + usize::from(name.length)];
            fields.sort_by(|a, b| word(a.name).cmp(word(b.name)));
            if let Some(pair) = fields.windows(2).find(|pair| word(pair[0].name) == word(pair[1].name)) {
                return Err(Error::Table(format!("the field {} twice", word(pair[0].name))));
            }
            let mut bit = 0;
            for field in &mut fields {
                if always_written(field, nodes[field.node.0 as usize].shape) {
                    field.always = bit;
                    bit += 1;
                }
            }
            if bit > 64 {
                return Err(Error::Table("more than 64 fields that are always written".to_string()));
            }
            let (start, inlined_start) = (all.len() as u32, all_inlined.len() as u32);
            all.append(&mut fields);
            all_inlined.append(&mut inlined);
            let row = &mut structs[index];
            row.fields = start..all.len() as u32;
            row.inlined = inlined_start..all_inlined.len() as u32;
            row.always = if bit == 64 { u64::MAX } else { (1 << bit) - 1 };
        }
        let mut kinds = std::mem::take(&mut self.types.kinds);
        kinds.sort_by(|(a, _), (b, _)| {
            a.map(|name| self.types.text(name)).cmp(&b.map(|name| self.types.text(name)))
        });
        self.types.kinds = kinds;
        Ok(self.types)
    }

    fn flatten(
        &self,
        id: StructId,
        parent: u16,
        depth: usize,
        fields: &mut Vec<Field>,
        inlined: &mut Vec<Inlined>,
    ) -> Result<()> {
        if depth > 8 {
            return Err(Error::Table("structs embedded too deep".to_string()));
        }
        let (own, embedded) = &self.declared[id.0 as usize];
        fields.extend(own.iter().map(|field| Field { inlined: parent, ..*field }));
        for one in embedded {
            inlined.push(Inlined { parent, ..*one });
            let index = inlined.len() as u16;
            self.flatten(one.target, index, depth + 1, fields, inlined)?;
        }
        Ok(())
    }
}

/// Whether Go writes the field whatever its value, and the zero value is not null.
fn always_written(field: &Field, shape: Shape) -> bool {
    if field.flags.has(FieldFlags::POINTER) || field.flags.has(FieldFlags::OMIT_ZERO) {
        return false;
    }
    match shape {
        Shape::Struct(_) | Shape::Quantity | Shape::IntOrString | Shape::Duration => true,
        Shape::String | Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::Bool => {
            !field.flags.has(FieldFlags::OMIT_EMPTY)
        }
        _ => false,
    }
}
