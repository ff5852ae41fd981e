//! Defaults of structural schemas, and nulls that are no values.
//!
//! Invariant: applying twice changes nothing more. Answers to apiextensions' `schema/defaulting`.

use super::{Additional, Structural};
use serde_json::Value;

impl Structural {
    /// Fills in what is absent or null and has a default; nulls that are neither allowed nor have one are removed.
    pub fn apply_defaults(&self, value: &mut Value) {
        self.drop_nulls(value);
        self.fill(value);
    }

    /// Removes nulls that the schema neither allows nor has a default for.
    pub fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(map) => map.retain(|key, value| {
                let Some(schema) = self.field(key) else { return true };
                if value.is_null() {
                    return schema.nullable || schema.default.is_some();
                }
                schema.drop_nulls(value);
                true
            }),
            Value::Array(list) => {
                if let Some(items) = &self.items {
                    list.iter_mut().for_each(|value| items.drop_nulls(value));
                }
            }
            _ => {}
        }
    }

    /// Fills in defaults alone.
    pub fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    let place = map.get(&**name);
                    if place.is_none_or(|value| value.is_null() && !schema.nullable) {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                for (name, value) in map {
                    if let Some(schema) = self.properties.get(name.as_str()) {
                        schema.fill(value);
                    } else if let Some(Additional::Schema(schema)) = &self.additional {
                        schema.replace_null(value);
                        schema.fill(value);
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = &self.items else { return };
                for value in list {
                    items.replace_null(value);
                    items.fill(value);
                }
            }
            _ => {}
        }
    }

    fn replace_null(&self, value: &mut Value) {
        if value.is_null()
            && !self.nullable
            && let Some(default) = &self.default
        {
            *value = default.clone();
        }
    }
}
