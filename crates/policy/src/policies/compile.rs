//! A policy object made ready to be asked.

use std::sync::Arc;

use gifee_schema::cel::admission::{Declared, environment};
use gifee_schema::cel::{Environment, Program, Type};
use serde_json::Value;

/// A compiled expression, or why there is none.
pub type Compiled = Result<Program, String>;

/// A match condition.
#[derive(Debug)]
pub struct Condition {
    /// Its name.
    pub name: String,
    /// Its source.
    pub expression: String,
    pub(super) program: Compiled,
}

/// A validation.
#[derive(Debug)]
pub struct Validation {
    /// Its source.
    pub expression: String,
    pub(super) program: Compiled,
    pub(super) message: String,
    pub(super) message_program: Option<(String, Compiled)>,
    pub(super) reason: String,
}

/// What a mutation's expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutationKind {
    /// `Object{…}`, merged as server-side apply merges.
    ApplyConfiguration,
    /// A list of `JSONPatch{…}`.
    JsonPatch,
}

/// A mutation.
#[derive(Debug)]
pub struct Mutation {
    /// What it gives.
    pub kind: MutationKind,
    /// Its source.
    pub expression: String,
    pub(super) program: Compiled,
}

/// A ValidatingAdmissionPolicy or MutatingAdmissionPolicy.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// API version and kind of its parameters.
    pub param_kind: Option<(String, String)>,
    /// Whether what goes wrong lets the request pass.
    pub ignores_failure: bool,
    /// Whether it is asked again after others have changed the object.
    pub reinvoked: bool,
    /// All must hold for the policy to be asked.
    pub conditions: Vec<Condition>,
    /// What must hold.
    pub validations: Vec<Validation>,
    /// Key, source and program of annotations for the audit log.
    pub(super) annotations: Vec<(String, String, Compiled)>,
    /// What is changed.
    pub mutations: Vec<Mutation>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn compile(environment: &Environment, expression: &str, results: &[Type]) -> Compiled {
    environment.compile(expression, results).map_err(|error| error.detail())
}

impl Policy {
    /// Of a policy object of either kind.
    pub fn new(object: &Value) -> Policy {
        let spec = &object["spec"];
        let mutating = spec["mutations"].is_array();
        let params = spec["paramKind"].is_object();
        let declared = Declared { params, authorizer: true, variables: true, mutation: mutating };
        let mut full = environment(declared);
        // Messages and annotations may not ask for permissions, and mutations may.
        let mut plain = environment(Declared { authorizer: false, ..declared });
        for variable in items(&spec["variables"]) {
            let (name, expression) = (text(&variable["name"]), text(&variable["expression"]));
            let program = compile(&full, &expression, &[]).map(Arc::new);
            plain.compose(&name, program.clone());
            full.compose(&name, program);
        }
        Policy {
            name: text(&object["metadata"]["name"]),
            param_kind: params
                .then(|| (text(&spec["paramKind"]["apiVersion"]), text(&spec["paramKind"]["kind"]))),
            ignores_failure: spec["failurePolicy"] == "Ignore",
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
            conditions: Condition::all(&spec["matchConditions"], &full),
            validations: validations(spec, &full, &plain),
            annotations: items(&spec["auditAnnotations"])
                .map(|one| {
                    let expression = text(&one["valueExpression"]);
                    let program = compile(&plain, &expression, &[Type::String, Type::Null]);
                    (text(&one["key"]), expression, program)
                })
                .collect(),
            mutations: mutations(spec, &full),
        }
    }
}

impl Condition {
    /// The `matchConditions` of a webhook, compiled.
    pub fn of_webhook(list: &Value) -> Vec<Condition> {
        let declared = Declared { authorizer: true, ..Declared::default() };
        if items(list).next().is_none() { Vec::new() } else { Condition::all(list, &environment(declared)) }
    }

    fn all(list: &Value, environment: &Environment) -> Vec<Condition> {
        items(list)
            .map(|one| {
                let expression = text(&one["expression"]);
                let program = compile(environment, &expression, &[Type::Bool]);
                Condition { name: text(&one["name"]), expression, program }
            })
            .collect()
    }
}

fn validations(spec: &Value, full: &Environment, plain: &Environment) -> Vec<Validation> {
    items(&spec["validations"])
        .map(|one| {
            let expression = text(&one["expression"]);
            let message = one["messageExpression"].as_str().filter(|source| !source.trim().is_empty());
            Validation {
                program: compile(full, &expression, &[Type::Bool]),
                expression,
                message: text(&one["message"]),
                message_program: message
                    .map(|source| (source.to_owned(), compile(plain, source, &[Type::String]))),
                reason: text(&one["reason"]),
            }
        })
        .collect()
}

fn mutations(spec: &Value, environment: &Environment) -> Vec<Mutation> {
    items(&spec["mutations"])
        .map(|one| {
            let (kind, field, result) = if one["patchType"] == "JSONPatch" {
                let patch = Type::list(Type::object("JSONPatch", []));
                (MutationKind::JsonPatch, "jsonPatch", patch)
            } else {
                (MutationKind::ApplyConfiguration, "applyConfiguration", Type::object("Object", []))
            };
            let expression = text(&one[field]["expression"]);
            let program = compile(environment, &expression, &[result]);
            Mutation { kind, expression, program }
        })
        .collect()
}
