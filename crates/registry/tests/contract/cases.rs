//! What is refused, what is warned of and what becomes of a write, as the data files say: the example of a kind,
//! changed in some places.
//!
//! Each case has `kind` (`GROUP/VERSION.KIND` if several versions have it), perhaps `part` (an update of that part; `""`
//! is the object itself), `set` with values by their places, and the `errors` and `warnings` that must come of it, none
//! if they are left out. `before` is what else is so before an update. `becomes` has values by their places as they
//! must be after the write: of a create, the object is sent as it is said here, and gets defaults; nothing is
//! judged then unless `errors` are given, too. `pods.yaml` and `services.yaml` hold writes as a request does them, with
//! defaults, the kind's own preparation and what is allocated before they are judged; there, `old` changes what was stored before.

use super::refused::Bench;
use serde_json::Value;
use std::path::PathBuf;

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn places(value: &Value) -> Vec<(&str, Value)> {
    value.as_object().into_iter().flatten().map(|(at, value)| (at.as_str(), value.clone())).collect()
}

fn files() -> Vec<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(here.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(here.join("cases.yaml"));
    files.sort();
    files
}

fn fails(bench: &Bench, case: &Value) -> Option<String> {
    let kind = case["kind"].as_str().unwrap();
    let (part, sets) = (case["part"].as_str(), places(&case["set"]));
    let mut wrong = String::new();
    let becomes = places(&case["becomes"]);
    let judged = becomes.is_empty() || part.is_some() || !case["errors"].is_null();
    let mut object = Value::Null;
    if judged {
        let (now, errors, warnings) = bench.judge_change(kind, part, &places(&case["before"]), &sets);
        if (&errors, &warnings) != (&texts(&case["errors"]), &texts(&case["warnings"])) {
            wrong.push_str(&format!("\n  errors: {errors:#?}\n  warnings: {warnings:#?}"));
        }
        object = now;
    }
    if part.is_none() && !becomes.is_empty() {
        object = bench.made(kind, &sets);
    }
    for (at, value) in becomes {
        let found = object.pointer(at).cloned().unwrap_or_default();
        if found != value {
            wrong.push_str(&format!("\n  {at}: {found}, not {value}"));
        }
    }
    (!wrong.is_empty()).then(|| format!("{kind} {part:?} {sets:?}{wrong}"))
}

fn hold(file: &[u8]) {
    let cases = gifee_schema::parse::yaml(file).unwrap().value;
    let bench = Bench::new();
    let mut failures = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let (kind, part) = (case["kind"].as_str().unwrap(), case["part"].as_str());
        let (old, set) = (places(&case["old"]), places(&case["set"]));
        let judged = bench.write(kind, part, &old, &set);
        let wanted = (texts(&case["errors"]), texts(&case["warnings"]));
        if (&judged.errors, &judged.warnings) != (&wanted.0, &wanted.1) {
            let (errors, warnings) = (judged.errors, judged.warnings);
            failures
                .push(format!("{kind} {part:?} {set:?}\n  errors: {errors:#?}\n  warnings: {warnings:#?}"));
        }
        for (at, value) in places(&case["becomes"]) {
            let found = judged.object.pointer(at).cloned().unwrap_or_default();
            if found != value {
                failures.push(format!("{kind} {part:?} {set:?}\n  {at} is {found}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn pods_hold() {
    hold(include_bytes!("pods.yaml"));
}

#[test]
fn services_hold() {
    hold(include_bytes!("services.yaml"));
}

#[test]
fn the_data_files_hold() {
    let bench = Bench::new();
    let mut failures = Vec::new();
    for file in files() {
        let cases = gifee_schema::parse::yaml(&std::fs::read(&file).unwrap()).unwrap().value;
        for case in cases["cases"].as_array().unwrap() {
            failures.extend(fails(&bench, case).map(|text| format!("{}: {text}", file.display())));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
