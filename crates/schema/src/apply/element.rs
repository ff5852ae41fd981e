//! One step of a path below an object: a field, an item of a list by its keys or its value, or an index.
//!
//! Invariant: elements are totally ordered as upstream orders them, and two that compare equal are the same. The text
//! of an element in `FieldsV1` is upstream's, byte for byte. Answers to structured-merge-diff's
//! `fieldpath.PathElement` and `value.Compare`.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use crate::go;

/// One step of a path.
#[derive(Clone, Debug)]
pub enum Element {
    /// A field of a struct or an entry of a map.
    Field(Box<str>),
    /// The item of a list whose key fields have these values, in the order of the fields' names.
    Key(Vec<(Box<str>, Value)>),
    /// The item of a set.
    Value(Value),
    /// An item of an atomic list.
    Index(i64),
}

impl Element {
    /// A field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// From its text in `FieldsV1`. `Ok(None)` for a kind of element that is not known, which is passed over.
    ///
    /// # Errors
    /// What is wrong with the text, in upstream's words.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_at_checked(2) else {
            return Err("key must be 2 characters long:".to_owned());
        };
        if !kind.ends_with(':') {
            return Err(format!("missing colon: {text}"));
        }
        Ok(Some(match kind {
            "f:" => Self::field(rest),
            "v:" => Self::Value(serde_json::from_str(rest).map_err(|error| error.to_string())?),
            "k:" => {
                let keys: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|error| error.to_string())?;
                Self::Key(keys.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect())
            }
            "i:" => Self::Index(
                rest.parse()
                    .map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", go::quote(rest)))?,
            ),
            _ => return Ok(None),
        }))
    }

    /// Appends its text in `FieldsV1`, without quotes and not yet escaped for the JSON string that it becomes.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            Self::Key(keys) => write_key(keys_of(keys), out),
            Self::Value(value) => {
                out.push_str("v:");
                write_value(value, out);
            }
            Self::Index(index) => {
                out.push_str("i:");
                out.push_str(&index.to_string());
            }
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

/// Appends the text of an item's keys, which are in the order of their names.
pub(super) fn write_key<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut String) {
    out.push_str("k:{");
    for (index, (name, value)) in keys.enumerate() {
        if index > 0 {
            out.push(',');
        }
        super::wire::write_string(name, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// Appends a value as upstream's encoder writes it, which escapes what HTML gives a meaning.
pub(super) fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_string(text, out),
        Value::Number(number) => out.push_str(&go::literal(number)),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (name, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./ ".contains(&byte)) {
        out.push_str(text);
    } else {
        text.chars().for_each(|letter| write_letter(letter, out));
    }
    out.push('"');
}

fn write_letter(letter: char, out: &mut String) {
    match letter {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
            out.push_str(&format!("\\u{:04x}", letter as u32));
        }
        other => out.push(other),
    }
}

/// Orders values of any kind.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => {
                let (left, right) = (left.as_f64().unwrap_or_default(), right.as_f64().unwrap_or_default());
                left.partial_cmp(&right).unwrap_or(Ordering::Equal)
            }
        },
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let unequal =
                left.iter().zip(right).map(|(left, right)| compare(left, right)).find(|order| order.is_ne());
            unequal.unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let unequal = left
                .iter()
                .zip(right)
                .map(|(left, right)| left.0.cmp(right.0).then_with(|| compare(left.1, right.1)));
            unequal.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

fn keys_of(keys: &[(Box<str>, Value)]) -> impl ExactSizeIterator<Item = (&str, &Value)> {
    keys.iter().map(|(name, value)| (&**name, value))
}

/// Orders the keys of items, which are in the order of their names.
pub(super) fn compare_keys<'a>(
    left: impl ExactSizeIterator<Item = (&'a str, &'a Value)>,
    right: impl ExactSizeIterator<Item = (&'a str, &'a Value)>,
) -> Ordering {
    let lengths = left.len().cmp(&right.len());
    let unequal = left
        .zip(right)
        .map(|(left, right)| left.0.cmp(right.0).then_with(|| compare(left.1, right.1)))
        .find(|order| order.is_ne());
    unequal.unwrap_or(lengths)
}

/// Whether two trees are the same; unlike `==` it does not tell whole floats from integers.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    left == right || compare(left, right).is_eq()
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(left), Self::Field(right)) => left.cmp(right),
            (Self::Key(left), Self::Key(right)) => compare_keys(keys_of(left), keys_of(right)),
            (Self::Value(left), Self::Value(right)) => compare(left, right),
            (Self::Index(left), Self::Index(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element {}

/// As messages show it: `.field`, `[name="x"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let texts: Vec<_> =
                    keys.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", texts.join(","))
            }
            Self::Value(value) => write!(f, "[={}]", shown(value)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => go::quote(text),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect(),
        other => go::print(other),
    }
}
