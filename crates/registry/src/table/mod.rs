//! Server-side tables: columns and cells as `kubectl get` prints them.
//!
//! Invariant: a row function never fails and never panics, whatever the object; it gives exactly as many cells as
//! there are columns. Answers to upstream's `pkg/printers/internalversion`.

use crate::kind::{Column, Table};
use serde_json::Value;
use std::sync::Arc;

/// A table of columns and a function that gives the cells of an object.
///
/// A column is written `Name`, `Name:integer` if it is no string, with a `+` in front if it shows only with `-o wide`.
/// The one called `Name` has the format `name`.
pub fn table(columns: &[&str], row: fn(&Value, i64) -> Vec<Value>) -> Table {
    let columns = columns
        .iter()
        .map(|text| {
            let (text, priority) = text.strip_prefix('+').map_or((*text, 0), |text| (text, 1));
            let (name, kind) = match text.split_once(':') {
                Some((name, "integer")) => (name, "integer"),
                Some((name, "boolean")) => (name, "boolean"),
                Some((name, "date")) => (name, "date"),
                _ => (text, "string"),
            };
            let format = if name == "Name" { "name" } else { "" };
            Column { name: name.into(), kind, format, description: name.into(), priority }
        })
        .collect();
    Table { columns, row: Arc::new(row) }
}

/// The table of a kind that has none of its own: its name, and when it was made.
pub fn created_at() -> Table {
    table(&["Name", "Created At:date"], |object, _| {
        let metadata = &object["metadata"];
        vec![metadata["name"].clone(), metadata["creationTimestamp"].clone()]
    })
}
