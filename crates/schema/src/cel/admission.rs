//! The environment of admission expressions: policies' and webhooks' match conditions.
//!
//! Invariant: every environment made here has the same places, whether or not it lets all of them be named, so one
//! activation serves them all. Answers to the apiserver's `admission/plugin/cel`.

use super::environment::Environment;
use super::kind::Type;

/// The place of `object`.
pub const OBJECT: usize = 0;
/// The place of `oldObject`.
pub const OLD_OBJECT: usize = 1;
/// The place of `namespaceObject`.
pub const NAMESPACE: usize = 2;
/// The place of `request`.
pub const REQUEST: usize = 3;
/// The place of `params`.
pub const PARAMS: usize = 4;
/// The place of `authorizer`.
pub const AUTHORIZER: usize = 5;
/// The place of `authorizer.requestResource`.
pub const REQUEST_RESOURCE: usize = 6;
/// How many places there are.
pub const PLACES: usize = 7;

/// What expressions may name besides the request and its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `params`.
    pub params: bool,
    /// `authorizer`.
    pub authorizer: bool,
    /// `variables`, to be composed by the caller.
    pub variables: bool,
    /// `Object{…}` and `JSONPatch{…}`.
    pub mutation: bool,
}

/// The environment; objects are dynamic.
pub fn environment(declared: Declared) -> Environment {
    typed(declared, Type::Dyn, Type::Dyn)
}

/// The environment with known types of the objects and of the parameters, as type checking wants it.
pub fn typed(declared: Declared, object: Type, params: Type) -> Environment {
    // A place that may not be named has a name that nothing can spell.
    let name = |wanted: bool, name: &'static str| if wanted { name } else { "" };
    let opaque = |name: &str| Type::opaque(name).unwrap_or(Type::Dyn);
    let mut environment = Environment::new()
        .variable("object", object.clone())
        .variable("oldObject", object)
        .variable("namespaceObject", namespace())
        .variable("request", request())
        .variable(name(declared.params, "params"), params)
        .variable(name(declared.authorizer, "authorizer"), opaque("kubernetes.authorization.Authorizer"))
        .variable(
            name(declared.authorizer, "authorizer.requestResource"),
            opaque("kubernetes.authorization.ResourceCheck"),
        );
    if declared.variables {
        environment = environment.composed("variables");
    }
    if declared.mutation {
        environment = environment.mutation();
    }
    environment
}

fn request() -> Type {
    let version_of = |name, last| {
        Type::object(name, [("group", Type::String), ("version", Type::String), (last, Type::String)])
    };
    let kind = version_of("kubernetes.GroupVersionKind", "kind");
    let resource = version_of("kubernetes.GroupVersionResource", "resource");
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace() -> Type {
    let texts = || Type::map(Type::String, Type::String);
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        [
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers", Type::list(Type::String))]);
    let status = Type::object(
        "kubernetes.NamespaceStatus",
        [("conditions", Type::list(condition)), ("phase", Type::String)],
    );
    Type::object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}
