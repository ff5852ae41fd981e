//! Types of CEL: what the checker reasons with, and at the same time the schema by which a JSON tree is read.
//!
//! Invariant: cheap to clone; a type never changes once built. Answers to cel-go's `types.Type` and the
//! apiserver's `DeclType`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug)]
pub enum Type {
    /// Anything; JSON read under it takes the type its form has.
    Dyn,
    /// What an expression has that did not check.
    Error,
    /// `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`: 64 bits.
    Int,
    /// `uint`: 64 bits.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`; base64 in JSON.
    Bytes,
    /// `google.protobuf.Duration`; a text such as `1h30m` in JSON.
    Duration,
    /// `google.protobuf.Timestamp`; RFC 3339 or a date in JSON.
    Timestamp,
    /// An integer or a string: dynamic for the checker.
    IntOrString,
    /// JSON that is kept as it is and can only be compared.
    Preserved,
    /// A list.
    List(Arc<List>),
    /// A map: key and value.
    Map(Arc<(Type, Type)>),
    /// An object with known fields.
    Object(Arc<Object>),
    /// A type known by its name, with parameters: `optional_type`, `net.IP`, `kubernetes.Quantity`.
    Opaque(&'static str, Arc<[Type]>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// A type parameter, by number.
    Param(u32),
}

/// How a list compares and adds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Item by item.
    #[default]
    Atomic,
    /// Without regard to order; adding leaves out what is there (`x-kubernetes-list-type: set`).
    Set,
    /// By the values of keys; adding replaces what has the same keys (`x-kubernetes-list-type: map`).
    Map(Vec<String>),
}

/// The type of a list.
#[derive(Clone, Debug)]
pub struct List {
    /// Of its items.
    pub item: Type,
    /// How it compares.
    pub order: Order,
}

/// The type of an object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Its name in messages, such as `object` or `kubernetes.UserInfo`.
    pub name: String,
    /// Its fields by their name in expressions (escaped): name in JSON, and type.
    pub fields: BTreeMap<String, Field>,
    /// Every other name is a field too, of a dynamic type (`Object` of mutating policies).
    pub open: bool,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

/// `optional_type`'s name.
pub const OPTIONAL: &str = "optional_type";

/// The names of types that only functions make.
pub const OPAQUE: &[&str] = &[
    "net.IP",
    "net.CIDR",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.URL",
    "kubernetes.NamedFormat",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

impl Type {
    /// A list of items without more to say about it.
    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(List { item, order: Order::Atomic }))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    /// An optional value.
    pub fn optional(of: Type) -> Type {
        Type::Opaque(OPTIONAL, Arc::from([of]))
    }

    /// A type without parameters known by name; None if there is none.
    pub fn opaque(name: &str) -> Option<Type> {
        OPAQUE.iter().find(|known| **known == name).map(|known| Type::Opaque(known, Arc::from([])))
    }

    /// An object whose fields have the same name in JSON and in expressions.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Type)>) -> Type {
        let fields = fields
            .into_iter()
            .map(|(name, kind)| (name.to_owned(), Field { name: name.to_owned(), kind }))
            .collect();
        Type::Object(Arc::new(Object { name: name.to_owned(), fields, open: false }))
    }

    /// Dynamic for the checker.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::IntOrString | Type::Preserved)
    }

    pub(super) fn is_dyn_or_error(&self) -> bool {
        self.is_dyn() || matches!(self, Type::Error)
    }

    pub(super) fn as_optional(&self) -> Option<&Type> {
        match self {
            Type::Opaque(OPTIONAL, params) => params.first(),
            _ => None,
        }
    }

    /// Whether two types are the same.
    pub fn same(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b)) => a.item.same(&b.item),
            (Type::Map(a), Type::Map(b)) => a.0.same(&b.0) && a.1.same(&b.1),
            (Type::Object(a), Type::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Type::Opaque(a, p), Type::Opaque(b, q)) => {
                a == b && p.len() == q.len() && p.iter().zip(q.iter()).all(|(a, b)| a.same(b))
            }
            (Type::Type(None), Type::Type(None)) => true,
            (Type::Type(Some(a)), Type::Type(Some(b))) => a.same(b),
            (Type::Param(a), Type::Param(b)) => a == b,
            (a, b) if a.is_dyn() && b.is_dyn() => true,
            (a, b) => {
                std::mem::discriminant(a) == std::mem::discriminant(b)
                    && !matches!(a, Type::List(_) | Type::Map(_) | Type::Object(_) | Type::Opaque(..))
                    && !matches!(a, Type::Type(_) | Type::Param(_))
            }
        }
    }

    /// The name that `type(value)` has at run time, which leaves out parameters.
    pub fn name(&self) -> &str {
        match self {
            Type::Dyn | Type::IntOrString | Type::Preserved | Type::Error | Type::Param(_) => "dyn",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "google.protobuf.Duration",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Object(object) => &object.name,
            Type::Opaque(name, _) => name,
            Type::Type(_) => "type",
        }
    }
}

/// As upstream's type checker prints it in messages.
impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Error => out.write_str("!error!"),
            Type::Null => out.write_str("null"),
            Type::Duration => out.write_str("duration"),
            Type::Timestamp => out.write_str("timestamp"),
            Type::List(list) => write!(out, "list({})", list.item),
            Type::Map(map) => write!(out, "map({}, {})", map.0, map.1),
            Type::Type(Some(of)) => write!(out, "type({of})"),
            Type::Opaque(name, params) if !params.is_empty() => {
                write!(out, "{name}(")?;
                for (index, param) in params.iter().enumerate() {
                    write!(out, "{}{param}", if index > 0 { ", " } else { "" })?;
                }
                out.write_str(")")
            }
            Type::Param(number) => write!(out, "_var{number}"),
            other => out.write_str(other.name()),
        }
    }
}
