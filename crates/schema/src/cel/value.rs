//! Values while an expression runs: scalars, what an expression built, and JSON trees read in place.
//!
//! Invariant: reading a tree copies nothing but the scalars that are asked for; a value is cheap to clone.
//! Answers to cel-go's `ref.Val` and the apiserver's `UnstructuredToVal`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use gifee_base::Quantity;
use serde_json::Value as Json;

use super::error::Error;
use super::functions::authorize::{Check, Decision};
use super::functions::{format::Format, network::Cidr, regex::Pattern, semver::Semver, url::Url};
use super::kind::{Order, Type};

pub(super) static DYN: Type = Type::Dyn;

/// A text: borrowed from a tree or an expression, or made while running.
#[derive(Clone)]
pub enum Text<'a> {
    /// Of a tree.
    Borrowed(&'a str),
    /// Made.
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Text<'_> {}
impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// A key of a map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// A Boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A text.
    String(Text<'a>),
}

/// A map that an expression built.
pub type Map<'a> = BTreeMap<Key<'a>, Value<'a>>;

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds on top of them.
    pub nanoseconds: u32,
}

/// An object with a type of its own name: `Object.spec{…}`, `JSONPatch{…}`.
pub struct Struct<'a> {
    /// The type's name.
    pub name: Arc<str>,
    /// The fields that were given.
    pub fields: BTreeMap<Arc<str>, Value<'a>>,
}

/// A value.
#[derive(Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A Boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A float.
    Double(f64),
    /// A text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list of a tree, and its type.
    Items(&'a [Json], &'a Type),
    /// An object or map of a tree, and its type.
    Entries(&'a serde_json::Map<String, Json>, &'a Type),
    /// A tree that can only be compared.
    Preserved(&'a Json),
    /// A list that an expression built; how it compares.
    List(Arc<Vec<Value<'a>>>),
    /// A list of type set or map that an expression built.
    Ordered(Arc<(Vec<Value<'a>>, Order)>),
    /// A map that an expression built.
    Map(Arc<Map<'a>>),
    /// An object that an expression built.
    Struct(Arc<Struct<'a>>),
    /// A type, by its name.
    Type(Arc<str>),
    /// An optional value.
    Optional(Option<Arc<Value<'a>>>),
    /// `net.IP`.
    Ip(IpAddr),
    /// `net.CIDR`.
    Cidr(Cidr),
    /// `kubernetes.Quantity`.
    Quantity(Arc<Quantity>),
    /// `kubernetes.Semver`.
    Semver(Arc<Semver>),
    /// `kubernetes.URL`.
    Url(Arc<Url>),
    /// `kubernetes.NamedFormat`.
    Format(Format),
    /// An authorizer, or a check that is being put together.
    Check(Arc<Check<'a>>),
    /// `kubernetes.authorization.Decision`.
    Decision(Arc<Decision>),
    /// A constant regular expression, compiled with its program: a text otherwise.
    Pattern(Arc<Pattern>),
}

impl<'a> Value<'a> {
    /// A text that is made.
    pub fn text(text: impl Into<Arc<str>>) -> Value<'a> {
        Value::String(Text::Shared(text.into()))
    }

    /// A text of somebody else.
    pub fn borrowed(text: &'a str) -> Value<'a> {
        Value::String(Text::Borrowed(text))
    }

    /// A list.
    pub fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(Arc::new(items))
    }

    /// An optional value.
    pub fn some(value: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Arc::new(value)))
    }

    /// A JSON tree without a schema: integers, floats and the rest by their form.
    pub fn dynamic(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::borrowed(text),
            Json::Array(items) => Value::Items(items, &DYN),
            Json::Object(entries) => Value::Entries(entries, &DYN),
        }
    }

    /// A JSON tree as its type says it is to be read.
    ///
    /// # Errors
    /// If the tree is not of the type, in upstream's words.
    pub fn typed(json: &'a Json, kind: &'a Type) -> Result<Value<'a>, Error> {
        Ok(match (kind, json) {
            (Type::Dyn, json) => Value::dynamic(json),
            (Type::Preserved, json) => Value::Preserved(json),
            (_, Json::Null) => Value::Null,
            (Type::IntOrString, Json::String(text)) => Value::borrowed(text),
            (Type::IntOrString, Json::Number(number)) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => {
                    return Err(Error::new(
                        "invalid data, expected XIntOrString value to be either a string or integer",
                    ));
                }
            },
            (Type::Bool, Json::Bool(value)) => Value::Bool(*value),
            (Type::Int, Json::Number(number)) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => return Err(Error::new("invalid data, expected int, got float64")),
            },
            (Type::Uint, Json::Number(number)) => Value::Uint(number.as_u64().unwrap_or(0)),
            (Type::Double, Json::Number(number)) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            (Type::String, Json::String(text)) => Value::borrowed(text),
            (Type::Bytes, Json::String(text)) => super::functions::convert::from_base64(text)?,
            (Type::Duration, Json::String(text)) => super::functions::time::schema_duration(text)?,
            (Type::Timestamp, Json::String(text)) => super::functions::time::schema_time(text)?,
            (Type::List(_), Json::Array(items)) => Value::Items(items, kind),
            (Type::Map(_) | Type::Object(_), Json::Object(entries)) => Value::Entries(entries, kind),
            (Type::Opaque("kubernetes.Quantity", _), Json::String(text)) => {
                super::functions::quantity::parse(text)?
            }
            (kind, json) => {
                let found = go_word(json);
                return Err(Error::new(match kind {
                    Type::List(_) => {
                        "invalid data, expected an array for the provided schema with type=array".into()
                    }
                    Type::Map(_) | Type::Object(_) => {
                        "invalid data, expected a map for the provided schema with type=object".into()
                    }
                    Type::Double => format!("invalid data, expected float, got {found}"),
                    Type::Int => format!("invalid data, expected int, got {found}"),
                    Type::Bool => format!("invalid data, expected bool, got {found}"),
                    _ => format!("invalid data, expected string, got {found}"),
                }));
            }
        })
    }

    /// Read by type if there is one, else by form.
    pub(super) fn read(json: &'a Json, kind: &'a Type) -> Result<Value<'a>, Error> {
        if matches!(kind, Type::Dyn) { Ok(Value::dynamic(json)) } else { Value::typed(json, kind) }
    }

    /// The name of its type at run time.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Items(..) | Value::List(_) | Value::Ordered(_) => "list",
            Value::Entries(_, Type::Object(object)) => &object.name,
            Value::Entries(..) | Value::Map(_) => "map",
            Value::Preserved(_) => "unknown",
            Value::Struct(object) => &object.name,
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Url(_) => "kubernetes.URL",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Check(check) => check.type_name(),
            Value::Decision(_) => "kubernetes.authorization.Decision",
            Value::Pattern(_) => "string",
        }
    }

    /// The items, if it is a list.
    pub(super) fn items(&self) -> Option<Items<'_, 'a>> {
        match self {
            Value::Items(items, kind) => Some(Items::Json(
                items,
                match kind {
                    Type::List(list) => &list.item,
                    _ => &DYN,
                },
            )),
            Value::List(items) => Some(Items::Values(items)),
            Value::Ordered(ordered) => Some(Items::Values(&ordered.0)),
            _ => None,
        }
    }

    /// The number of items, entries, code points or bytes.
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Pattern(pattern) => pattern.length,
            Value::Items(items, _) => items.len(),
            Value::List(items) => items.len(),
            Value::Ordered(ordered) => ordered.0.len(),
            Value::Entries(entries, Type::Object(object)) => {
                entries.keys().filter(|key| object.fields.values().any(|field| field.name == **key)).count()
            }
            Value::Entries(entries, _) => entries.len(),
            Value::Map(map) => map.len(),
            _ => return None,
        })
    }

    /// The value of a key or field of a map or object; None if it is not there.
    pub(super) fn entry(&self, key: &Key<'_>) -> Option<Result<Value<'a>, Error>> {
        match self {
            Value::Entries(entries, kind) => {
                let Key::String(name) = key else { return None };
                match kind {
                    Type::Object(object) => match object.fields.get(&**name) {
                        Some(field) => entries.get(&field.name).map(|json| Value::read(json, &field.kind)),
                        None if object.open => entries.get(&**name).map(|json| Ok(Value::dynamic(json))),
                        None => None,
                    },
                    Type::Map(map) => entries.get(&**name).map(|json| Value::read(json, &map.1)),
                    _ => entries.get(&**name).map(|json| Ok(Value::dynamic(json))),
                }
            }
            Value::Map(map) => lookup(map, key).cloned().map(Ok),
            Value::Struct(object) => {
                let Key::String(name) = key else { return None };
                object.fields.get(&**name).cloned().map(Ok)
            }
            _ => None,
        }
    }

    /// The keys of a map or object; None if it is none.
    pub(super) fn keys(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::Entries(entries, Type::Object(object)) => Some(
                object
                    .fields
                    .iter()
                    .filter(|(_, field)| entries.contains_key(&field.name))
                    .map(|(name, _)| Value::borrowed(name))
                    .collect(),
            ),
            Value::Entries(entries, _) => Some(entries.keys().map(|key| Value::borrowed(key)).collect()),
            Value::Map(map) => Some(map.keys().cloned().map(Value::from).collect()),
            _ => None,
        }
    }

    /// Whether it is a map or an object.
    pub(super) fn is_map(&self) -> bool {
        matches!(self, Value::Entries(..) | Value::Map(_) | Value::Struct(_))
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// If it is nothing that JSON has.
    pub fn to_json(&self, budget: &mut super::Budget) -> Result<Json, Error> {
        super::compare::to_json(self, budget, 0)
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// The items of a list.
#[derive(Clone, Copy)]
pub(super) enum Items<'b, 'a> {
    Json(&'a [Json], &'a Type),
    Values(&'b [Value<'a>]),
}

impl<'a> Items<'_, 'a> {
    pub fn len(&self) -> usize {
        match self {
            Items::Json(items, _) => items.len(),
            Items::Values(items) => items.len(),
        }
    }

    pub fn get(&self, index: usize) -> Option<Result<Value<'a>, Error>> {
        match self {
            Items::Json(items, kind) => items.get(index).map(|json| Value::read(json, kind)),
            Items::Values(items) => items.get(index).cloned().map(Ok),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, Error>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// All of them.
    pub fn collect(&self) -> Result<Vec<Value<'a>>, Error> {
        self.iter().collect()
    }
}

/// Looks a key up; numbers of different types that are equal are the same key.
pub(super) fn lookup<'m, 'a>(map: &'m Map<'a>, key: &Key<'_>) -> Option<&'m Value<'a>> {
    match key {
        Key::Bool(value) => map.get(&Key::Bool(*value)),
        Key::Int(value) => map
            .get(&Key::Int(*value))
            .or_else(|| u64::try_from(*value).ok().and_then(|value| map.get(&Key::Uint(value)))),
        Key::Uint(value) => map
            .get(&Key::Uint(*value))
            .or_else(|| i64::try_from(*value).ok().and_then(|value| map.get(&Key::Int(value)))),
        // The key may live shorter than the map's own.
        Key::String(text) => map.get(&Key::String(Text::Shared(Arc::from(&**text)))),
    }
}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Value<'a> {
        match key {
            Key::Bool(value) => Value::Bool(value),
            Key::Int(value) => Value::Int(value),
            Key::Uint(value) => Value::Uint(value),
            Key::String(text) => Value::String(text),
        }
    }
}

impl<'a> Key<'a> {
    /// A value as a key; a float only if it is whole.
    pub fn of(value: &Value<'a>) -> Option<Key<'a>> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => Key::Uint(*value),
            Value::String(text) => Key::String(text.clone()),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Key::Int(*value as i64),
            _ => return None,
        })
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Bool(value) => write!(out, "{value}"),
            Key::Int(value) => write!(out, "{value}"),
            Key::Uint(value) => write!(out, "{value}"),
            Key::String(text) => out.write_str(text),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::functions::convert::display(self, out)
    }
}

/// What Go calls the type of a JSON value.
fn go_word(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_i64() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}
