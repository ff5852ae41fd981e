//! What a mutating policy's expressions give: a patch of either kind.
//!
//! Answers to apiserver's `policy/mutating/patch`.

use gifee_schema::cel::{Activation, Budget, PER_OBJECT, Value};
use serde_json::{Map, Value as Json};

use super::compile::{Mutation, MutationKind};
use super::judge::{Input, evaluate};

/// What is to be done to the object.
#[derive(Debug, PartialEq)]
pub enum Patch {
    /// To be merged.
    Apply(Json),
    /// A JSON patch.
    Json(Json),
}

/// Runs a mutation.
///
/// # Errors
/// What failed, in upstream's words.
pub fn patch(mutation: &Mutation, input: &Input<'_>) -> Result<Patch, String> {
    let mut activation: Activation<'_> = input.activation();
    let mut budget = Budget::new(PER_OBJECT);
    if let Err(error) = &mutation.program {
        return Err(error.clone());
    }
    let value = evaluate(&mutation.program, &mutation.expression, &mut activation, &mut budget)??;
    match mutation.kind {
        MutationKind::ApplyConfiguration => {
            named(&value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
            let tree = value.to_json(&mut budget).map_err(|error| error.to_string())?;
            Ok(Patch::Apply(tree))
        }
        MutationKind::JsonPatch => operations(&value, &mut budget).map(Patch::Json),
    }
}

/// Whether the types of objects inside say where they stand: `Object.spec` under `spec` of `Object`.
fn named(value: &Value<'_>, path: &str) -> Result<(), String> {
    match value {
        Value::Struct(object) => {
            if &*object.name != path {
                return Err(format!(
                    "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    object.name
                ));
            }
            object.fields.iter().try_for_each(|(field, value)| named(value, &format!("{path}.{field}")))
        }
        Value::List(items) => items.iter().try_for_each(|item| named(item, path)),
        Value::Map(map) => map.values().try_for_each(|value| named(value, path)),
        Value::Optional(Some(value)) => named(value, path),
        _ => Ok(()),
    }
}

fn operations(value: &Value<'_>, budget: &mut Budget) -> Result<Json, String> {
    let mismatch = || "type mismatch: JSONPatchType.expression should evaluate to array".to_owned();
    let Value::List(items) = value else { return Err(mismatch()) };
    let mut operations = Vec::with_capacity(items.len());
    for item in items.iter() {
        let Value::Struct(object) = item else { return Err(format!("{} of JSONPatch", mismatch())) };
        let mut operation = Map::new();
        for (field, value) in &object.fields {
            if &**field == "value" {
                if let Value::Struct(inner) = value {
                    named(value, inner.name.split('{').next().unwrap_or_default())
                        .map_err(|why| format!("type mismatch: {why}"))?;
                }
                let value = value.to_json(budget).map_err(|error| {
                    format!(
                        "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}"
                    )
                })?;
                operation.insert("value".into(), value);
            } else if let Some(text) = value.as_text().filter(|text| &**field != "from" || !text.is_empty()) {
                operation.insert(field.to_string(), text.into());
            }
        }
        operations.push(Json::Object(operation));
    }
    Ok(Json::Array(operations))
}
