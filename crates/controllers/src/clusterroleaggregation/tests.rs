//! Rules of others, each once, in a settled order.

use super::*;

fn role(value: Value) -> Arc<Object> {
    let mut value = value;
    Arc::new(Object::stored(Object::encode(&mut value), 7).unwrap())
}

#[test]
fn an_aggregated_role_has_the_rules_of_those_that_its_selectors_find() {
    let rule = |verb: &str| json!({ "verbs": [verb], "apiGroups": [""], "resources": ["pods"] });
    let part = |name: &str, rules: Value| {
        role(json!({ "metadata": { "name": name, "labels": { "to": "all" } }, "rules": rules }))
    };
    let all = vec![
        role(json!({ "metadata": { "name": "all", "labels": { "to": "all" } }, "rules": [rule("x")],
            "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "to": "all" } }] } })),
        part("b", json!([rule("get"), rule("list")])),
        part("c", json!([rule("list"), rule("watch")])),
        role(json!({ "metadata": { "name": "d" }, "rules": [rule("delete")] })),
    ];
    let rules = plan(&all[0], &all).unwrap();
    assert_eq!(rules, json!([rule("get"), rule("list"), rule("watch")]));
    assert_eq!(plan(&all[1], &all), None);
    let mut settled = all[0].to_value().unwrap();
    settled["rules"] = rules;
    assert_eq!(plan(&role(settled), &all), None);
}
