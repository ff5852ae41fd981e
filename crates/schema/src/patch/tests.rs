//! Patches against what upstream makes of them.

use serde_json::{Value, json};

use super::{json, json_findings, merge, strategic};
use crate::{Error, Result, Schema, parse};

fn read(text: &str) -> Value {
    parse::json(text.as_bytes()).unwrap().value
}

fn deployment() -> Schema {
    Schema::builtin("apps", "v1", "Deployment").unwrap()
}

fn apply(kind: &str, current: Value, patch: Value) -> Result<Value> {
    match kind {
        "json" => json(current, &patch),
        "merge" => merge(current, patch),
        _ => strategic(&deployment(), current, patch),
    }
}

/// The cases of `cases.txt`, made by running upstream's code over patches that a program made up.
#[test]
fn patches_do_what_upstreams_do() {
    let mut lines = include_str!("cases.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    while let Some(kind) = lines.next() {
        let mut next = || lines.next().unwrap();
        let (current, patch, expect) = (read(next()), read(next()), next());
        let result = apply(kind, current.clone(), patch.clone());
        let context = format!("{kind}\n{current}\n{patch}");
        match expect.strip_prefix("! ") {
            Some(error) => {
                let result = result.map_err(|error| error.to_string().replace('\n', "\\n"));
                assert_eq!(result, Err(error.to_string()), "{context}");
            }
            None => assert_eq!(result, Ok(read(&expect[2..])), "{context}"),
        }
        count += 1;
    }
    assert!(count > 150, "{count}");
}

fn check(current: Value, patch: Value, expect: Value) {
    assert_eq!(strategic(&deployment(), current, patch), Ok(expect));
}

fn containers(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn lists_merge_by_key() {
    check(
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
        containers(json!([{"name": "b", "image": "2"}, {"name": "c"}])),
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}])),
    );
    check(
        containers(json!([{"name": "a"}, {"name": "b"}])),
        containers(json!([{"name": "a", "$patch": "delete"}])),
        containers(json!([{"name": "b"}])),
    );
    check(
        containers(json!([{"name": "a"}, {"name": "b"}])),
        containers(json!([{"name": "c"}, {"$patch": "replace"}])),
        containers(json!([{"name": "c"}])),
    );
    check(
        containers(json!([{"name": "a", "args": ["x"]}])),
        containers(json!([{"name": "a", "args": ["y"]}])),
        containers(json!([{"name": "a", "args": ["y"]}])),
    );
}

#[test]
fn scalars_merge_as_sets_and_delete_in_parallel() {
    let object = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    check(object(json!(["a", "b"])), object(json!(["c", "a"])), object(json!(["c", "a", "b"])));
    check(
        object(json!(["a", "b"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
        object(json!(["b"])),
    );
    check(
        object(json!(["a", "b", "c"])),
        json!({"metadata": {"$setElementOrder/finalizers": ["c", "a"], "finalizers": ["c"]}}),
        object(json!(["b", "c", "a"])),
    );
}

#[test]
fn strategies_of_fields() {
    let strategy = |strategy: Value| json!({"spec": {"strategy": strategy}});
    check(
        strategy(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}})),
        strategy(json!({"type": "Recreate", "$retainKeys": ["type"]})),
        strategy(json!({"type": "Recreate"})),
    );
    check(
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
        json!({"metadata": {"labels": {"c": "3"}}}),
    );
    check(json!({"spec": {"replicas": 1}}), json!({"spec": {"replicas": null}}), json!({"spec": {}}));
}

#[test]
fn codes() {
    let code = |result: Result<Value>| result.unwrap_err().code();
    assert_eq!(code(json(json!({}), &json!({}))), 400);
    assert_eq!(code(json(json!({}), &json!([{"op": "remove", "path": "/x"}]))), 422);
    assert_eq!(code(json(json!({}), &json!(vec![json!({}); 10_001]))), 413);
    assert_eq!(code(merge(json!({}), json!([]))), 400);
    assert_eq!(code(strategic(&deployment(), json!({}), json!("x"))), 400);
    assert_eq!(
        strategic(&deployment(), json!({}), json!([])),
        Err(Error::Patch(
            "json: cannot unmarshal array into Go value of type map[string]interface {}".into()
        ))
    );
    assert_eq!(json_findings(&json!([{"op": "add", "foo": 1}])), ["json patch unknown field \"[0].foo\""]);
}

#[test]
fn patches_cannot_grow_without_bound() {
    let copies = json!(vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 40]);
    let error = json(json!({"a": ["xxxxxxxxxxxxxxxx"]}), &copies).unwrap_err().to_string();
    assert!(error.starts_with("Unable to complete the copy"), "{error}");
    let mut wrap = Vec::new();
    for _ in 0..1000 {
        wrap.push(json!({"op": "add", "path": "/b", "value": {}}));
        wrap.push(json!({"op": "move", "from": "/a", "path": "/b/a"}));
        wrap.push(json!({"op": "move", "from": "/b", "path": "/a"}));
    }
    assert_eq!(json(json!({"a": {}}), &json!(wrap)).unwrap_err().to_string(), "exceeded max depth");
}

/// Long lists merge in time that grows with their length: the square of it would take minutes here.
#[test]
fn long_lists_merge_quickly() {
    let list =
        |from: usize| (from..from + 30_000).map(|at| json!({"name": at.to_string()})).collect::<Value>();
    let merged = strategic(&deployment(), containers(list(0)), containers(list(15_000))).unwrap();
    assert_eq!(merged["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 45_000);
}
