//! Paths to fields and validation errors at them, in upstream's words.
//!
//! Answers to apimachinery's `util/validation/field`. Rules collect a list of errors and never stop at the first.

use crate::status::Cause;
use serde_json::Value;
use std::fmt;

/// A path such as `spec.containers[0].name`; a chain of borrowed parts, so that building one costs
/// nothing until an error is reported.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The first part of a path; the empty string is the object itself.
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, part: Part::Name(name) }
    }

    /// `path.name`
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Name(name) }
    }

    /// `path[index]`
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), part: Part::Index(index) }
    }

    /// `path[key]`
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dot = false;
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            dot = !matches!(parent, Path { parent: None, part: Part::Name("") });
        }
        match self.part {
            Part::Name(name) if dot => write!(f, ".{name}"),
            Part::Name(name) => f.write_str(name),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What is wrong with a field; the variants and their texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A referenced thing does not exist.
    NotFound,
    /// A value is missing.
    Required,
    /// A value must be unique and is not.
    Duplicate,
    /// A value is malformed or out of bounds.
    Invalid,
    /// A value is none of the supported ones.
    NotSupported,
    /// A well-formed value is not allowed here.
    Forbidden,
    /// A string is too long.
    TooLong,
    /// A string is too short.
    TooShort,
    /// A list is too long.
    TooMany,
    /// A list is too short.
    TooFew,
    /// Something unexpected happened in validation.
    Internal,
    /// A value is of the wrong JSON type.
    TypeInvalid,
}

impl ErrorType {
    /// The `reason` of a status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }
}

/// JSON as Go writes it: what HTML could misread is escaped.
fn as_go(json: String) -> String {
    if json.contains(['<', '>', '&']) {
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    } else {
        json
    }
}

/// One validation error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What kind of error.
    pub kind: ErrorType,
    /// Path of the field, such as `spec.replicas`.
    pub field: String,
    /// The body after `field: `, such as `Invalid value: -1: must be ...`.
    pub body: String,
    /// Whether upstream finds it by a rule that its types declare: it says so after all others.
    pub declared: bool,
}

impl FieldError {
    fn new(kind: ErrorType, path: &Path<'_>, value: Option<&Value>, detail: &str) -> Self {
        let mut body = kind.text().to_owned();
        if let Some(value) = value {
            body.push_str(": ");
            body.push_str(&match value {
                Value::String(_) => value.to_string(),
                value => as_go(value.to_string()),
            });
        }
        if !detail.is_empty() {
            body.push_str(": ");
            body.push_str(detail);
        }
        Self { kind, field: path.to_string(), body, declared: false }
    }

    /// An error with a path and a body of its own.
    pub fn with_body(kind: ErrorType, field: String, body: String) -> Self {
        Self { kind, field, body, declared: false }
    }

    /// Errors in the order in which upstream says them: those of declared rules last.
    pub fn in_order(mut errors: Vec<Self>) -> Vec<Self> {
        errors.sort_by_key(|error| error.declared);
        errors
    }

    /// `Required value`
    pub fn required(path: &Path<'_>, detail: &str) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    /// `Invalid value: <value>: <detail>`
    pub fn invalid(path: &Path<'_>, value: impl Into<Value>, detail: &str) -> Self {
        Self::new(ErrorType::Invalid, path, Some(&value.into()), detail)
    }

    /// `Invalid value: <value>: <detail>` for a value of the wrong JSON type.
    pub fn type_invalid(path: &Path<'_>, value: impl Into<Value>, detail: &str) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(&value.into()), detail)
    }

    /// `Invalid value: <detail>` where the value says nothing.
    pub fn omitted(path: &Path<'_>, detail: &str) -> Self {
        Self::new(ErrorType::Invalid, path, None, detail)
    }

    /// `Duplicate value: <value>`
    pub fn duplicate(path: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(&value.into()), "")
    }

    /// `Not found: <value>`
    pub fn not_found(path: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(ErrorType::NotFound, path, Some(&value.into()), "")
    }

    /// `Forbidden: <detail>`
    pub fn forbidden(path: &Path<'_>, detail: &str) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`
    pub fn not_supported(path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let detail =
            if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::new(ErrorType::NotSupported, path, Some(&value.into()), &detail)
    }

    /// `Too long: may not be more than <maximum> bytes`
    pub fn too_long(path: &Path<'_>, maximum: usize) -> Self {
        Self::new(ErrorType::TooLong, path, None, &format!("may not be more than {maximum} bytes"))
    }

    /// `Too long: may not be more than <maximum> characters`, as declared rules say it.
    pub fn too_long_characters(path: &Path<'_>, maximum: usize) -> Self {
        Self::new(ErrorType::TooLong, path, None, &format!("may not be more than {maximum} characters"))
    }

    /// `Too short: must be at least <minimum> characters`
    pub fn too_short(path: &Path<'_>, minimum: usize) -> Self {
        let plural = if minimum == 1 { "character" } else { "characters" };
        Self::new(ErrorType::TooShort, path, None, &format!("must be at least {minimum} {plural}"))
    }

    /// `Too many: <actual>: must have at most <maximum> items`
    pub fn too_many(path: &Path<'_>, actual: usize, maximum: usize) -> Self {
        let plural = if maximum == 1 { "item" } else { "items" };
        let detail = format!("must have at most {maximum} {plural}");
        Self::new(ErrorType::TooMany, path, Some(&Value::from(actual)), &detail)
    }

    /// `Internal error: <detail>`
    pub fn internal(path: &Path<'_>, detail: &str) -> Self {
        Self::new(ErrorType::Internal, path, None, detail)
    }

    /// Shows a value as upstream's own form of it reads, in an error that was made with an empty text for it.
    #[must_use]
    pub fn showing(mut self, shown: &str) -> Self {
        self.body = self.body.replacen("\"\"", &as_go(shown.to_owned()), 1);
        self
    }

    /// The cause that stands for this error in a `Status`.
    pub fn cause(&self) -> Cause {
        Cause { reason: self.kind.reason().into(), message: self.body.clone(), field: self.field.clone() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}
