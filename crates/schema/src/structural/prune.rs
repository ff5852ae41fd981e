//! What a body of a custom resource is made into: metadata typed, unknown fields and senseless nulls gone.
//!
//! Invariant: what it leaves is left alone when it is done again. Unknown fields are found in upstream's order: of the
//! object's own metadata, of the object in the order of their paths, of metadata inside. Answers to apiextensions'
//! `unstructuredSchemaCoercer`, `schema/pruning` and `schema/objectmeta`.

use super::{Additional, Structural};
use crate::check::Findings;
use crate::parse::MAXIMUM_FINDINGS;
use crate::shape::{NodeId, Types};
use crate::{Error, Result, check};
use serde_json::{Map, Value};

const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The node of metadata in an arena of a custom resource.
pub(crate) fn metadata_node(types: &Types, root: NodeId) -> Option<NodeId> {
    match types.shape(root) {
        crate::Shape::Struct(id) => types.field(id, "metadata").map(|field| field.node),
        _ => None,
    }
}

/// Settles a body in place.
///
/// # Errors
/// `Error::Decode` if metadata, here or of an object inside, has values of wrong types.
pub(crate) fn settle(
    structural: &Structural,
    types: &Types,
    root: NodeId,
    value: &mut Value,
) -> Result<Findings> {
    let Value::Object(map) = value else { return Ok(Findings::default()) };
    let mut walk = Walk { types, metadata: metadata_node(types, root), unknown: Vec::new(), lenient: false };
    let own = walk.metadata(map, "")?;
    walk.prune_root(structural, map);
    let mut value_of = Value::Object(std::mem::take(map));
    structural.drop_nulls(&mut value_of);
    let mut found = own;
    walk.unknown.sort();
    found.append(&mut walk.unknown);
    let inside = walk.coerce(structural, &mut value_of, "");
    *value = value_of;
    inside?;
    walk.unknown.sort();
    found.append(&mut walk.unknown);
    found.truncate(MAXIMUM_FINDINGS);
    Ok(Findings { unknown: found })
}

/// Makes a stored tree what the schema has it be: as [`settle`], but what is of the wrong type in metadata is dropped.
pub(crate) fn mend(structural: &Structural, types: &Types, root: NodeId, value: &mut Value) {
    let mut walk = Walk { types, metadata: metadata_node(types, root), unknown: Vec::new(), lenient: true };
    if let Value::Object(map) = value {
        walk.prune_root(structural, map);
    }
    structural.drop_nulls(value);
    // A lenient walk finds no errors.
    let _ = walk.coerce(structural, value, "");
}

impl Structural {
    /// The fields of a value that the schema does not know.
    pub fn unknown(&self, value: &Value) -> Vec<String> {
        let types = crate::facts::builtin();
        let mut walk = Walk { types, metadata: None, unknown: Vec::new(), lenient: true };
        walk.prune(Some(self), &mut value.clone(), "");
        walk.unknown
    }
}

struct Walk<'a> {
    types: &'a Types,
    metadata: Option<NodeId>,
    unknown: Vec<String>,
    lenient: bool,
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Walk<'_> {
    /// Types the metadata of an object; what is unknown in it.
    fn metadata(&self, map: &mut Map<String, Value>, path: &str) -> Result<Vec<String>> {
        let (Some(node), Some(metadata)) = (self.metadata, map.get_mut("metadata")) else {
            return Ok(Vec::new());
        };
        let prefix = join(path, "metadata");
        let found = match check::at(self.types, node, metadata) {
            Ok(found) => found,
            Err(_) if self.lenient => {
                self.drop_malformed(node, metadata);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        // Absent rather than empty, as it was given.
        let named = |unknown: String| format!("{prefix}.{unknown}");
        Ok(found.unknown.into_iter().map(named).collect())
    }

    /// Drops the fields of metadata that are of wrong types.
    fn drop_malformed(&self, node: NodeId, metadata: &mut Value) {
        let Value::Object(map) = metadata else {
            *metadata = Value::Object(Map::new());
            return;
        };
        map.retain(|key, value| {
            let mut one = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            check::at(self.types, node, &mut one).is_ok()
        });
        // Each of the fields that are left has just been read.
        let _ = check::at(self.types, node, metadata);
    }

    fn prune_root(&mut self, schema: &Structural, map: &mut Map<String, Value>) {
        if schema.preserve {
            self.keep_map(schema, map, "", true);
        } else {
            self.prune_map(schema, map, "", true);
        }
    }

    fn prune(&mut self, schema: Option<&Structural>, value: &mut Value, path: &str) {
        if let Some(schema) = schema.filter(|schema| schema.preserve) {
            return self.keep(schema, value, path);
        }
        match value {
            Value::Object(map) => match schema {
                Some(schema) => self.prune_map(schema, map, path, schema.embedded),
                None => {
                    for key in map.keys() {
                        self.report(path, key);
                    }
                    map.clear();
                }
            },
            Value::Array(list) => {
                let items = schema.and_then(|schema| schema.items.as_deref());
                for (index, value) in list.iter_mut().enumerate() {
                    self.prune(items, value, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn prune_map(&mut self, schema: &Structural, map: &mut Map<String, Value>, path: &str, embedded: bool) {
        map.retain(|key, value| {
            let own = TYPE_AND_METADATA.contains(&key.as_str());
            if embedded && own {
                return true;
            }
            if let Some(property) = schema.properties.get(key.as_str()) {
                self.prune(Some(property), value, &join(path, key));
                return true;
            }
            match &schema.additional {
                Some(Additional::Schema(one)) => self.prune(Some(one), value, &join(path, key)),
                Some(Additional::Allowed(_)) => self.prune(None, value, &join(path, key)),
                None => {
                    if !own || !path.is_empty() {
                        self.report(path, key);
                    }
                    return false;
                }
            }
            true
        });
    }

    /// Prunes what a schema that preserves unknown fields speaks of all the same.
    fn keep(&mut self, schema: &Structural, value: &mut Value, path: &str) {
        match value {
            Value::Object(map) => self.keep_map(schema, map, path, schema.embedded),
            Value::Array(list) => {
                let Some(items) = &schema.items else { return };
                for (index, value) in list.iter_mut().enumerate() {
                    self.keep(items, value, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn keep_map(&mut self, schema: &Structural, map: &mut Map<String, Value>, path: &str, embedded: bool) {
        for (key, value) in map {
            if embedded && TYPE_AND_METADATA.contains(&key.as_str()) {
                continue;
            }
            if let Some(inner) = schema.field(key) {
                self.prune(Some(inner), value, &join(path, key));
            }
        }
    }

    fn report(&mut self, path: &str, key: &str) {
        if self.unknown.len() < MAXIMUM_FINDINGS {
            self.unknown.push(join(path, key));
        }
    }

    /// Types metadata of the objects inside.
    fn coerce(&mut self, schema: &Structural, value: &mut Value, path: &str) -> Result<()> {
        match value {
            Value::Object(map) => {
                if schema.embedded {
                    self.coerce_embedded(map, path)?;
                }
                for (key, value) in map {
                    if let Some(property) = schema.properties.get(key.as_str()) {
                        self.coerce(property, value, &join(path, key))?;
                    } else if let Some(Additional::Schema(one)) = &schema.additional {
                        self.coerce(one, value, &format!("{path}[{key}]"))?;
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = &schema.items else { return Ok(()) };
                for (index, value) in list.iter_mut().enumerate() {
                    self.coerce(items, value, &format!("{path}[{index}]"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn coerce_embedded(&mut self, map: &mut Map<String, Value>, path: &str) -> Result<()> {
        for name in ["apiVersion", "kind"] {
            let Some(wrong) = map.get(name).filter(|value| !value.is_string()) else { continue };
            if !self.lenient {
                let path = join(path, name);
                return Err(Error::Decode(format!("{path}: Invalid value: {wrong}: must be a string")));
            }
            map.remove(name);
        }
        let given = map.get("metadata").map(Value::to_string);
        let found = self.metadata(map, path).map_err(|error| {
            let path = join(path, "metadata");
            Error::Decode(format!("{path}: Invalid value: {}: {error}", given.unwrap_or_default()))
        })?;
        self.unknown.extend(found);
        Ok(())
    }
}
