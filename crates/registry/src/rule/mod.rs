//! Small rules about fields, of which the validations of kinds are made.
//!
//! A rule takes the list of errors, the value, and the path at which to report. Texts and order are upstream's.
//! Answers to apimachinery's `util/validation` and `api/validation`.

pub(crate) mod address;
pub(crate) mod condition;
pub(crate) mod key_pair;
pub(crate) mod label;
pub(crate) mod list;
pub(crate) mod resource;
pub(crate) mod shown;
pub(crate) mod x509;

use crate::value::{is_empty, same, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

/// What is found wrong.
pub(crate) type Errors = Vec<FieldError>;

pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const NOT_POSITIVE: &str = "must be greater than zero";
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// The path of the object itself.
pub(crate) const ROOT: Path<'static> = Path::root("");
/// `metadata`
pub(crate) const METADATA: Path<'static> = Path::root("metadata");
/// `spec`
pub(crate) const SPEC: Path<'static> = Path::root("spec");
/// `status`
pub(crate) const STATUS: Path<'static> = Path::root("status");

/// Reports a missing value; whether it is missing.
pub(crate) fn required(errors: &mut Errors, value: &Value, path: &Path<'_>) -> bool {
    required_because(errors, value, path, "")
}

/// Reports a missing value with a reason; whether it is missing.
pub(crate) fn required_because(errors: &mut Errors, value: &Value, path: &Path<'_>, why: &str) -> bool {
    let missing = is_empty(value);
    if missing {
        errors.push(FieldError::required(path, why));
    }
    missing
}

/// Reports what a rule for names finds.
pub(crate) fn named(errors: &mut Errors, value: &Value, path: &Path<'_>, rule: fn(&str) -> Vec<String>) {
    named_text(errors, text(value), path, rule);
}

/// The same for a text.
pub(crate) fn named_text(errors: &mut Errors, text: &str, path: &Path<'_>, rule: fn(&str) -> Vec<String>) {
    for wrong in rule(text) {
        errors.push(FieldError::invalid(path, text, &wrong));
    }
}

/// Reports all that a rule for names finds as one error.
pub(crate) fn joined(errors: &mut Errors, text: &str, path: &Path<'_>, rule: fn(&str) -> Vec<String>) {
    let wrong = rule(text);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, text, &wrong.join(",")));
    }
}

/// Applies a rule for names to a value that must be there.
pub(crate) fn required_name(
    errors: &mut Errors,
    value: &Value,
    path: &Path<'_>,
    rule: fn(&str) -> Vec<String>,
) {
    if !required(errors, value, path) {
        named(errors, value, path, rule);
    }
}

/// Applies a rule for names to a value if it is there.
pub(crate) fn optional_name(
    errors: &mut Errors,
    value: &Value,
    path: &Path<'_>,
    rule: fn(&str) -> Vec<String>,
) {
    if !is_empty(value) {
        named(errors, value, path, rule);
    }
}

/// Applies a rule for names to a value if it is said, be it empty.
pub(crate) fn given_name(errors: &mut Errors, value: &Value, path: &Path<'_>, rule: fn(&str) -> Vec<String>) {
    if !value.is_null() {
        named(errors, value, path, rule);
    }
}

/// Reports a value that is none of the supported ones; an absent one is empty text.
pub(crate) fn one_of(errors: &mut Errors, value: &Value, path: &Path<'_>, supported: &[&str]) {
    let given = text(value);
    if !supported.contains(&given) {
        errors.push(FieldError::not_supported(path, given, supported));
    }
}

/// Reports a value that is missing or none of the supported ones.
pub(crate) fn required_one_of(errors: &mut Errors, value: &Value, path: &Path<'_>, supported: &[&str]) {
    if !required(errors, value, path) {
        one_of(errors, value, path, supported);
    }
}

/// Reports a value that is there and none of the supported ones.
pub(crate) fn optional_one_of(errors: &mut Errors, value: &Value, path: &Path<'_>, supported: &[&str]) {
    if !value.is_null() {
        one_of(errors, value, path, supported);
    }
}

/// Reports a negative number.
pub(crate) fn non_negative(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if value.as_i64().is_some_and(|number| number < 0) {
        errors.push(FieldError::invalid(path, value.clone(), NEGATIVE));
    }
}

/// Reports negative numbers among fields of an object.
pub(crate) fn non_negative_fields(errors: &mut Errors, object: &Value, path: &Path<'_>, fields: &[&str]) {
    for field in fields {
        non_negative(errors, &object[*field], &path.child(field));
    }
}

/// `must be between <low> and <high>, inclusive`
pub(crate) fn range_text(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// Reports a number out of a range.
pub(crate) fn in_range(errors: &mut Errors, value: &Value, path: &Path<'_>, low: i64, high: i64) {
    if value.as_i64().is_some_and(|number| number < low || number > high) {
        errors.push(FieldError::invalid(path, value.clone(), &range_text(low, high)));
    }
}

/// Reports a change of a field.
pub(crate) fn immutable(errors: &mut Errors, value: &Value, old: &Value, path: &Path<'_>) {
    if !same(value, old) {
        errors.push(FieldError::invalid(path, value.clone(), IMMUTABLE));
    }
}

/// Whatever rules find that upstream declares in its types: it is said after everything else.
pub(crate) fn declared<T>(errors: &mut Errors, check: impl FnOnce(&mut Errors) -> T) -> T {
    let before = errors.len();
    let found = check(errors);
    for error in &mut errors[before..] {
        error.declared = true;
    }
    found
}

/// Says all that was found once more, as upstream's strategies of updates do that ask for it twice; but for what is
/// declared, which is judged by itself.
pub(crate) fn twice(errors: &mut Errors) {
    let again: Errors = errors.iter().filter(|error| !error.declared).cloned().collect();
    errors.extend(again);
}

/// Reports a missing value by a declared rule; whether it is missing.
pub(crate) fn declared_required(errors: &mut Errors, value: &Value, path: &Path<'_>) -> bool {
    declared(errors, |errors| required(errors, value, path))
}

/// Reports a change of a field, as rules that upstream declares do: they do not show the value.
pub(crate) fn changed(errors: &mut Errors, value: &Value, old: &Value, path: &Path<'_>) {
    if !same(value, old) {
        declared(errors, |errors| errors.push(FieldError::invalid(path, Value::Null, IMMUTABLE)));
    }
}

/// Reports an object of which not exactly one of several fields is set, as rules that upstream declares do.
pub(crate) fn exactly_one(errors: &mut Errors, object: &Value, path: &Path<'_>, fields: &[&str]) {
    let set: Vec<&str> = fields.iter().copied().filter(|field| !object[*field].is_null()).collect();
    let all = || fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
    match set.len() {
        0 => errors.push(FieldError::invalid(path, "", &format!("must specify one of: {}", all()))),
        1 => {}
        _ => {
            let (shown, why) = (set.join(", "), format!("must specify exactly one of: {}", all()));
            errors.push(FieldError::invalid(path, format!("{{{shown}}}"), &why));
        }
    }
}

/// Reports a text that comes twice in a list; the list of those seen is the caller's.
pub(crate) fn unique<'a>(errors: &mut Errors, seen: &mut Vec<&'a str>, one: &'a str, path: &Path<'_>) {
    if seen.contains(&one) {
        errors.push(FieldError::duplicate(path, one));
    } else {
        seen.push(one);
    }
}

/// Reports a path that is absolute or goes up.
pub(crate) fn descending_path(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if text(value).starts_with('/') {
        errors.push(FieldError::invalid(path, value.clone(), "must be a relative path"));
    }
    no_backsteps(errors, value, path);
}

/// Reports a path that goes up.
pub(crate) fn no_backsteps(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if text(value).split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value.clone(), "must not contain '..'"));
    }
}

/// Reports a path that is absolute, goes up, or starts with two dots.
pub(crate) fn non_reserved_path(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    descending_path(errors, value, path);
    let given = text(value);
    if given.starts_with("..") && !given.starts_with("../") {
        errors.push(FieldError::invalid(path, value.clone(), "must not start with '..'"));
    }
}

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// The number of a percentage such as `25%`.
pub(crate) fn percent(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let shape = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if shape { Some(digits.parse().unwrap_or(i64::MAX)) } else { None }
}

/// Reports what is neither a number from 0 up nor a percentage.
pub(crate) fn int_or_percent(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if value.is_string() && percent(value).is_none() {
        errors.push(FieldError::invalid(path, value.clone(), PERCENT));
    }
    non_negative(errors, value, path);
}

/// Reports a percentage over 100.
pub(crate) fn at_most_all(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(path, value.clone(), "must not be greater than 100%"));
    }
}

/// Reports a user or group ID out of range.
pub(crate) fn identity(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    in_range(errors, value, path, 0, i64::from(i32::MAX));
}

/// Appends the errors of a pass to those so far.
pub(crate) fn collect(check: impl FnOnce(&mut Errors)) -> Errors {
    let mut errors = Errors::new();
    check(&mut errors);
    errors
}

const HTTP_PATH: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

/// A domain and a path, such as `example.com/signer`.
pub(crate) fn domain_path(errors: &mut Errors, given: &str, path: &Path<'_>) {
    if given.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let halves = given.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty());
    let Some((domain, rest)) = halves else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.push(FieldError::invalid(path, given, why));
    };
    named_text(errors, domain, path, gifee_base::name::dns_subdomain);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(plain) {
        errors.push(FieldError::invalid(path, rest, HTTP_PATH));
    }
}
