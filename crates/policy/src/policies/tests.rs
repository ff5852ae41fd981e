//! Policies, requests and outcomes out of a data file.

use super::{Input, Patch, Policy, judge, matches, patch};
use gifee_schema::cel::{Authorize, Decision, Request};
use serde_json::{Value, json};

/// Lets `alice` and the service account `shop/robot` do what they want with ConfigMaps.
struct Book;

impl Authorize for Book {
    fn authorize(&self, account: Option<(&str, &str)>, request: &Request) -> Decision {
        let known = account.is_none_or(|account| account == ("shop", "robot"));
        Decision {
            allowed: known && request.resource == "configmaps",
            reason: "by the book".into(),
            error: None,
        }
    }
}

fn run(case: &Value) -> Value {
    let policy = Policy::new(&json!({ "metadata": { "name": "p" }, "spec": case["spec"] }));
    let resource = Request { resource: "configmaps".into(), verb: "create".into(), ..Request::default() };
    let input = Input {
        object: &case["object"],
        old: &case["oldObject"],
        namespace: &case["namespaceObject"],
        request: &case["request"],
        params: &case["params"],
        authorizer: &Book,
        resource: &resource,
    };
    match matches(&policy, &input) {
        Ok(true) => {}
        Ok(false) => return json!("does not match"),
        Err(why) => return json!({ "failed": why }),
    }
    if !policy.mutations.is_empty() {
        let patches = policy.mutations.iter().map(|mutation| match patch(mutation, &input) {
            Ok(Patch::Apply(tree)) => json!({ "apply": tree }),
            Ok(Patch::Json(operations)) => json!({ "json": operations }),
            Err(why) => json!({ "failed": why }),
        });
        return patches.collect();
    }
    let verdict = judge(&policy, &input);
    let mut outcome = json!({});
    if !verdict.denials.is_empty() {
        let denials = verdict
            .denials
            .iter()
            .map(|one| format!("{} {}: {}", one.index, one.reason.as_str(), one.message));
        outcome["denials"] = denials.collect();
    }
    if !verdict.published.is_empty() {
        outcome["published"] =
            verdict.published.iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    }
    if !verdict.broken.is_empty() {
        outcome["broken"] = verdict.broken.iter().cloned().collect();
    }
    outcome
}

#[test]
fn policies_say_what_upstream_says() {
    let cases: Value = serde_json::from_str(include_str!("../../testdata/policies.json")).unwrap();
    let differs = |case: &&Value| run(case) != case["outcome"];
    let wrong: Vec<String> = cases
        .as_array()
        .unwrap()
        .iter()
        .filter(differs)
        .map(|case| format!("{}: {:#}", case["name"], run(case)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
