//! Rows of metrics.k8s.io/v1beta1: what nodes and pods use, asked of the nodes.
//!
//! Answers to metrics-server, which may take this group's place.

use crate::kind::{Column, Kind, Table, Verb};
use crate::row::row;
use crate::table::{items, name};
use gifee_base::Quantity;
use gifee_base::quantity::Format;
use serde_json::Value;
use std::sync::Arc;

const V1BETA1: &str = "metrics.k8s.io/v1beta1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    let computed = |kind: &str, resource: &str, table: Table| {
        let mut row = row(V1BETA1, kind, resource).table(table).verbs(&[Verb::Get, Verb::List]);
        row.stored = false;
        row.singular = "".into();
        row
    };
    let node = |object: &Value| vec![object["usage"].clone()];
    let pod = |object: &Value| items(&object["containers"]).iter().map(|one| one["usage"].clone()).collect();
    vec![computed("NodeMetrics", "nodes", table(node)).cluster(), computed("PodMetrics", "pods", table(pod))]
}

/// The table of a kind, whose objects use what `usage` lists.
fn table(usage: fn(&Value) -> Vec<Value>) -> Table {
    let columns = [
        ("Name", "name", "Name of the resource"),
        ("cpu", "quantity", ""),
        ("memory", "quantity", ""),
        ("Window", "duration", ""),
    ];
    let columns = columns.into_iter().map(|(name, format, description)| Column {
        name: name.into(),
        kind: "string",
        format,
        description: description.into(),
        priority: 0,
    });
    let row = move |object: &Value, _: i64| {
        let all = usage(object);
        let sum = |resource: &str| {
            let amounts = all.iter().filter_map(|one| one[resource].as_str()?.parse::<Quantity>().ok());
            let none = Quantity::from_units(0, Format::DecimalSi);
            Value::from(amounts.fold(none, Quantity::plus).to_string())
        };
        vec![name(object), sum("cpu"), sum("memory"), object["window"].clone()]
    };
    Table { columns: columns.collect(), row: Arc::new(row) }
}
