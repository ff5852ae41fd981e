//! Parts of a configuration that can only be replaced whole, which whoever merges without owning may not do by
//! accident.
//!
//! Invariant: as upstream, the values of maps are not looked into. Answers to the search in apiserver's
//! `policy/mutating/patch/smd.go`.

use serde_json::Value;

use super::element::Element;
use super::set::path_text;
use super::typing::{Atom, Type};
use crate::Schema;
use crate::shape::ListKind;

/// The paths of atomic lists, maps and structs in a configuration.
pub fn atomics(schema: Option<&Schema>, configuration: &Value) -> Vec<String> {
    let mut found = Vec::new();
    search(Type::of(schema), configuration, &mut Vec::new(), &mut found);
    found
}

fn search(kind: Type<'_>, value: &Value, path: &mut Vec<Element>, found: &mut Vec<String>) {
    match (kind.atom(Some(value)), value) {
        (Atom::Map(fields), Value::Object(map)) => {
            if fields.atomic {
                found.push(path_text(path));
            }
            for (name, value) in map {
                let Some(step) = fields.step(name).filter(|step| step.declared) else { continue };
                path.push(Element::field(name));
                search(step.kind, value, path, found);
                path.pop();
            }
        }
        (Atom::List(list), Value::Array(items)) => {
            if list.kind == ListKind::Atomic {
                found.push(path_text(path));
            }
            for (index, value) in items.iter().enumerate() {
                path.push(Element::Index(i64::try_from(index).unwrap_or(i64::MAX)));
                search(list.item, value, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}
