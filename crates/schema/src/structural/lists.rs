//! That items of sets and keys of map lists are unique.
//!
//! Answers to apiextensions' `schema/listtype`.

use super::{Additional, Structural};
use crate::shape::ListKind;
use gifee_base::FieldError;
use gifee_base::field::Path;
use serde_json::{Map, Value};
use std::collections::HashMap;

impl Structural {
    /// The items that come twice, in the order of their fields.
    pub fn duplicates(&self, value: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.find_duplicates(value, &Path::root(""), &mut errors);
        errors
    }

    fn find_duplicates(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if let Some(schema) = self.properties.get(key.as_str()) {
                        schema.find_duplicates(value, &path.child(key), errors);
                    } else if let Some(Additional::Schema(schema)) = &self.additional {
                        schema.find_duplicates(value, &path.key(key), errors);
                    }
                }
            }
            Value::Array(list) => {
                match self.list {
                    Some(ListKind::Set) => repeated(list, path, errors),
                    Some(ListKind::Map) => self.keyed(list, path, errors),
                    _ => {}
                }
                let Some(items) = &self.items else { return };
                for (index, value) in list.iter().enumerate() {
                    items.find_duplicates(value, &path.index(index), errors);
                }
            }
            _ => {}
        }
    }

    fn keyed(&self, list: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
        if let Some((index, wrong)) =
            list.iter().enumerate().find(|(_, one)| !one.is_object() && !one.is_null())
        {
            let why = "must be an object for an array of list-type map";
            errors.push(FieldError::invalid(&path.index(index), wrong.clone(), why));
            return;
        }
        let keys: Vec<Value> = list.iter().map(|item| self.key_of(item)).collect();
        repeated(&keys, path, errors);
    }

    /// The values of an item's key fields, of those that it has.
    pub fn key_of(&self, item: &Value) -> Value {
        let values = self.keys.iter().filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
        Value::Object(values.collect::<Map<_, _>>())
    }
}

/// Reports the second one of equal items, once.
fn repeated(list: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if list.len() < 2 {
        return;
    }
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(FieldError::duplicate(&path.index(index), item.clone()));
        }
    }
}
