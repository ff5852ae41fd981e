//! What is special about Events, in both groups.
//!
//! Invariant: errors name the fields of the core group's form, but for the controller that reports. Answers to
//! upstream's `pkg/apis/core/validation`.

use crate::rule::{Errors, ROOT, immutable, named, named_text, required};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const TEXT_MAXIMUM: usize = 128;
const NOTE_MAXIMUM: usize = 1024;

/// The names of an event's fields in one of its two forms.
struct Form {
    object: &'static str,
    controller: &'static str,
    note: &'static str,
}

const OLD: Form = Form { object: "involvedObject", controller: "reportingComponent", note: "message" };
const NEW: Form = Form { object: "regarding", controller: "reportingController", note: "note" };

/// What cannot be changed: its place in events.k8s.io, and the name that errors give it.
const FIXED: [(&str, &str); 8] = [
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("type", "type"),
];
const FIXED_TOO: [&str; 4] = ["action", "related", "reportingController", "reportingInstance"];

/// Rules of core Events.
pub(crate) const EVENT: Rules = Rules { validate: |errors, event| event_in(errors, event, &OLD), ..RULES };

/// Rules of events.k8s.io Events.
pub(crate) const NEW_EVENT: Rules = Rules {
    validate: |errors, event| event_in(errors, event, &NEW),
    validate_create: |errors, event| {
        series(errors, &event["series"]);
        required(errors, &event["eventTime"], &Path::root("eventTime"));
        let kind = text(&event["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            let why = format!("has invalid value: {kind}");
            errors.push(FieldError::invalid(&Path::root("type"), "", &why));
        }
        for (field, shown) in &FIXED[4..7] {
            if !is_empty(&event[*field]) && event[*field] != 0 {
                errors.push(FieldError::invalid(&Path::root(shown), "", "needs to be unset"));
            }
        }
        let source = &event["deprecatedSource"];
        if ["component", "host"].iter().any(|field| !is_empty(&source[*field])) {
            errors.push(FieldError::invalid(&Path::root("source"), "", "needs to be unset"));
        }
    },
    validate_update: |errors, event, old| {
        if !same(&event["series"], &old["series"]) {
            series(errors, &event["series"]);
        }
        for (field, shown) in FIXED {
            immutable(errors, &event[field], &old[field], &Path::root(shown));
        }
        if moment(&event["eventTime"]) != moment(&old["eventTime"]) {
            immutable(errors, &event["eventTime"], &old["eventTime"], &Path::root("eventTime"));
        }
        for field in FIXED_TOO {
            immutable(errors, &event[field], &old[field], &Path::root(field));
        }
    },
    ..RULES
};

/// A time in microseconds: what is finer got lost on the way of some clients.
fn moment(value: &Value) -> Option<i64> {
    text(value).parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

fn series(errors: &mut Errors, series: &Value) {
    if series.is_null() {
        return;
    }
    if int(&series["count"]) < 2 {
        errors.push(FieldError::invalid(&Path::root("series.count"), "", "should be at least 2"));
    }
    required(errors, &series["lastObservedTime"], &Path::root("series.lastObservedTime"));
}

fn event_in(errors: &mut Errors, event: &Value, form: &Form) {
    let namespace = text(&event["metadata"]["namespace"]);
    let object = text(&event[form.object]["namespace"]);
    let new = !is_empty(&event["eventTime"]);
    let apart = match (object, new) {
        ("", false) => !matches!(namespace, "" | "default"),
        ("", true) => !matches!(namespace, "default" | "kube-system"),
        (object, false) => object != namespace,
        (_, true) => false,
    };
    if apart {
        let at = Path::root("involvedObject");
        errors.push(FieldError::invalid(&at.child("namespace"), object, "does not match event.namespace"));
    }
    if new {
        let controller = ROOT.child(form.controller);
        required(errors, &event[form.controller], &controller);
        named(errors, &event[form.controller], &controller, name::qualified);
        for field in ["reportingInstance", "action", "reason"] {
            required(errors, &event[field], &Path::root(field));
            at_most(errors, &event[field], TEXT_MAXIMUM, field);
        }
        at_most(errors, &event[form.note], NOTE_MAXIMUM, "message");
    }
    named_text(errors, namespace, &Path::root("namespace"), name::dns_subdomain);
}

fn at_most(errors: &mut Errors, value: &Value, maximum: usize, field: &str) {
    if text(value).len() > maximum {
        let why = format!("can have at most {maximum} characters");
        errors.push(FieldError::invalid(&Path::root(field), "", &why));
    }
}
