//! A request as a SubjectAccessReview asks about it.
//!
//! Answers to the webhook authorizer's conversion of attributes.

use crate::Attributes;
use gifee_base::labels::Operator;
use gifee_base::{FieldSelector, LabelSelector};
use serde_json::{Map, Value, json};

/// The spec of a SubjectAccessReview about a request.
pub fn spec(attributes: &Attributes) -> Value {
    let user = &attributes.user;
    let mut spec = json!({ "user": user.name });
    if !user.uid.is_empty() {
        spec["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        spec["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    let mut asked = Map::new();
    let mut add = |key: &str, text: &str| {
        if !text.is_empty() {
            asked.insert(key.into(), text.into());
        }
    };
    add("verb", &attributes.verb);
    if !attributes.is_resource {
        add("path", &attributes.path);
        spec["nonResourceAttributes"] = asked.into();
        return spec;
    }
    add("namespace", &attributes.namespace);
    add("group", &attributes.group);
    add("version", &attributes.version);
    add("resource", &attributes.resource);
    add("subresource", &attributes.subresource);
    add("name", &attributes.name);
    for (key, requirements) in [("fieldSelector", fields(attributes)), ("labelSelector", labels(attributes))]
    {
        if !requirements.is_empty() {
            asked.insert(key.into(), json!({ "requirements": requirements }));
        }
    }
    spec["resourceAttributes"] = asked.into();
    spec
}

fn fields(attributes: &Attributes) -> Vec<Value> {
    let Ok(selector) = FieldSelector::parse(&attributes.field_selector) else { return Vec::new() };
    let all = selector.requirements.iter().map(|one| {
        json!({ "key": one.field, "operator": if one.equal { "In" } else { "NotIn" }, "values": [one.value] })
    });
    all.collect()
}

fn labels(attributes: &Attributes) -> Vec<Value> {
    let Ok(selector) = LabelSelector::parse(&attributes.label_selector) else { return Vec::new() };
    let all = selector.requirements.iter().filter_map(|one| {
        let operator = match one.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            _ => return None,
        };
        let mut value = json!({ "key": one.key, "operator": operator });
        if !one.values.is_empty() {
            value["values"] = one.values.clone().into();
        }
        Some(value)
    });
    all.collect()
}

/// The text of a selector that a review gives by its requirements; what is not known selects nothing out.
pub fn selector_text(requirements: &Value, of_fields: bool) -> String {
    let mut parts = Vec::new();
    for one in requirements.as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match (one["operator"].as_str().unwrap_or_default(), values.as_slice()) {
            ("In", [value]) if of_fields => parts.push(format!("{key}={value}")),
            ("NotIn", [value]) if of_fields => parts.push(format!("{key}!={value}")),
            _ if of_fields => {}
            ("In", values) => parts.push(format!("{key} in ({})", values.join(","))),
            ("NotIn", values) => parts.push(format!("{key} notin ({})", values.join(","))),
            ("Exists", _) => parts.push(key.to_owned()),
            ("DoesNotExist", _) => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}
