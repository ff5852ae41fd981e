//! Asking a compiled policy about one request, with one set of parameters.
//!
//! Answers to apiserver's `policy/validating/validator.go` and `webhook/matchconditions`.

use gifee_base::Reason;
use gifee_schema::cel::admission::{
    AUTHORIZER, NAMESPACE, OBJECT, OLD_OBJECT, PARAMS, PLACES, REQUEST, REQUEST_RESOURCE,
};
use gifee_schema::cel::{
    Activation, Authorize, Budget, Check, Error, PER_MATCH_CONDITIONS, PER_OBJECT, Program, Request, Value,
};
use serde_json::Value as Json;
use std::sync::Arc;

use super::compile::{Compiled, Condition, Policy, Validation};

/// The longest message that an expression may give, in bytes.
const MESSAGE_BYTES: usize = 5 * 1024;

/// What expressions may look at.
pub struct Input<'a> {
    /// The object as it is to be, or null.
    pub object: &'a Json,
    /// The object as it is, or null.
    pub old: &'a Json,
    /// The namespace it is in, or null.
    pub namespace: &'a Json,
    /// The admission request without its objects.
    pub request: &'a Json,
    /// The parameters, or null.
    pub params: &'a Json,
    /// Who decides what the user may.
    pub authorizer: &'a dyn Authorize,
    /// The request itself, as an authorizer sees it.
    pub resource: &'a Request,
}

impl<'a> Input<'a> {
    pub(super) fn activation(&self) -> Activation<'a> {
        let mut values = vec![Value::Null; PLACES];
        values[OBJECT] = Value::dynamic(self.object);
        values[OLD_OBJECT] = Value::dynamic(self.old);
        values[NAMESPACE] = Value::dynamic(self.namespace);
        values[REQUEST] = Value::dynamic(self.request);
        values[PARAMS] = Value::dynamic(self.params);
        values[AUTHORIZER] = Value::Check(Arc::new(Check::new(self.authorizer)));
        values[REQUEST_RESOURCE] =
            Value::Check(Arc::new(Check::resource(self.authorizer, self.resource.clone())));
        Activation::new(values)
    }
}

/// Something that speaks against the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which validation it is of.
    pub index: usize,
    /// What to say.
    pub message: String,
    /// The reason of the refusal; `Invalid` if the policy names none.
    pub reason: Reason,
    /// Whether it could not be evaluated.
    pub failed: bool,
}

/// An annotation for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its key, without the policy's name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What a policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What speaks against the request: the binding says what follows.
    pub denials: Vec<Denial>,
    /// What could not be evaluated, where that does not count.
    pub passed_over: Vec<String>,
    /// For the audit log.
    pub published: Vec<Published>,
    /// Annotations that could not be made: the request is refused whatever the binding says.
    pub broken: Vec<String>,
}

/// The outcome of one expression, in upstream's words; `Err(None)` if the budget is spent.
pub(super) fn evaluate<'a>(
    compiled: &'a Compiled,
    expression: &str,
    activation: &mut Activation<'a>,
    budget: &mut Budget,
) -> Result<Result<Value<'a>, String>, String> {
    let program: &Program = match compiled {
        Ok(program) => program,
        Err(error) => return Ok(Err(format!("compilation error: {error}"))),
    };
    match program.evaluate(activation, budget) {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Budget) => Err(Error::Budget.to_string()),
        Err(error) => Ok(Err(format!("expression '{expression}' resulted in error: {error}"))),
    }
}

/// Whether all conditions hold. A condition that does not hold counts more than one that fails.
///
/// # Errors
/// What failed, if the failure counts.
pub fn matches(policy: &Policy, input: &Input<'_>) -> Result<bool, String> {
    hold(&policy.conditions, policy.ignores_failure, input)
}

/// Whether all of some conditions hold.
///
/// # Errors
/// What failed, if the failure counts.
pub fn hold(conditions: &[Condition], ignores_failure: bool, input: &Input<'_>) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let mut activation = input.activation();
    let mut budget = Budget::new(PER_MATCH_CONDITIONS);
    let mut failures = Vec::new();
    for condition in conditions {
        match evaluate(&condition.program, &condition.expression, &mut activation, &mut budget) {
            Ok(Ok(Value::Bool(false))) => return Ok(false),
            Ok(Ok(_)) => {}
            Ok(Err(why)) => failures.push(why),
            Err(_) if ignores_failure => return Ok(false),
            Err(why) => return Err(why),
        }
    }
    match failures.as_slice() {
        [] => Ok(true),
        _ if ignores_failure => Ok(false),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// Asks a validating policy whose conditions hold.
pub fn judge(policy: &Policy, input: &Input<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let failed =
        |message: String, index: usize| Denial { index, message, reason: Reason::Invalid, failed: true };
    let mut activation = input.activation();
    let mut budget = Budget::new(PER_OBJECT);
    let mut results = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        match evaluate(&validation.program, &validation.expression, &mut activation, &mut budget) {
            Ok(result) => results.push(result),
            Err(why) => {
                if policy.ignores_failure {
                    verdict.passed_over.push(why);
                } else {
                    verdict.denials.push(failed(why, 0));
                }
                return verdict;
            }
        }
    }
    for (index, (validation, result)) in policy.validations.iter().zip(results).enumerate() {
        match result {
            Ok(Value::Bool(true)) => {}
            Ok(_) => {
                let message = message(validation, &mut activation, &mut budget);
                let reason = match validation.reason.as_str() {
                    "" => Reason::Invalid,
                    word => Reason::parse(word),
                };
                verdict.denials.push(Denial { index, message, reason, failed: false });
            }
            Err(why) if policy.ignores_failure => verdict.passed_over.push(why),
            Err(why) => verdict.denials.push(failed(why, index)),
        }
    }
    annotations(policy, &mut activation, &mut verdict);
    verdict
}

/// What is said about a validation that does not hold.
fn message<'a>(validation: &'a Validation, activation: &mut Activation<'a>, budget: &mut Budget) -> String {
    if let Some((source, program)) = &validation.message_program
        && let Ok(Ok(Value::String(text))) = evaluate(program, source, activation, budget)
    {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MESSAGE_BYTES && !text.contains('\n') {
            return text.to_owned();
        }
    }
    let text = validation.message.trim();
    if text.is_empty() {
        format!("failed expression: {}", validation.expression.trim())
    } else {
        text.to_owned()
    }
}

fn annotations<'a>(policy: &'a Policy, activation: &mut Activation<'a>, verdict: &mut Verdict) {
    let mut budget = Budget::new(PER_OBJECT);
    for (key, expression, program) in &policy.annotations {
        let result = evaluate(program, expression, activation, &mut budget).unwrap_or_else(Err);
        match result {
            Ok(Value::String(text)) if text.trim().is_empty() => {}
            Ok(Value::String(text)) => {
                verdict.published.push(Published { key: key.clone(), value: text.trim().to_owned() });
            }
            Ok(Value::Null) => {}
            Ok(other) => verdict.broken.push(format!(
                "valueExpression '{expression}' resulted in unsupported return type: {}. Return type must be either \
                 string or null.",
                other.type_name()
            )),
            Err(_) if policy.ignores_failure => {}
            Err(why) => verdict.broken.push(why),
        }
    }
}
