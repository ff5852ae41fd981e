//! What an applied configuration says: the set of its fields, and whether it fits its schema.
//!
//! Answers to structured-merge-diff's `typed/tofieldset.go` and `typed/validate.go`, whose texts clients see.

use serde_json::Value;

use super::element::Element;
use super::set::Set;
use super::typing::{Atom, List, Scalar, Type};
use crate::shape::ListKind;
use crate::{Schema, go};

/// The fields that an object gives a value.
pub fn field_set(schema: Option<&Schema>, object: &Value) -> Set {
    let mut set = Set::default();
    extract(Type::of(schema), object, &mut set);
    set
}

/// Puts what is below a value into `set`; true if the value itself is a member.
pub(super) fn extract(kind: Type<'_>, value: &Value, set: &mut Set) -> bool {
    match kind.atom(Some(value)) {
        Atom::Scalar(_) => true,
        Atom::List(list) => {
            if list.kind == ListKind::Atomic {
                return true;
            }
            let Value::Array(items) = value else { return false };
            extract_items(&list, items, set);
            false
        }
        Atom::Map(fields) => {
            if fields.atomic {
                return true;
            }
            let Value::Object(map) = value else { return false };
            for (name, value) in map {
                let step = fields.step(name);
                let kind = step.map_or(Type::Deduced, |step| step.kind);
                let mut below = Set::default();
                let mut member = extract(kind, value, &mut below);
                member |= value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                member |= step.is_none_or(|step| !step.declared);
                if member || !below.is_empty() {
                    let node = set.entry(Element::field(name));
                    (node.member, node.below) = (member, below);
                }
            }
            false
        }
    }
}

fn extract_items(list: &List<'_>, items: &[Value], set: &mut Set) {
    let mut elements: Vec<_> =
        items.iter().filter_map(|item| Some((list.element(item).ok()?, item))).collect();
    elements.sort_by(|left, right| left.0.cmp(&right.0));
    let mut rest = &elements[..];
    while let Some((element, item)) = rest.first() {
        let same = rest.iter().take_while(|other| other.0 == *element).count();
        let mut below = Set::default();
        // Items that cannot be told apart are one field together.
        if same == 1 {
            extract(list.item, item, &mut below);
        }
        let node = set.entry(element.clone());
        (node.member, node.below) = (true, below);
        rest = &rest[same..];
    }
}

/// Checks a configuration against its schema: known fields, types, and items told apart by their keys.
///
/// # Errors
/// What is wrong, in upstream's words.
pub fn validate(schema: Option<&Schema>, object: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    check(Type::of(schema), object, &mut String::new(), &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

/// The most errors about one configuration that are told.
const MAXIMUM_ERRORS: usize = 100;

fn check(kind: Type<'_>, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    if errors.len() >= MAXIMUM_ERRORS {
        return;
    }
    let mut wrong = |path: &str, what: String| {
        errors.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    match (kind.atom(Some(value)), value) {
        (_, Value::Null) => {}
        (Atom::Scalar(scalar), value) => {
            if let Some(what) = unfit(scalar, value) {
                wrong(path, what);
            }
        }
        (Atom::List(list), Value::Array(items)) => check_items(&list, items, path, errors),
        (Atom::List(_), other) => wrong(path, format!("expected list, got &{{{}}}", go::print(other))),
        (Atom::Map(fields), Value::Object(map)) => {
            for (name, value) in map {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                match fields.step(name) {
                    Some(step) => check(step.kind, value, path, errors),
                    None => errors.push(format!("{path}: field not declared in schema")),
                }
                path.truncate(length);
                if fields.step(name).is_none() {
                    return;
                }
            }
        }
        (Atom::Map(_), other) => wrong(path, format!("expected map, got &{{{}}}", go::print(other))),
    }
}

fn check_items(list: &List<'_>, items: &[Value], path: &mut String, errors: &mut Vec<String>) {
    let place = |path: &str, what: String| if path.is_empty() { what } else { format!("{path}: {what}") };
    let mut seen = Set::default();
    for (index, item) in items.iter().enumerate() {
        let element = if list.kind == ListKind::Atomic {
            Element::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match list.element(item) {
                Ok(element) => element,
                Err(why) => return errors.push(place(path, format!("element {index}: {why}"))),
            }
        };
        let text = element.to_string();
        if list.kind != ListKind::Atomic {
            let node = seen.entry(element);
            if std::mem::replace(&mut node.member, true) {
                errors.push(place(path, format!("duplicate entries for key {text}")));
            }
        }
        let length = path.len();
        path.push_str(&text);
        check(list.item, item, path, errors);
        path.truncate(length);
    }
}

fn unfit(scalar: Scalar, value: &Value) -> Option<String> {
    let shown = || format!("&{{{}}}", go::print(value));
    match (scalar, value) {
        (Scalar::Numeric, Value::Number(_))
        | (Scalar::String, Value::String(_))
        | (Scalar::Boolean, Value::Bool(_))
        | (Scalar::Untyped, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Scalar::Numeric, _) => {
            Some(format!("expected numeric (int or float), got {}", go::type_name(value)))
        }
        (Scalar::String, _) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)))
        }
        (Scalar::Boolean, _) => Some(format!("expected boolean, got {}", shown())),
        (Scalar::Untyped, _) => Some(format!("expected any scalar, got {}", shown())),
    }
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => go::quote(text),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<_> =
                map.iter().map(|(name, value)| format!("{}:{}", go::quote(name), go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        other => go::print(other),
    }
}
