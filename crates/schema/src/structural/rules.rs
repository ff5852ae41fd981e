//! Rules of `x-kubernetes-validations`: compiled with the definition, evaluated for each object.
//!
//! Invariant: all rules about one object share one budget; a rule that names the old value runs only where there is one to
//! compare, or is told that there is none. Answers to apiextensions' `schema/cel` compilation and validation.

use super::{Additional, Old, Rule, Structural};
use crate::cel::{
    Activation, Budget, Environment, Error, Program, Sizes, Stage, Type, Value as Cel, from_schema,
};
use crate::shape::ListKind;
use gifee_base::FieldError;
use gifee_base::field::{ErrorType, Path};
use serde_json::Value;
use std::collections::BTreeMap;

const OLD_SELF: usize = 1;
/// The longest message that an expression may make.
const MESSAGE_BYTES: usize = 5 << 10;

/// The compiled rules of a schema; only nodes that have some, or lead to some.
#[derive(Debug)]
pub struct Rules {
    kind: Option<Type>,
    own: Vec<Compiled>,
    properties: BTreeMap<Box<str>, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

/// One rule.
#[derive(Debug)]
pub struct Compiled {
    /// As it is written.
    pub source: Rule,
    /// The rule, or what is wrong with it.
    pub program: Result<Program, String>,
    /// What makes its message, or what is wrong with that.
    pub message: Option<Result<Program, String>>,
    /// What one evaluation of the rule, and of what makes its message, can cost at most.
    pub most: (u64, u64),
}

impl Compiled {
    /// Whether it compares with the old value.
    pub fn is_transition(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses(OLD_SELF))
    }
}

/// Compiles the rules of one node, of which `schema` is the JSON.
pub fn compile(rules: &[Rule], schema: &Value, root: bool) -> Vec<Compiled> {
    if rules.is_empty() {
        return Vec::new();
    }
    let Some(kind) = from_schema(schema, root) else { return Vec::new() };
    let sizes = Sizes::of(schema, root).unwrap_or_default();
    rules.iter().map(|rule| compiled(rule, &kind, &sizes)).collect()
}

fn compiled(rule: &Rule, kind: &Type, sizes: &Sizes) -> Compiled {
    let old = if rule.optional_old_self == Some(true) { Type::optional(kind.clone()) } else { kind.clone() };
    let environment = Environment::new().variable("self", kind.clone()).variable("oldSelf", old);
    let compile = |source: &str, kind: Type| {
        environment.estimate(source, &[kind], sizes).map_err(|error| match error.stage() {
            Stage::Source => format!("compilation failed: {error}"),
            Stage::Result => error.to_string(),
            Stage::Program => format!("program instantiation failed: {error}"),
        })
    };
    let message = (!rule.message_expression.is_empty()).then(|| {
        compile(&rule.message_expression, Type::String).map_err(|error| format!("messageExpression {error}"))
    });
    let program = compile(&rule.rule, Type::Bool);
    let cost = |compiled: &Result<(Program, u64), String>| compiled.as_ref().map_or(0, |(_, cost)| *cost);
    let most = (cost(&program), message.as_ref().map_or(0, cost));
    let only = |compiled: Result<(Program, u64), String>| compiled.map(|(program, _)| program);
    Compiled { source: rule.clone(), program: only(program), message: message.map(only), most }
}

impl Rules {
    /// Compiles all rules of a schema; None if it has none.
    pub fn new(structural: &Structural, schema: &Value) -> Option<Self> {
        Self::node(structural, schema, true)
    }

    fn node(structural: &Structural, schema: &Value, root: bool) -> Option<Self> {
        let child = |one: &Structural, schema: &Value| Self::node(one, schema, one.embedded);
        let properties: BTreeMap<_, _> = structural
            .properties
            .iter()
            .filter_map(|(name, one)| Some((name.clone(), child(one, &schema["properties"][&**name])?)))
            .collect();
        let additional = match &structural.additional {
            Some(Additional::Schema(one)) => child(one, &schema["additionalProperties"]).map(Box::new),
            _ => None,
        };
        let items = structural.items.as_ref().and_then(|one| child(one, &schema["items"])).map(Box::new);
        let own = compile(&structural.rules, schema, root || structural.embedded);
        let leads = !properties.is_empty() || additional.is_some() || items.is_some();
        let kind = if own.is_empty() { None } else { from_schema(schema, root || structural.embedded) };
        (leads || !own.is_empty()).then_some(Self { kind, own, properties, additional, items })
    }

    /// What the rules find wrong with an object.
    pub fn violations(
        &self,
        structural: &Structural,
        object: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        let mut walk = Walk { budget: Budget::default(), errors: Vec::new(), ended: false };
        let old = old.map(|old| Old::new(old, structural));
        walk.node(self, structural, object, old, &Path::root(""));
        walk.errors
    }
}

struct Walk {
    budget: Budget,
    errors: Vec<FieldError>,
    ended: bool,
}

impl Walk {
    fn node(
        &mut self,
        rules: &Rules,
        schema: &Structural,
        value: &Value,
        old: Option<Old<'_>>,
        path: &Path<'_>,
    ) {
        if self.ended || value.is_null() {
            return;
        }
        self.own(rules, schema, value, old, path);
        match value {
            Value::Object(map) => {
                // Objects that are replaced whole are not compared part by part.
                let old = old.filter(|_| !schema.atomic);
                for (key, value) in map {
                    let old = old.and_then(|old| old.field(key));
                    if let Some((inner, one)) =
                        rules.properties.get(key.as_str()).zip(schema.properties.get(key.as_str()))
                    {
                        self.node(inner, one, value, old, &path.child(key));
                    } else if let (Some(inner), Some(Additional::Schema(one))) =
                        (&rules.additional, &schema.additional)
                        && !schema.properties.contains_key(key.as_str())
                    {
                        self.node(inner, one, value, old, &path.key(key));
                    }
                }
            }
            Value::Array(list) => {
                let Some((inner, one)) = rules.items.as_ref().zip(schema.items.as_ref()) else { return };
                let old = old.filter(|_| schema.list == Some(ListKind::Map));
                for (index, value) in list.iter().enumerate() {
                    let old = old.and_then(|old| old.item(value));
                    self.node(inner, one, value, old, &path.index(index));
                }
            }
            _ => {}
        }
    }

    fn own(
        &mut self,
        rules: &Rules,
        schema: &Structural,
        value: &Value,
        old: Option<Old<'_>>,
        path: &Path<'_>,
    ) {
        let Some(kind) = &rules.kind else { return };
        let word = schema.kind.map_or("", |kind| kind.as_str());
        let typed = match Cel::typed(value, kind) {
            Ok(typed) => typed,
            Err(error) => return self.say(path, word, &format!("{error}")),
        };
        let old_value = old.map(|old| old.value()).filter(|old| !old.is_null());
        let old_typed = old_value.and_then(|old| Cel::typed(old, kind).ok());
        let unchanged = old.is_some_and(|old| old.equals(value));
        for rule in &rules.own {
            if self.ended {
                return;
            }
            let program = match &rule.program {
                Ok(program) => program,
                Err(error) => {
                    self.say(path, word, &format!("rule compile error: {error}"));
                    continue;
                }
            };
            let optional = rule.source.optional_old_self == Some(true);
            if program.uses(OLD_SELF) && old_typed.is_none() && !optional {
                continue;
            }
            let before = match (&old_typed, optional) {
                (Some(old), true) => Cel::some(old.clone()),
                (None, true) => Cel::Optional(None),
                (Some(old), false) => old.clone(),
                (None, false) => Cel::Null,
            };
            let mut activation = Activation::new(vec![typed.clone(), before]);
            let outcome = program.evaluate(&mut activation, &mut self.budget);
            match outcome {
                Ok(Cel::Bool(true)) => {}
                Ok(_) => self.broken(rule, schema, value, &mut activation, unchanged, path),
                Err(error) => self.failed(rule, &error, word, path),
            }
        }
    }

    fn say(&mut self, path: &Path<'_>, word: &str, why: &str) {
        self.push(ErrorType::Invalid, path, format!("Invalid value: {word:?}: {why}"));
    }

    fn push(&mut self, kind: ErrorType, path: &Path<'_>, body: String) {
        let field = match path.to_string() {
            text if text.is_empty() => "<nil>".to_owned(),
            text => text,
        };
        self.errors.push(FieldError::with_body(kind, field, body));
    }

    fn failed(&mut self, rule: &Compiled, error: &Error, word: &str, path: &Path<'_>) {
        let named = match rule.source.message.trim() {
            "" => rule.source.rule.trim(),
            message => message,
        };
        match error {
            Error::Limit => {
                self.ended = true;
                self.say(path, word, &format!("'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {named}"));
            }
            Error::Budget => {
                self.ended = true;
                self.say(path, word, &error.to_string());
            }
            Error::Failed(text) if text.starts_with("no such overload") => {
                self.say(path, word, &format!("'{error}': call arguments did not match a supported operator, function or macro signature for rule: {named}"));
            }
            Error::Failed(_) => self.say(path, word, &format!("{error} evaluating rule: {named}")),
        }
    }

    /// Reports a rule that does not hold.
    fn broken<'a>(
        &mut self,
        rule: &'a Compiled,
        schema: &Structural,
        value: &Value,
        activation: &mut Activation<'a>,
        unchanged: bool,
        path: &Path<'_>,
    ) {
        if unchanged && !rule.is_transition() {
            return;
        }
        let made = match &rule.message {
            Some(Ok(program)) => match program.evaluate(activation, &mut self.budget) {
                Ok(made) => made.as_text().map(str::trim).filter(|text| fits(text)).map(str::to_owned),
                Err(Error::Failed(_)) => None,
                Err(error) => {
                    self.ended = true;
                    let word = schema.kind.map_or("", |kind| kind.as_str());
                    let why = format!("messageExpression evaluation failed due to: {error}");
                    return self.say(path, word, &why);
                }
            },
            _ => None,
        };
        let detail = made.unwrap_or_else(|| match rule.source.message.trim() {
            "" => format!("failed rule: {}", rule.source.rule.trim()),
            message => message.to_owned(),
        });
        let shown = match value {
            Value::Object(_) | Value::Array(_) => String::new(),
            value => format!(": {}", super::number::shown(value)),
        };
        let at = match rule.source.field_path.as_str() {
            "" => path.to_string(),
            below => {
                let below = normalized(below);
                let own = path.to_string();
                if own.is_empty() { below.trim_start_matches('.').to_owned() } else { own + &below }
            }
        };
        let (kind, body) = match rule.source.reason.as_str() {
            "FieldValueForbidden" => (ErrorType::Forbidden, format!("Forbidden: {detail}")),
            "FieldValueRequired" => (ErrorType::Required, format!("Required value: {detail}")),
            "FieldValueDuplicate" => (ErrorType::Duplicate, format!("Duplicate value{shown}")),
            _ => (ErrorType::Invalid, format!("Invalid value{shown}: {detail}")),
        };
        let at = Path::root(&at);
        self.push(kind, &at, body);
    }
}

/// Whether a made message may be shown.
fn fits(text: &str) -> bool {
    !text.is_empty() && text.len() <= MESSAGE_BYTES && !text.contains(['\n', '\r'])
}

/// A path such as `.a['b.c']` as errors name it.
fn normalized(path: &str) -> String {
    path.replace("['", "[").replace("']", "]")
}
