//! Defaults as data: a compact text table per kind, compiled once, applied to trees.

use serde_json::Value;

use crate::{Result, Schema};

/// A compiled table.
#[derive(Debug)]
pub struct Defaults {}

impl Defaults {
    /// Compiles a table against a schema; a path or a value that the schema does not have is an error.
    pub fn compile(schema: &Schema, table: &str) -> Result<Defaults> {
        let _ = (schema, table);
        unimplemented!()
    }
    /// Fills in what is absent.
    pub fn apply(&self, value: &mut Value) {
        let _ = value;
        unimplemented!()
    }
}
