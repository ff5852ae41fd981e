//! Events are sent, counted together, and rationed.

use super::correlate::{Correlator, Write};
use super::*;
use jiff::Timestamp;

fn record(reason: &str, message: &str) -> Record {
    Record {
        source: Source::component("kubelet"),
        regarding: Reference {
            kind: "Pod".into(),
            name: "web".into(),
            uid: "1".into(),
            ..Reference::default()
        },
        related: None,
        severity: Severity::Normal,
        reason: reason.into(),
        action: String::new(),
        message: message.into(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn equal_events_are_counted() {
    let mut correlator = Correlator::new();
    let mut count = |second| match correlator.observe(record("Pulled", "same"), at(second)) {
        Some(Write::Create { name, .. }) => (name, 1),
        Some(Write::Count { name, count, .. }) => (name, count),
        None => (String::new(), 0),
    };
    let first = count(1);
    assert_eq!(first.0, "web.3b9aca00");
    assert_eq!(count(2), (first.0.clone(), 2));
    assert_eq!(count(900), (first.0, 3));
}

#[test]
fn similar_events_are_merged() {
    let mut correlator = Correlator::new();
    let messages: Vec<String> = (0..12)
        .filter_map(|n| correlator.observe(record("Failed", &format!("try {n}")), at(n)))
        .map(|write| match write {
            Write::Create { record, .. } => format!("create {}", record.message),
            Write::Count { record, count, .. } => format!("{count} {}", record.message),
        })
        .collect();
    assert_eq!(messages[8], "create try 8");
    assert_eq!(messages[9], "create (combined from similar events): try 9");
    assert_eq!(messages[11], "3 (combined from similar events): try 11");
}

#[test]
fn a_flood_is_cut_and_let_through_again() {
    let mut correlator = Correlator::new();
    let mut written =
        |second| (0..40).filter(|_| correlator.observe(record("A", "b"), at(second)).is_some()).count();
    assert_eq!(written(0), 25);
    assert_eq!(written(1), 0);
    assert_eq!(written(700), 2);
}

#[test]
fn a_series_is_written_at_its_second_event_then_rarely() {
    let mut series = series::Series::new();
    let mut observe = |second| match series.observe(record("FailedScheduling", "no"), at(second)) {
        Some(series::Write::Create { .. }) => "create".to_owned(),
        Some(series::Write::Series { count, .. }) => format!("series {count}"),
        None => "nothing".to_owned(),
    };
    let mut found: Vec<String> = vec![];
    for second in [0, 1, 2, 300, 600, 900, 1200, 1500, 1802, 2500] {
        found.push(observe(second));
    }
    assert_eq!(found[..4], ["create", "series 2", "nothing", "nothing"]);
    assert_eq!(found[8], "series 9");
    assert_eq!(found[9], "create");
}
