//! Expressions in configurations of who may come in and what they may do.
//!
//! Invariant: an expression that is compiled fits what it is asked about. Answers to apiserver's
//! `authentication/cel` and `authorization/cel`.

use crate::authenticate::oidc::{Expression, Over};
use gifee_schema::cel::{Activation, Budget, Environment, PER_CALL, Program, Stage, Type, Value};
use serde_json::Value as Json;
use std::sync::{Arc, LazyLock};

static CLAIMS: LazyLock<Type> = LazyLock::new(|| Type::map(Type::String, Type::Dyn));

fn texts() -> Type {
    Type::list(Type::String)
}

static USER: LazyLock<Type> = LazyLock::new(|| {
    Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    )
});

/// The spec of a SubjectAccessReview.
static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let requirement = || {
        Type::list(Type::object(
            "kubernetes.SelectorRequirement",
            [("key", Type::String), ("operator", Type::String), ("values", texts())],
        ))
    };
    let selector =
        |name: &str| Type::object(name, [("rawSelector", Type::String), ("requirements", requirement())]);
    let resource = Type::object(
        "kubernetes.ResourceAttributes",
        [
            ("namespace", Type::String),
            ("verb", Type::String),
            ("group", Type::String),
            ("version", Type::String),
            ("resource", Type::String),
            ("subresource", Type::String),
            ("name", Type::String),
            ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
            ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
        ],
    );
    let other =
        Type::object("kubernetes.NonResourceAttributes", [("path", Type::String), ("verb", Type::String)]);
    Type::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", resource),
            ("nonResourceAttributes", other),
            ("user", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
            ("uid", Type::String),
        ],
    )
});

fn expression(
    text: &str,
    variable: &str,
    kind: &'static Type,
    results: &[Type],
) -> Result<Expression, String> {
    let environment = Environment::new().variable(variable, kind.clone());
    let program = environment.compile(text, results).map_err(|error| match error.stage() {
        Stage::Source => format!("compilation failed: {error}"),
        Stage::Result | Stage::Program => error.to_string(),
    })?;
    let program: Arc<Program> = Arc::new(program);
    let evaluate = move |value: &Json| {
        let mut budget = Budget::new(PER_CALL);
        let value = Value::typed(value, kind).map_err(|error| error.to_string())?;
        let mut activation = Activation::new(vec![value]);
        let found = program.evaluate(&mut activation, &mut budget).map_err(|error| error.to_string())?;
        found.to_json(&mut budget).map_err(|error| error.to_string())
    };
    Ok(Expression { text: text.to_owned(), evaluate: Arc::new(evaluate) })
}

/// An expression over claims or over a user.
///
/// # Errors
/// As upstream's compiler words them.
pub fn of_token(text: &str, over: Over) -> Result<Expression, String> {
    match over {
        Over::Claims => expression(text, "claims", &CLAIMS, &[]),
        Over::ClaimsRule => expression(text, "claims", &CLAIMS, &[Type::Bool]),
        Over::User => expression(text, "user", &USER, &[Type::Bool]),
    }
}

/// An expression over the spec of a SubjectAccessReview: `request`.
///
/// # Errors
/// As upstream's compiler words them.
pub fn of_request(text: &str) -> Result<Expression, String> {
    expression(text, "request", &REQUEST, &[Type::Bool])
}
