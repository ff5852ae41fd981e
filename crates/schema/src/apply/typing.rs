//! What a node of a schema means for ownership: leaf, list whose items are told apart, or map.
//!
//! Invariant: where no schema says anything, maps are entered and lists are leaves. Answers to structured-merge-diff's
//! `schema.Atom` and to kube-openapi's `schemaconv`, which makes such atoms out of OpenAPI.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::element::{self, Element};
use crate::Schema;
use crate::shape::{Field, FieldFlags, ListKind, NOT_ALWAYS, NodeId, Shape, StructId, Types};

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Type<'a> {
    /// Of a node; `whole` if its field says that it is replaced whole.
    Known { types: &'a Types, node: NodeId, whole: bool },
    /// Of nothing declared: maps are entered.
    Deduced,
    /// Of nothing declared: a leaf whatever it is.
    Whole,
}

/// A scalar's kind, for validation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scalar {
    Numeric,
    String,
    Boolean,
    Untyped,
}

/// What a type says about a value of a kind.
#[derive(Clone, Copy)]
pub(super) enum Atom<'a> {
    Scalar(Scalar),
    List(List<'a>),
    Map(Fields<'a>),
}

/// A list.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    pub item: Type<'a>,
    pub kind: ListKind,
    keys: &'a str,
}

/// A map or struct.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    declared: Option<(&'a Types, StructId)>,
    rest: Option<Type<'a>>,
    pub atomic: bool,
}

/// A field of a struct.
#[derive(Clone, Copy)]
pub(super) struct Declared<'a> {
    types: &'a Types,
    field: &'a Field,
}

/// The fields of a struct, gone through beside the members of an object, both in the order of their names.
pub(super) struct Beside<'a> {
    types: Option<&'a Types>,
    left: &'a [Field],
}

/// What an item of a list is told apart by, where it stands.
pub(super) enum Told<'v> {
    Value(&'v Value),
    Keys(SmallVec<[(&'v str, Cow<'v, Value>); 2]>),
}

/// One step down.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub kind: Type<'a>,
    /// Whether it is a field of a struct.
    pub declared: bool,
}

static NULL: Value = Value::Null;

impl<'a> Type<'a> {
    pub fn of(schema: Option<&'a Schema>) -> Self {
        match schema {
            Some(schema) => Self::Known { types: schema.types(), node: schema.root(), whole: false },
            None => Self::Deduced,
        }
    }

    /// What it says about this value; of several things that it may be, a map if the value does not tell.
    pub fn atom(self, value: Option<&Value>) -> Atom<'a> {
        let (types, node, whole) = match self {
            Self::Known { types, node, whole } => (types, node, whole),
            Self::Deduced => return undeclared(value, Self::Deduced, false),
            Self::Whole => return undeclared(value, Self::Whole, true),
        };
        let known = |node| Self::Known { types, node, whole: false };
        match types.shape(node) {
            Shape::Struct(id) => Atom::Map(Fields {
                declared: Some((types, id)),
                rest: types.row(id).open.then_some(Self::Deduced),
                atomic: whole || types.row(id).atomic,
            }),
            Shape::List { item, kind, keys } => Atom::List(List {
                item: known(item),
                kind: kind.unwrap_or(ListKind::Atomic),
                keys: types.text(keys),
            }),
            Shape::Map { value, atomic } => {
                Atom::Map(Fields { declared: None, rest: Some(known(value)), atomic: whole || atomic })
            }
            Shape::Int32 | Shape::Int64 | Shape::Float64 => Atom::Scalar(Scalar::Numeric),
            Shape::String | Shape::Bytes | Shape::Duration => Atom::Scalar(Scalar::String),
            Shape::Bool => Atom::Scalar(Scalar::Boolean),
            Shape::IntOrString | Shape::Quantity | Shape::Time | Shape::MicroTime => {
                Atom::Scalar(Scalar::Untyped)
            }
            // In a definition it says that fields are kept of which nothing is known.
            Shape::Any if types.is_custom() => undeclared(value, Self::Deduced, whole),
            Shape::Raw
            | Shape::Fields
            | Shape::Json
            | Shape::Any
            | Shape::OrBool(_)
            | Shape::OrList(_)
            | Shape::OrStrings(_) => undeclared(value, Self::Whole, true),
        }
    }

    /// The type below an element, if there is one.
    pub fn step(self, element: &Element) -> Option<Step<'a>> {
        match element {
            Element::Field(name) => match self.atom(None) {
                Atom::Map(fields) => fields.step(name),
                _ => None,
            },
            _ => match self.atom(Some(&EMPTY_LIST)) {
                Atom::List(list) => Some(Step { kind: list.item, declared: false }),
                _ => None,
            },
        }
    }
}

static EMPTY_LIST: Value = Value::Array(Vec::new());

fn undeclared<'a>(value: Option<&Value>, below: Type<'a>, atomic: bool) -> Atom<'a> {
    match value {
        Some(Value::Array(_)) => Atom::List(List { item: Type::Whole, kind: ListKind::Atomic, keys: "" }),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => Atom::Scalar(Scalar::Untyped),
        Some(Value::Object(_) | Value::Null) | None => {
            Atom::Map(Fields { declared: None, rest: Some(below), atomic })
        }
    }
}

impl<'a> Atom<'a> {
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl<'a> Fields<'a> {
    pub fn step(&self, name: &str) -> Option<Step<'a>> {
        if let Some((types, id)) = self.declared
            && let Some(field) = types.field(id, name)
        {
            return Some(Step { kind: field_type(types, field), declared: true });
        }
        self.rest.map(|kind| Step { kind, declared: false })
    }

    /// The fields of the struct, if it is one.
    pub fn beside(&self) -> Beside<'a> {
        match self.declared {
            Some((types, id)) => Beside { types: Some(types), left: types.fields(id) },
            None => Beside { types: None, left: &[] },
        }
    }

    /// The type of what is not declared.
    pub fn rest(&self) -> Type<'a> {
        self.rest.unwrap_or(Type::Deduced)
    }

    /// Fields that are null in an object of Go's which does not give them a value.
    pub fn nulls<'m>(&self, map: &'m Map<String, Value>) -> impl Iterator<Item = &'a str> + use<'a, 'm> {
        let declared = self.declared.into_iter();
        let fields =
            declared.flat_map(|(types, id)| types.fields(id).iter().map(move |field| (types, field)));
        let nulls = fields.filter(|(types, field)| shows_null(types, field));
        nulls.map(|(types, field)| types.text(field.name)).filter(|name| !map.contains_key(*name))
    }

    /// What a field counts as that is not given, in an object of Go's: those that its encoder always writes, or
    /// would write as null.
    pub fn absent(&self, name: &str) -> Option<&'static Value> {
        let (types, id) = self.declared?;
        zero(types, types.field(id, name)?)
    }
}

impl<'a> Declared<'a> {
    pub fn name(self) -> &'a str {
        self.types.text(self.field.name)
    }

    pub fn kind(self) -> Type<'a> {
        field_type(self.types, self.field)
    }

    /// What it counts as in an object of Go's that does not give it a value.
    pub fn zero(self) -> Option<&'static Value> {
        zero(self.types, self.field)
    }

    pub fn shows_null(self) -> bool {
        shows_null(self.types, self.field)
    }
}

impl<'a> Beside<'a> {
    fn next(&self) -> Option<Declared<'a>> {
        Some(Declared { types: self.types?, field: self.left.first()? })
    }

    /// The next field, if it comes before this name; passes it.
    pub fn before(&mut self, name: Option<&str>) -> Option<Declared<'a>> {
        let next = self.next().filter(|next| name.is_none_or(|name| next.name() < name))?;
        self.left = &self.left[1..];
        Some(next)
    }

    /// The next field, if it has this name; passes it.
    pub fn take(&mut self, name: &str) -> Option<Declared<'a>> {
        let next = self.next().filter(|next| next.name() == name)?;
        self.left = &self.left[1..];
        Some(next)
    }
}

impl Told<'_> {
    pub fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Value(left), Self::Value(right)) => element::compare(left, right),
            (Self::Keys(left), Self::Keys(right)) => element::compare_keys(keys_of(left), keys_of(right)),
            // Of one list all are alike.
            (Self::Value(_), Self::Keys(_)) => Ordering::Greater,
            (Self::Keys(_), Self::Value(_)) => Ordering::Less,
        }
    }

    /// Appends its text in `FieldsV1`, as [`Element::write`] does.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Value(value) => {
                out.push_str("v:");
                element::write_value(value, out);
            }
            Self::Keys(keys) => element::write_key(keys_of(keys), out),
        }
    }

    fn into_element(self) -> Element {
        match self {
            Self::Value(value) => Element::Value(value.clone()),
            Self::Keys(keys) => Element::Key(
                keys.into_iter().map(|(name, value)| (name.into(), value.into_owned())).collect(),
            ),
        }
    }
}

fn keys_of<'k>(keys: &'k [(&str, Cow<'_, Value>)]) -> impl ExactSizeIterator<Item = (&'k str, &'k Value)> {
    keys.iter().map(|(name, value)| (*name, &**value))
}

pub(super) fn field_type<'a>(types: &'a Types, field: &Field) -> Type<'a> {
    Type::Known { types, node: field.node, whole: field.flags.has(FieldFlags::ATOMIC) }
}

/// What Go's zero value of the struct holds for a field, as its encoder shows it; None if it leaves it out.
pub(super) fn zero(types: &Types, field: &Field) -> Option<&'static Value> {
    use std::sync::LazyLock;
    static OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    static TEXT: Value = Value::String(String::new());
    static FALSE: Value = Value::Bool(false);
    static NUMBER: LazyLock<Value> = LazyLock::new(|| Value::from(0));
    static QUANTITY: LazyLock<Value> = LazyLock::new(|| Value::from("0"));
    static DURATION: LazyLock<Value> = LazyLock::new(|| Value::from("0s"));
    if field.always == NOT_ALWAYS {
        return shows_null(types, field).then_some(&NULL);
    }
    Some(match types.shape(field.node) {
        Shape::Struct(_) => &OBJECT,
        Shape::String => &TEXT,
        Shape::Bool => &FALSE,
        Shape::Quantity => &QUANTITY,
        Shape::Duration => &DURATION,
        Shape::Int32 | Shape::Int64 | Shape::Float64 | Shape::IntOrString => &NUMBER,
        _ => &NULL,
    })
}

/// Whether Go's encoder writes null for the field's zero value: for what is a struct in Go it knows no emptiness.
fn shows_null(types: &Types, field: &Field) -> bool {
    let flags = field.flags;
    if field.always != NOT_ALWAYS || flags.has(FieldFlags::OMIT_ZERO) {
        return false;
    }
    let structure = !flags.has(FieldFlags::POINTER)
        && matches!(types.shape(field.node), Shape::Time | Shape::MicroTime | Shape::Raw);
    structure || !flags.has(FieldFlags::OMIT_EMPTY)
}

impl List<'_> {
    /// The names of the key fields.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.split(',').filter(|key| !key.is_empty())
    }

    /// What a key field counts as in an item that does not have it.
    pub fn default_key(&self, name: &str) -> Option<Value> {
        let Type::Known { types, node, .. } = self.item else { return None };
        let Shape::Struct(id) = types.shape(node) else { return None };
        let field = types.field(id, name)?;
        match types.text(field.default) {
            "" => zero(types, field).filter(|value| !value.is_null()).cloned(),
            text => serde_json::from_str(text).ok(),
        }
    }

    /// The element that stands for an item.
    ///
    /// # Errors
    /// Why there is none, in upstream's words.
    pub fn element(&self, item: &Value) -> Result<Element, String> {
        self.told(item).map(Told::into_element)
    }

    /// What tells an item apart.
    ///
    /// # Errors
    /// As [`List::element`].
    pub fn told<'v>(&'v self, item: &'v Value) -> Result<Told<'v>, String> {
        if self.kind == ListKind::Set {
            return match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".to_owned())
                }
                value => Ok(Told::Value(value)),
            };
        }
        let map = match item {
            Value::Object(map) => map,
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let mut keys = SmallVec::<[_; 2]>::new();
        for name in self.keys() {
            let value = map.get(name).map(Cow::Borrowed).or_else(|| self.default_key(name).map(Cow::Owned));
            keys.extend(value.map(|value| (name, value)));
        }
        if keys.is_empty() {
            let names: Vec<_> = self.keys().map(crate::go::quote).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        keys.sort_by_key(|(name, _)| *name);
        Ok(Told::Keys(keys))
    }
}

/// A path of frames on the stack, made into elements only if somebody wants them.
pub(super) struct Frame<'a> {
    pub parent: Option<&'a Frame<'a>>,
    pub at: At<'a>,
}

/// One frame's step.
pub(super) enum At<'a> {
    Field(&'a str),
    Item(&'a Element),
}

impl Frame<'_> {
    /// The whole path.
    pub fn path(frame: Option<&Frame<'_>>) -> Vec<Element> {
        let mut path = Vec::new();
        let mut next = frame;
        while let Some(frame) = next {
            path.push(match frame.at {
                At::Field(name) => Element::field(name),
                At::Item(element) => element.clone(),
            });
            next = frame.parent;
        }
        path.reverse();
        path
    }
}
