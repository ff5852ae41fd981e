//! Rows of autoscaling/v2 and autoscaling/v1; v2, which loses nothing, is stored.

mod conversion;
mod rules;

use crate::kind::{Conversion, Kind};
use crate::row::row;
use crate::table;

const GROUP: &str = "autoscaling";
const RESOURCE: &str = "horizontalpodautoscalers";

fn autoscaler(version: &str) -> Kind {
    row(version, "HorizontalPodAutoscaler", RESOURCE)
        .short(&["hpa"])
        .category("all")
        .status()
        .generation()
        .table(table::workload::table_of_autoscalers())
}

/// Rows of this group, the preferred version first.
pub fn rows() -> Vec<Kind> {
    let conversion = Conversion { from_stored: conversion::from_stored, to_stored: conversion::to_stored };
    vec![
        autoscaler("autoscaling/v2").defaults(include_str!("../defaults/autoscaling.txt")).rules(rules::V2),
        autoscaler("autoscaling/v1").rules(rules::V1).stored_as(GROUP, RESOURCE, conversion),
    ]
}
