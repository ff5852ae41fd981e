//! Value validation, in upstream's order and words, and how errors in unchanged values are passed over.
//!
//! Invariant: a value that its old form equals, and every value inside it, is not reported on an update. Of alternatives
//! none of which holds, the errors of the one are reported that came closest, by upstream's count of steps. Answers
//! to kube-openapi's `validation/validate` and apiextensions' ratcheting validator.

use super::number::{float, shown, whole};
use super::{Additional, Limits, Structural, Type, format};
use crate::shape::ListKind;
use gifee_base::FieldError;
use gifee_base::field::ErrorType;
use serde_json::{Number, Value};

/// The old form of a value: what an update is compared with. The schema is the one that says what lists' items are.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a> {
    value: &'a Value,
    schema: &'a Structural,
}

impl<'a> Old<'a> {
    /// The old form of a whole object.
    pub fn new(value: &'a Value, schema: &'a Structural) -> Self {
        Self { value, schema }
    }

    /// The old form.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The old form of a field.
    pub fn field(&self, name: &str) -> Option<Old<'a>> {
        Some(Old { value: self.value.get(name)?, schema: self.schema.field(name)? })
    }

    /// The old form of an item of a list: only items of map lists are told apart.
    pub fn item(&self, item: &Value) -> Option<Old<'a>> {
        let (Value::Array(list), Some(items)) = (self.value, &self.schema.items) else { return None };
        if self.schema.list != Some(ListKind::Map) {
            return None;
        }
        let key = self.schema.key_of(item);
        let value = list.iter().find(|one| self.schema.key_of(one) == key)?;
        Some(Old { value, schema: items })
    }

    /// Whether a value is what it was.
    pub(super) fn equals(&self, value: &Value) -> bool {
        match (self.value, value) {
            (Value::Array(old), Value::Array(new)) if self.schema.list == Some(ListKind::Map) => {
                old.len() == new.len()
                    && new.iter().all(|one| self.item(one).is_some_and(|old| old.equals(one)))
            }
            (Value::Object(old), Value::Object(new)) => {
                let same = |(key, value): (&String, &Value)| match self.field(key) {
                    Some(old) => old.equals(value),
                    // Upstream compares only what a schema speaks of.
                    None => false,
                };
                old.len() == new.len() && new.iter().all(same)
            }
            (old, new) => old == new,
        }
    }
}

/// Whether an error keeps rules from being evaluated: values may not be what the rules' types say.
pub fn unsettled(errors: &[FieldError]) -> bool {
    errors.iter().any(|error| {
        matches!(
            error.kind,
            ErrorType::NotSupported
                | ErrorType::Required
                | ErrorType::TooLong
                | ErrorType::TooMany
                | ErrorType::TypeInvalid
        )
    })
}

/// One error, and the text by which a second one like it is told.
struct Found {
    error: FieldError,
    text: String,
}

/// What one check found, and how many steps of it went well.
#[derive(Default)]
struct Outcome {
    found: Vec<Found>,
    steps: usize,
}

impl Outcome {
    fn add(&mut self, found: Found) {
        if !self.found.iter().any(|one| one.text == found.text) {
            self.found.push(found);
        }
    }

    fn merge(&mut self, other: Outcome) {
        other.found.into_iter().for_each(|one| self.add(one));
        self.steps += other.steps;
    }

    fn holds(&self) -> bool {
        self.found.is_empty()
    }
}

/// A walk: what paths begin with, and whether the object's own fields are looked at as such.
struct Walk<'a> {
    /// What stands before every path: empty, or the field that is validated alone.
    base: &'a str,
}

impl Structural {
    /// What is wrong with a value, an object or the field `base` of one.
    pub fn violations(&self, value: &Value, old: Option<Old<'_>>, base: &str) -> Vec<FieldError> {
        let outcome = Walk { base }.ratcheted(self, value, old, "");
        outcome.found.into_iter().map(|one| one.error).collect()
    }
}

impl Walk<'_> {
    fn field(&self, path: &str) -> String {
        match (self.base, path.trim_start_matches('.')) {
            // As Go prints a path that there is none of.
            ("", "") => "<nil>".to_owned(),
            ("", path) => path.to_owned(),
            (base, "") => base.to_owned(),
            (base, path) => format!("{base}.{path}"),
        }
    }

    fn error(&self, kind: ErrorType, path: &str, body: String, text: String) -> Found {
        Found { error: FieldError::with_body(kind, self.field(path), body), text }
    }

    fn invalid(&self, path: &str, value: Option<&Value>, text: String) -> Found {
        let shown = value.map_or("\"\"".to_owned(), shown);
        self.error(ErrorType::Invalid, path, format!("Invalid value: {shown}: {text}"), text)
    }

    /// About the whole of an alternative: it is reported at the root, as upstream does.
    fn composite(&self, text: String) -> Found {
        let field = if self.base.is_empty() { "<nil>".to_owned() } else { self.base.to_owned() };
        let body = format!("Invalid value: \"\": {text}");
        Found { error: FieldError::with_body(ErrorType::Invalid, field, body), text }
    }

    fn wrong_type(&self, path: &str, wanted: &str, given: &str) -> Found {
        let text = format!("{path} in body must be of type {wanted}: {}", crate::go::quote(given));
        let body = format!("Invalid value: {}: {text}", crate::go::quote(given));
        self.error(ErrorType::TypeInvalid, path, body, text)
    }

    fn ratcheted(&self, schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str) -> Outcome {
        let mut outcome = self.node(schema, value, old, path);
        if !outcome.holds() && old.is_some_and(|old| old.equals(value)) {
            outcome.found.clear();
        }
        outcome
    }

    /// All checks of one node.
    fn node(&self, schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let limits = schema.limits.as_deref();
        if value.is_null() {
            outcome.merge(self.kind(schema, value, path));
            outcome.merge(self.listed(limits, value, path));
            return outcome;
        }
        let typed =
            schema.kind.is_some() || schema.int_or_string || limits.is_some_and(|one| !one.format.is_empty());
        if typed {
            outcome.merge(self.kind(schema, value, path));
            outcome.steps += 1;
        }
        if let Some(limits) = limits {
            outcome.merge(self.alternatives(limits, value, old, path));
        }
        outcome.steps += 2;
        match value {
            Value::String(text) => {
                if let Some(limits) = limits {
                    outcome.merge(self.text(limits, text, value, path));
                    outcome.merge(self.format(limits, text, path));
                }
                outcome.steps += 2;
            }
            Value::Number(number) => {
                outcome.merge(self.number(schema, number, value, path));
                outcome.steps += 1;
            }
            Value::Array(list) => {
                outcome.merge(self.list(schema, list, old, path));
                outcome.steps += 1;
            }
            _ => {}
        }
        outcome.merge(self.listed(limits, value, path));
        outcome.steps += 1;
        if let Value::Object(_) = value {
            outcome.merge(self.object(schema, value, old, path));
            outcome.steps += 1;
        }
        outcome.steps += 1;
        outcome
    }

    fn kind(&self, schema: &Structural, value: &Value, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let wanted = match schema.kind {
            Some(kind) => kind.as_str(),
            None if schema.int_or_string => "integer,string",
            None => "",
        };
        let format = schema.limits.as_deref().map_or("", |limits| &limits.format);
        let given = word(value);
        let fits = match value {
            Value::Null => wanted.is_empty() || schema.nullable,
            // A format alone, and one beside texts, is looked at by itself.
            Value::String(_) | Value::Array(_)
                if !format.is_empty() && !matches!(schema.kind, Some(Type::Integer | Type::Number)) =>
            {
                true
            }
            Value::Number(number) if wanted.contains("integer") => integral(number),
            Value::Number(_) if wanted == "number" => true,
            _ => wanted.split(',').any(|one| one == given),
        };
        if fits {
            outcome.steps = 1;
            return outcome;
        }
        let plain = !matches!(value, Value::String(_) | Value::Array(_) | Value::Null);
        let found = if plain && !format.is_empty() {
            let format_of = match value {
                Value::Number(number) if whole(number).is_some() => "int64",
                Value::Number(_) => "float64",
                _ => "",
            };
            self.wrong_type(path, format, format_of)
        } else {
            self.wrong_type(path, wanted, given)
        };
        outcome.add(found);
        outcome
    }

    fn listed(&self, limits: Option<&Limits>, value: &Value, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(limits) = limits.filter(|limits| !limits.values.is_empty()) else { return outcome };
        if limits.values.iter().any(|one| same(one, value)) {
            return outcome;
        }
        let values: Vec<String> = limits
            .values
            .iter()
            .map(|one| crate::go::quote(one.as_str().map_or_else(|| one.to_string(), str::to_owned).as_str()))
            .collect();
        let list = values.join(", ");
        let shown = shown(value);
        let body = format!("Unsupported value: {shown}: supported values: {list}");
        outcome.add(self.error(
            ErrorType::NotSupported,
            path,
            body,
            format!("{path} in body should be one of {list}"),
        ));
        outcome
    }

    fn text(&self, limits: &Limits, text: &str, value: &Value, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(maximum) = limits.max_length.filter(|maximum| length() > *maximum) {
            let body = match maximum {
                0.. => {
                    format!(
                        "Too long: may not be more than {maximum} byte{}",
                        if maximum == 1 { "" } else { "s" }
                    )
                }
                _ => "Too long: value is too long".to_owned(),
            };
            let text = format!("{path} in body should be at most {maximum} chars long");
            outcome.add(self.error(ErrorType::TooLong, path, body, text));
        } else if let Some(minimum) = limits.min_length.filter(|minimum| length() < *minimum) {
            let text = format!("{path} in body should be at least {minimum} chars long");
            outcome.add(self.invalid(path, Some(value), text));
        } else if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            let text = match pattern.error() {
                Some(error) => {
                    format!(
                        "{path} in body should match '{}, but pattern is invalid: {error}'",
                        pattern.source()
                    )
                }
                None => format!("{path} in body should match '{}'", pattern.source()),
            };
            outcome.add(self.invalid(path, Some(value), text));
        }
        outcome
    }

    fn format(&self, limits: &Limits, text: &str, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        if format::holds(&limits.format, text) == Some(false) {
            outcome.add(self.wrong_type(path, &limits.format, text));
        }
        outcome
    }

    fn number(&self, schema: &Structural, number: &Number, value: &Value, path: &str) -> Outcome {
        let mut outcome = Outcome { steps: 1, ..Outcome::default() };
        let limits = schema.limits.as_deref();
        let format = limits.map_or("", |limits| &limits.format);
        if let Some(text) = out_of_range(schema.kind, format, number, path) {
            outcome.add(self.composite(text));
        }
        let Some(limits) = limits else { return outcome };
        if let Some(factor) = limits.multiple_of {
            let text = if factor <= 0.0 {
                Some(format!("factor MultipleOf declared for {path} must be positive: {}", float(factor)))
            } else {
                (!is_multiple(number, factor))
                    .then(|| format!("{path} in body should be a multiple of {}", float(factor)))
            };
            outcome.found.extend(text.map(|text| self.invalid(path, Some(value), text)));
        }
        let (low, high) = (limits.minimum, limits.maximum);
        if let Some(minimum) = low.filter(|bound| !above(number, *bound, limits.exclusive_minimum)) {
            let than = if limits.exclusive_minimum { "than" } else { "than or equal to" };
            let text = format!("{path} in body should be greater {than} {}", float(minimum));
            outcome.add(self.invalid(path, Some(value), text));
        }
        if let Some(maximum) = high.filter(|bound| !below(number, *bound, limits.exclusive_maximum)) {
            let than = if limits.exclusive_maximum { "than" } else { "than or equal to" };
            let text = format!("{path} in body should be less {than} {}", float(maximum));
            outcome.add(self.invalid(path, Some(value), text));
        }
        outcome
    }

    fn list(&self, schema: &Structural, list: &[Value], old: Option<Old<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome { steps: 1, ..Outcome::default() };
        if let Some(items) = &schema.items {
            for (index, value) in list.iter().enumerate() {
                let old = old.and_then(|old| old.item(value));
                outcome.merge(self.ratcheted(items, value, old, &format!("{path}[{index}]")));
            }
        }
        let Some(limits) = &schema.limits else { return outcome };
        let size = i64::try_from(list.len()).unwrap_or(i64::MAX);
        if let Some(minimum) = limits.min_items.filter(|minimum| size < *minimum) {
            let text = format!("{path} in body should have at least {minimum} items");
            outcome.add(self.invalid(path, Some(&size.into()), text));
        }
        if let Some(maximum) = limits.max_items.filter(|maximum| size > *maximum) {
            let text = format!("{path} in body should have at most {maximum} items");
            outcome.add(self.too_many(path, size, maximum, text));
        }
        let twice = |index: usize, one: &Value| list[..index].contains(one);
        if limits.unique_items && list.iter().enumerate().any(|(index, one)| twice(index, one)) {
            outcome.add(self.invalid(path, None, format!("{path} in body shouldn't contain duplicates")));
        }
        outcome
    }

    fn too_many(&self, path: &str, size: i64, maximum: i64, text: String) -> Found {
        let items = if maximum == 1 { "item" } else { "items" };
        let body = format!("Too many: {size}: must have at most {maximum} {items}");
        self.error(ErrorType::TooMany, path, body, text)
    }

    fn object(&self, schema: &Structural, value: &Value, old: Option<Old<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let Value::Object(map) = value else { return outcome };
        let limits = schema.limits.as_deref();
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(minimum) = limits.and_then(|one| one.min_properties).filter(|minimum| size < *minimum) {
            let text = format!("{path} in body should have at least {minimum} properties");
            outcome.add(self.invalid(path, Some(&size.into()), text));
        }
        if let Some(maximum) = limits.and_then(|one| one.max_properties).filter(|maximum| size > *maximum) {
            let text = format!("{path} in body should have at most {maximum} properties");
            outcome.add(self.too_many(path, size, maximum, text));
        }
        // The type's own fields may differ without anybody having changed them.
        let old_of = |key: &str| match (path, key) {
            ("", "kind" | "apiVersion") => None,
            _ => old.and_then(|old| old.field(key)),
        };
        for (key, value) in map.iter().filter(|(key, _)| !schema.properties.contains_key(key.as_str())) {
            match &schema.additional {
                Some(Additional::Allowed(false)) => {
                    let text = format!("{path}.{key} in body is a forbidden property");
                    outcome.add(self.invalid(path, Some(&key.as_str().into()), text));
                }
                Some(Additional::Schema(schema)) => {
                    outcome.merge(self.ratcheted(schema, value, old_of(key), &format!("{path}.{key}")));
                }
                _ => {}
            }
        }
        for (name, schema) in &schema.properties {
            if let Some(value) = map.get(&**name) {
                let inner = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                outcome.merge(self.ratcheted(schema, value, old_of(name), &inner));
            }
        }
        for name in limits.into_iter().flat_map(|limits| &limits.required) {
            if !map.contains_key(&**name) {
                let inner = format!("{path}.{name}");
                let text = format!("{inner} in body is required");
                outcome.add(self.error(ErrorType::Required, &inner, "Required value".to_owned(), text));
            }
        }
        outcome
    }

    fn alternatives(&self, limits: &Limits, value: &Value, old: Option<Old<'_>>, path: &str) -> Outcome {
        let mut outcome = Outcome { steps: 1, ..Outcome::default() };
        let quoted = crate::go::quote(path);
        if !limits.any_of.is_empty() {
            let (holding, best) = self.each(&limits.any_of, value, old, path, true);
            if holding == 0 {
                outcome.add(self.composite(format!("{quoted} must validate at least one schema (anyOf)")));
            }
            outcome.merge(best);
        }
        if !limits.one_of.is_empty() {
            let (holding, best) = self.each(&limits.one_of, value, old, path, false);
            let why = match holding {
                0 => "Found none valid".to_owned(),
                more => format!("Found {more} valid alternatives"),
            };
            if holding != 1 {
                outcome.add(
                    self.composite(format!("{quoted} must validate one and only one schema (oneOf). {why}")),
                );
            }
            if holding < 2 {
                outcome.merge(best);
            }
        }
        if !limits.all_of.is_empty() {
            let mut holding = 0;
            for one in &limits.all_of {
                let result = self.node(one, value, old, path);
                holding += usize::from(result.holds());
                outcome.merge(result);
            }
            if holding != limits.all_of.len() {
                let why = if holding == 0 { ". None validated" } else { "" };
                outcome.add(self.composite(format!("{quoted} must validate all the schemas (allOf){why}")));
            }
        }
        if let Some(not) = &limits.not
            && self.node(not, value, old, path).holds()
        {
            outcome.add(self.composite(format!("{quoted} must not validate the schema (not)")));
        }
        outcome
    }

    /// How many alternatives hold, and the outcome of the first that does or of the one that came closest.
    fn each(
        &self,
        alternatives: &[Structural],
        value: &Value,
        old: Option<Old<'_>>,
        path: &str,
        stop: bool,
    ) -> (usize, Outcome) {
        let (mut holding, mut best, mut first) = (0, None::<Outcome>, None);
        for one in alternatives {
            let result = self.node(one, value, old, path);
            if result.holds() {
                holding += 1;
                first.get_or_insert(result);
                if stop {
                    break;
                }
            } else if holding == 0 && best.as_ref().is_none_or(|best| result.steps > best.steps) {
                best = Some(result);
            }
        }
        (holding, first.or(best).unwrap_or_default())
    }
}

/// The word for what a value is.
fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if whole(number).is_some() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a number is an integer, or a float that is one.
fn integral(number: &Number) -> bool {
    whole(number).is_some()
        || number.as_f64().is_some_and(|float| float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_991.0)
}

/// Whether two values are one, where 1 and 1.0 are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    }
}

fn above(number: &Number, bound: f64, exclusive: bool) -> bool {
    match whole(number) {
        Some(value) if bound.fract() == 0.0 && bound.abs() < 9.2e18 => {
            if exclusive {
                value > bound as i64
            } else {
                value >= bound as i64
            }
        }
        _ => number.as_f64().is_some_and(|value| if exclusive { value > bound } else { value >= bound }),
    }
}

fn below(number: &Number, bound: f64, exclusive: bool) -> bool {
    match whole(number) {
        Some(value) if bound.fract() == 0.0 && bound.abs() < 9.2e18 => {
            if exclusive {
                value < bound as i64
            } else {
                value <= bound as i64
            }
        }
        _ => number.as_f64().is_some_and(|value| if exclusive { value < bound } else { value <= bound }),
    }
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    if let Some(value) = whole(number).filter(|_| factor.fract() == 0.0 && factor.abs() < 9.2e18) {
        return value % (factor as i64) == 0;
    }
    let Some(value) = number.as_f64() else { return false };
    let times = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
    // As close to a whole number as floats can tell.
    let difference = (times - times.round()).abs();
    difference == 0.0 || difference / times.abs().max(f64::MIN_POSITIVE) < 1e-9
}

/// Why a number does not fit the width that its format names.
fn out_of_range(kind: Option<Type>, format: &str, number: &Number, path: &str) -> Option<String> {
    let (word, fits) = match (kind, format) {
        (Some(Type::Integer), "int32") => {
            ("integer", whole(number).is_some_and(|value| i32::try_from(value).is_ok()))
        }
        (Some(Type::Integer), _) => ("integer", integral(number)),
        (Some(Type::Number), "float") => {
            ("number", number.as_f64().is_some_and(|value| value.abs() <= f64::from(f32::MAX)))
        }
        _ => return None,
    };
    let width = match format {
        "" => " (default format)".to_owned(),
        format => format!(" with format {format}"),
    };
    (!fits).then(|| format!("Checked value must be of type {word}{width} in {path}"))
}
