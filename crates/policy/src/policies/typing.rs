//! What a validating policy's expressions would get wrong about the kinds that it names.
//!
//! Invariant: this only warns, and changes nothing about what the policy does. Answers to apiserver's
//! `policy/validating/typechecking.go`.

use std::sync::Arc;

use gifee_schema::cel::Type;
use gifee_schema::cel::admission::{Declared, typed};
use serde_json::{Value, json};

/// The warnings about a policy, as its status has them. `kinds` are the kinds it names with their types, in the order
/// of their names; `params` is the type of its parameters, if it is known.
pub fn warnings(policy: &Value, kinds: &[(String, Type)], params: Option<&Type>) -> Vec<Value> {
    let mut warnings = Vec::new();
    for (index, validation) in policy["spec"]["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation[field].as_str().unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            let found: Vec<String> =
                kinds.iter().filter_map(|kind| checked(policy, source, kind, params)).collect();
            if !found.is_empty() {
                let place = format!("spec.validations[{index}].{field}");
                warnings.push(json!({ "fieldRef": place, "warning": found.join("\n") }));
            }
        }
    }
    warnings
}

fn checked(policy: &Value, source: &str, kind: &(String, Type), params: Option<&Type>) -> Option<String> {
    let spec = &policy["spec"];
    let declared = Declared {
        params: spec["paramKind"].is_object(),
        authorizer: true,
        variables: true,
        mutation: false,
    };
    let mut environment = typed(declared, kind.1.clone(), params.cloned().unwrap_or(Type::Dyn));
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let text = |field: &str| variable[field].as_str().unwrap_or_default();
        let program = environment.compile(text("expression"), &[]);
        environment.compose(text("name"), program.map(Arc::new).map_err(|error| error.detail()));
    }
    let error = environment.compile(source, &[]).err()?;
    Some(format!("{}: {}\n", kind.0, error.detail()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_are_told_by_kind() {
        let object = |field: &'static str| Type::object("object", [(field, Type::Int)]);
        let kinds = [
            ("apps/v1, Kind=Deployment".to_owned(), object("replicas")),
            ("v1, Kind=Pod".to_owned(), object("other")),
        ];
        let policy = json!({ "spec": {
            "variables": [{ "name": "most", "expression": "object.replicas * 2" }],
            "validations": [
                { "expression": "object.replicas > 1", "messageExpression": "'fine'" },
                { "expression": "has(object.other) || object.nothing == 1" },
                { "expression": "true" }
            ]
        } });
        let found = warnings(&policy, &kinds, None);
        let places: Vec<_> = found.iter().map(|one| one["fieldRef"].as_str().unwrap()).collect();
        assert_eq!(places, ["spec.validations[0].expression", "spec.validations[1].expression"]);
        assert_eq!(
            found[0]["warning"],
            "v1, Kind=Pod: compilation failed: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"
        );
        let both = found[1]["warning"].as_str().unwrap();
        assert!(
            both.starts_with("apps/v1, Kind=Deployment: ") && both.contains("\n\nv1, Kind=Pod: "),
            "{both}"
        );
    }
}
