//! Rows of events.k8s.io/v1: the same events as the core group's, in another form.

pub(crate) mod rules;

use crate::kind::{Conversion, Kind};
use crate::row::row;
use crate::table;
use serde_json::{Map, Value};

const V1: &str = "events.k8s.io/v1";

/// Fields by their names in events.k8s.io/v1 and in the stored form, the core group's.
const RENAMED: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// What selectors select by: the names of this group, of fields of the stored form.
const FIELDS: &[&str] = &[
    "regarding.kind<involvedObject.kind",
    "regarding.namespace<involvedObject.namespace",
    "regarding.name<involvedObject.name",
    "regarding.uid<involvedObject.uid",
    "regarding.apiVersion<involvedObject.apiVersion",
    "regarding.resourceVersion<involvedObject.resourceVersion",
    "regarding.fieldPath<involvedObject.fieldPath",
    "reason",
    "reportingController<reportingComponent",
    "type",
];

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "Event", "events")
            .short(&["ev"])
            .create_on_update()
            .fields(FIELDS)
            .stored_as("", "events", Conversion { from_stored, to_stored })
            .table(table::cluster::table_of_events())
            .rules(rules::NEW_EVENT),
    ]
}

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}

fn from_stored(mut event: Value) -> Value {
    if let Some(map) = event.as_object_mut() {
        map.insert("apiVersion".into(), V1.into());
        for (own, stored) in RENAMED {
            rename(map, stored, own);
        }
        // Omitted here when empty, always written there.
        for field in ["reportingController", "reportingInstance"] {
            if map.get(field).is_some_and(|value| value == "") {
                map.remove(field);
            }
        }
    }
    event
}

fn to_stored(mut event: Value) -> Value {
    if let Some(map) = event.as_object_mut() {
        map.insert("apiVersion".into(), "v1".into());
        for (own, stored) in RENAMED {
            rename(map, own, stored);
        }
        for field in ["reportingComponent", "reportingInstance"] {
            map.entry(field).or_insert_with(|| "".into());
        }
        for field in ["involvedObject", "source"] {
            map.entry(field).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    event
}
