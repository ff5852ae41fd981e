//! What is refused and what is warned of, as the data file says: the example of a kind, changed in some places.
//!
//! Each case has `kind`, perhaps `part` (an update of that part; `""` is the object itself), `set` with values by
//! their places, and the `errors` and `warnings` that must come of it, none if they are left out.

use super::refused::Bench;
use serde_json::Value;

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_data_file_holds() {
    let cases = gifee_schema::parse::yaml(include_bytes!("cases.yaml")).unwrap().value;
    let bench = Bench::new();
    let mut failures = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let kind = case["kind"].as_str().unwrap();
        let set: Vec<(&str, Value)> =
            case["set"].as_object().unwrap().iter().map(|(at, value)| (at.as_str(), value.clone())).collect();
        let (errors, warnings) = bench.judge(kind, case["part"].as_str(), &set);
        let wanted = (texts(&case["errors"]), texts(&case["warnings"]));
        if (errors.clone(), warnings.clone()) != wanted {
            failures.push(format!("{kind} {set:?}\n  errors: {errors:#?}\n  warnings: {warnings:#?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
