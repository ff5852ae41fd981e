//! The server-side table of a custom resource: its name, and what its definition says.
//!
//! Answers to apiextensions' `customresource/tableconvertor`.

use super::jsonpath::JsonPath;
use crate::kind::{Column, Table};
use crate::table::age;
use crate::value::{items, text};
use serde_json::{Number, Value};
use std::sync::Arc;

/// What a column may be.
pub(crate) const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
/// How a column may be written.
pub(crate) const FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// The table of one version of a definition.
pub(crate) fn table(version: &Value) -> Table {
    let mut columns = vec![Column {
        name: "Name".into(),
        kind: "string",
        format: "name",
        description: "Name of the object, unique among its kind in its namespace.".into(),
        priority: 0,
    }];
    let mut paths = Vec::new();
    for column in items(&version["additionalPrinterColumns"]) {
        let path = text(&column["jsonPath"]);
        // What follows a column that cannot be read is left out, as upstream does.
        let Some(parsed) = JsonPath::parse(path) else { break };
        let one_of = |list: &[&'static str], given: &Value| {
            list.iter().copied().find(|one| *one == text(given)).unwrap_or_default()
        };
        let kind = one_of(&TYPES, &column["type"]);
        let description = match text(&column["description"]) {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            given => given.to_owned(),
        };
        columns.push(Column {
            name: text(&column["name"]).into(),
            kind,
            format: one_of(&FORMATS, &column["format"]),
            description: description.into(),
            priority: column["priority"].as_i64().and_then(|one| i32::try_from(one).ok()).unwrap_or(0),
        });
        paths.push((parsed, kind));
    }
    if items(&version["additionalPrinterColumns"]).is_empty() {
        columns.push(Column {
            name: "Age".into(),
            kind: "date",
            format: "",
            description: "Time since the object was made.".into(),
            priority: 0,
        });
        paths.extend(JsonPath::parse(".metadata.creationTimestamp").map(|path| (path, "date")));
    }
    let row = move |object: &Value, now: i64| {
        let name = Value::from(text(&object["metadata"]["name"]));
        let cells = paths.iter().map(|(path, kind)| match path.select(object).first() {
            Some(value) => cell(kind, value, now),
            None => Value::Null,
        });
        std::iter::once(name).chain(cells).collect()
    };
    Table { columns, row: Arc::new(row) }
}

fn cell(kind: &str, value: &Value, now: i64) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).into()
        }
        ("number", Value::Number(number)) => {
            number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(_)) => age::since(value, now).into(),
        _ => Value::Null,
    }
}
