//! Server-side tables: columns and cells as `kubectl get` prints them.
//!
//! Invariant: a row function never fails and never panics, whatever the object; it gives exactly as many cells as
//! there are columns. Answers to upstream's `pkg/printers/internalversion`.

pub mod age;
pub mod cluster;
pub mod extension;
pub mod network;
pub mod pod;
pub mod workload;

#[cfg(test)]
mod tests;

use crate::kind::{Column, Table};
pub(crate) use crate::value::{items, text, text_or};
use serde_json::Value;
use std::sync::Arc;

/// A table of columns and a function that gives the cells of an object.
///
/// A column is written `Name`, `Count:integer` if it is no string, with a `+` in front if it shows only with
/// `-o wide`. The one called `Name` has the format `name`.
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
            Column { name: name.into(), kind, format, description: describe(name).into(), priority }
        })
        .collect();
    Table { columns, row: Arc::new(row) }
}

fn describe(column: &str) -> &str {
    match column {
        "Name" => "Name of the object, unique among its kind in its namespace.",
        "Age" => "Time since the object was made.",
        "Created At" => "When the object was made.",
        "Containers" => "Names of the containers.",
        "Images" => "Images of the containers.",
        "Selector" => "Labels of the pods that belong to the object.",
        other => other,
    }
}

/// The table of a kind that has none of its own: its name, and when it was made.
pub fn created_at() -> Table {
    table(&["Name", "Created At:date"], |object, _| {
        vec![name(object), object["metadata"]["creationTimestamp"].clone()]
    })
}

/// The table of a kind of which only the age is shown.
pub fn name_and_age() -> Table {
    table(&["Name", "Age"], |object, now| vec![name(object), age(object, now)])
}

/// The table of a Scale.
pub fn scale() -> Table {
    table(&["Name", "Desired:integer", "Available:integer", "Age"], |object, now| {
        let (desired, available) = (&object["spec"]["replicas"], &object["status"]["replicas"]);
        vec![name(object), count(desired), count(available), age(object, now)]
    })
}

pub(crate) fn name(object: &Value) -> Value {
    text(&object["metadata"]["name"]).into()
}

fn age(object: &Value, now: i64) -> Value {
    age::since(&object["metadata"]["creationTimestamp"], now).into()
}

fn count(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

fn length(value: &Value) -> usize {
    value.as_array().map_or_else(|| value.as_object().map_or(0, serde_json::Map::len), Vec::len)
}

/// Text of a value that may be a number or a string.
fn scalar(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn joined<'a>(parts: impl IntoIterator<Item = &'a str>, separator: &str) -> String {
    parts.into_iter().collect::<Vec<_>>().join(separator)
}

/// Names and images of the containers of a pod spec.
fn containers(spec: &Value) -> [Value; 2] {
    let list = items(&spec["containers"]);
    ["name", "image"].map(|field| joined(list.iter().map(|one| text(&one[field])), ",").into())
}

/// Labels as `a=b,c=d`, or `<none>`.
fn labels(map: &Value) -> String {
    let pairs: Vec<String> =
        map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A `LabelSelector` in the form of a query, sorted by keys; empty if it selects everything.
pub(crate) fn selector(value: &Value) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for (key, value) in value["matchLabels"].as_object().into_iter().flatten() {
        parts.push((key, format!("{key}={}", text(value))));
    }
    for expression in items(&value["matchExpressions"]) {
        let key = text(&expression["key"]);
        let mut values: Vec<&str> = items(&expression["values"]).iter().map(text).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push((
            key,
            match text(&expression["operator"]) {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                "DoesNotExist" => format!("!{key}"),
                _ => return "<error>".into(),
            },
        ));
    }
    parts.sort_by(|a, b| a.0.cmp(b.0));
    joined(parts.iter().map(|(_, part)| part.as_str()), ",")
}

fn selector_or_none(value: &Value) -> String {
    let shown = selector(value);
    if shown.is_empty() { "<none>".into() } else { shown }
}

/// The first few of a list, and how many more there are.
fn shortened(list: &[String], total: usize, shown: usize, separator: &str) -> String {
    let text = list.iter().take(shown).map(String::as_str).collect::<Vec<_>>().join(separator);
    if total > shown { format!("{text} + {} more...", total - shown) } else { text }
}

/// Whether a condition of a type is true; None if there is none of that type.
fn condition(conditions: &Value, kind: &str) -> Option<bool> {
    items(conditions).iter().find(|one| one["type"] == kind).map(|one| one["status"] == "True")
}
