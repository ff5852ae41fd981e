//! Upstream's conformance tests that need no container, and of those that need one what is about the machinery of the
//! API and about workloads: which of ours covers each, and those that have no other place.
//!
//! Invariant: `names.txt` has every one of them, `nodes.txt` those of pods on nodes and `storage.txt` those of volumes in
//! containers; a name without a test below it is in `uncovered.txt`, and a test that is named there exists and runs. The
//! functions of this folder do step by step what the bodies of upstream's tests do.

mod chunks;
mod definitions;
mod discovery;
mod events;
mod fields;
mod namespaces;
mod nodes;
mod objects;
mod openapi;
mod pods;
mod policies;
mod quotas;
mod services;
mod watchers;

use expect_test::expect_file;
use std::path::Path;

/// `class name`, and below it, indented, `file function` of each test that covers it; a third word is a row of its table.
/// Beside each file how many of the classes A to E it has.
const NAMES: &[(&str, [usize; 5])] = &[
    (include_str!("names.txt"), [117, 30, 63, 0, 0]),
    (include_str!("nodes.txt"), [0, 0, 29, 0, 71]),
    (include_str!("storage.txt"), [0, 0, 0, 0, 79]),
];

/// Whether a test exists: it is marked as one, or one in its file calls it; and has the row.
fn missing(cover: &str) -> Option<String> {
    let mut words = cover.split_whitespace();
    let (file, function, row) = (words.next()?, words.next()?, words.next());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else { return Some(format!("no file {file}")) };
    let Some(start) = text.find(&format!("fn {function}(")) else {
        return Some(format!("no function {function} in {file}"));
    };
    let before = text[..start].trim_end_matches("async ").trim_end();
    let marked =
        before.lines().next_back().is_some_and(|line| line.starts_with("#[") && line.contains("test"));
    if !marked && text.matches(function).count() < 2 {
        return Some(format!("nothing runs {function} in {file}"));
    }
    row.filter(|row| !text.contains(row)).map(|row| format!("no {row} in {file}"))
}

#[test]
fn every_conformance_test_is_covered_or_listed() {
    let (mut uncovered, mut wrong) = (String::new(), Vec::new());
    for (names, expected) in NAMES {
        let mut counts = [0; 5];
        let mut lines = names.lines().peekable();
        while let Some(name) = lines.next() {
            let class = ["A ", "B ", "C ", "D ", "E "].iter().position(|class| name.starts_with(class));
            match class {
                Some(class) => counts[class] += 1,
                None => wrong.push(format!("no class: {name}")),
            }
            let mut covers = 0;
            while let Some(cover) = lines.next_if(|line| line.starts_with("    ")) {
                covers += 1;
                wrong.extend(missing(cover));
            }
            if covers == 0 {
                uncovered.push_str(name);
                uncovered.push('\n');
            }
        }
        assert_eq!(counts, *expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    expect_file!["./uncovered.txt"].assert_eq(&uncovered);
}
