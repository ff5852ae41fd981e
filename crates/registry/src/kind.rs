//! What the API server's engine knows of a kind.
//!
//! Answers to upstream's `rest.Storage`, its strategies and its table convertors, which are code
//! there and rows here. Everything is owned or static, so that a row can be made at run time.

use crate::rule::twice;
use gifee_base::{FieldError, Gvk, Object, ObjectKey, Status};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In no namespace.
    Cluster,
    /// In one namespace each.
    Namespaced,
}

/// A verb on a resource, as discovery lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    Watch,
}

/// All eight verbs: what most kinds have.
pub const ALL: &[Verb] = &[
    Verb::Create,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Update,
    Verb::Watch,
];

/// A field that field selectors may name, besides `metadata.name` and `metadata.namespace`.
#[derive(Clone, Debug)]
pub struct Field {
    /// As the selector names it, such as `spec.nodeName`.
    pub name: Arc<str>,
    /// Path in the stored form of the object; it differs from the name where upstream's does. A list counts as its first item.
    pub path: Vec<Arc<str>>,
    /// What an absent value counts as: usually empty.
    pub absent: &'static str,
    /// Watchers are indexed by this field: an event finds those that pin it (Pods by node).
    pub indexed: bool,
}

/// What is known besides the object when a hook runs. Hooks decide; they do no I/O but through `cluster`.
pub struct Context<'a> {
    /// Who asks.
    pub user: &'a str,
    /// UID of who asks; empty for certificates.
    pub user_uid: &'a str,
    /// Groups of who asks.
    pub groups: &'a [String],
    /// Extra attributes of who asks.
    pub extra: &'a BTreeMap<String, Vec<String>>,
    /// Now, as `metav1.Time`.
    pub now: &'a str,
    /// Namespace and name of the object.
    pub key: &'a ObjectKey,
    /// Whether nothing may be changed outside the object (dry run).
    pub dry_run: bool,
    /// Other objects.
    pub cluster: &'a dyn Cluster,
}

/// Other objects of the same server, for the few hooks that need them.
#[async_trait::async_trait]
pub trait Cluster: Send + Sync {
    /// An object, as of the newest revision that the cache has.
    fn get(&self, group: &str, resource: &str, key: &ObjectKey) -> Option<Arc<Object>>;
    /// All objects of a resource, or those of one namespace if it is not empty.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>>;
    /// Creates an object of another kind on behalf of this write (an IPAddress for a Service).
    ///
    /// # Errors
    /// As the API gives them, `AlreadyExists` among them.
    async fn create(&self, group: &str, resource: &str, object: Value) -> Result<(), Status>;
    /// Deletes an object of another kind; not an error if it is not there.
    ///
    /// # Errors
    /// As the API gives them.
    async fn delete(&self, group: &str, resource: &str, key: &ObjectKey) -> Result<(), Status>;
    /// Takes a unique name in a range of the server's own (a node port); false if it is taken.
    ///
    /// # Errors
    /// If the store fails.
    async fn reserve(&self, range: &str, name: &str, owner: &str) -> Result<bool, Status>;
    /// Gives such a name back.
    ///
    /// # Errors
    /// If the store fails.
    async fn release(&self, range: &str, name: &str) -> Result<(), Status>;
}

/// What is judged of an update in which order: it shows in how errors follow one another, and how many causes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The object, then the change.
    ObjectFirst,
    /// The object twice, then the change: upstream's strategies ask for both, and the rules of changes ask again.
    ObjectTwice,
    /// The change, then the object.
    ChangeFirst,
}

/// The hooks of a kind, in the order in which the pipeline calls them. Each has a default that does
/// what upstream's generic strategy does: nothing, or the common rules of metadata that the engine itself holds
/// (names, labels, owner references, generation of kinds with a spec and a status).
///
/// `subresource` is empty for the object itself, else `status`, `resize`, `ephemeralcontainers`, …
#[async_trait::async_trait]
pub trait Hooks: Send + Sync {
    /// Defaults that data cannot express; the defaults table has been applied.
    fn default(&self, _object: &mut Value) {}
    /// What the client of a create is warned of before anything is made of what it sent.
    fn first_warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Before a create: clear what clients may not set (the status), set first values. Name, UID and creation
    /// time stand in the metadata already.
    fn prepare_create(&self, _object: &mut Value, _context: &Context<'_>) {}
    /// Before an update: put back what this subresource may not change.
    fn prepare_update(&self, _object: &mut Value, _old: &Value, _subresource: &str, _context: &Context<'_>) {}
    /// What is wrong with an object, on create and on every update.
    fn validate(&self, _object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        Vec::new()
    }
    /// What is wrong with a new object, besides what `validate` finds.
    fn validate_create(&self, _object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        Vec::new()
    }
    /// What is wrong with a change, besides what `validate` finds in the new object, which the engine calls, too.
    fn validate_update(
        &self,
        _object: &Value,
        _old: &Value,
        _subresource: &str,
        _context: &Context<'_>,
    ) -> Vec<FieldError> {
        Vec::new()
    }
    /// In which order an update is judged.
    fn order(&self) -> Order {
        Order::ObjectFirst
    }
    /// What is wrong with an update: all that `validate` and `validate_update` find.
    fn judge_update(
        &self,
        object: &Value,
        old: &Value,
        subresource: &str,
        context: &Context<'_>,
    ) -> Vec<FieldError> {
        let mut change = self.validate_update(object, old, subresource, context);
        if subresource == "status" {
            return change;
        }
        let mut whole = self.validate(object, context);
        if self.order() == Order::ChangeFirst {
            change.extend(whole);
            return change;
        }
        if self.order() == Order::ObjectTwice {
            twice(&mut whole);
        }
        whole.extend(change);
        whole
    }
    /// Warnings for the client.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// Allocates outside the object (addresses, ports): after `prepare_*`, before the object is judged, so that rules and
    /// admission see what it has; called on create with no old.
    async fn allocate(
        &self,
        _object: &mut Value,
        _old: Option<&Value>,
        _context: &Context<'_>,
    ) -> Result<(), Status> {
        Ok(())
    }
    /// Gives back what `allocate` took: after a refusal or a failed commit (`old` is what stays), or a deletion (`object`
    /// is gone). A refused object may name what others have.
    async fn release(
        &self,
        _object: &Value,
        _old: Option<&Value>,
        _context: &Context<'_>,
    ) -> Result<(), Status> {
        Ok(())
    }
    /// Seconds of grace for a deletion that asks for none or for `asked`; None: deleted at once (all kinds but Pods).
    fn grace_period_seconds(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }
    /// When a deletion that cannot end at once has set the deletion timestamp: a Namespace becomes `Terminating`.
    fn mark_deleting(&self, _object: &mut Value) {}
    /// Whether something besides `metadata.finalizers` keeps a deleted object: a Namespace's `spec.finalizers`.
    fn held(&self, _object: &Value) -> bool {
        false
    }
    /// Whether a deletion without a policy orphans dependents (only batch/v1 Jobs of old did); None: background.
    fn default_propagation(&self) -> Option<&'static str> {
        None
    }
}

/// The hooks of a kind that needs none.
pub struct Plain;
impl Hooks for Plain {}

/// How a part of an object is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object itself, with the subresource's name given to the hooks: `status`, `finalize`, `approval`, `resize`, …
    Part,
    /// autoscaling/v1 Scale over the object.
    Scale,
    /// A call that answers a body: `binding`, `eviction`, `token`. The API server's table of calls names them.
    Call,
    /// A stream to a node or pod: `log`, `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

/// A subresource.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Such as `status`.
    pub name: Arc<str>,
    /// Kind of the body; None: the object's own kind.
    pub gvk: Option<Gvk>,
    /// Verbs.
    pub verbs: &'static [Verb],
    /// How it works.
    pub action: Action,
}

/// How a scale is read and written.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Path of the wanted replicas.
    pub spec_replicas: Vec<Arc<str>>,
    /// Path of the observed replicas.
    pub status_replicas: Vec<Arc<str>>,
    /// Path of a label selector: a map, a LabelSelector, or a string (custom resources).
    pub selector: Option<Vec<Arc<str>>>,
}

/// A column of the server-side table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading, such as `Ready`.
    pub name: Arc<str>,
    /// `string`, `integer`, `date`, …
    pub kind: &'static str,
    /// `name` for the first column, else usually empty.
    pub format: &'static str,
    /// What it shows.
    pub description: Arc<str>,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
}

/// Makes the cells of an object in its stored form; the number is the current time in Unix seconds, for ages.
pub type Row = dyn Fn(&Value, i64) -> Vec<Value> + Send + Sync;

/// The server-side table of a kind.
#[derive(Clone)]
pub struct Table {
    /// Columns.
    pub columns: Vec<Column>,
    /// The cells of an object.
    pub row: Arc<Row>,
}

/// Two kinds over one stored form (autoscaling v1 and v2, the two Events).
#[derive(Clone, Copy)]
pub struct Conversion {
    /// From the stored form to this kind.
    pub from_stored: fn(Value) -> Value,
    /// From this kind to the stored form.
    pub to_stored: fn(Value) -> Value,
}

/// What only a kind has that was made from a CustomResourceDefinition.
#[derive(Clone, Debug)]
pub struct Custom {
    /// Name of the definition.
    pub definition: Arc<str>,
    /// The version in whose form objects are stored.
    pub stored_version: Arc<str>,
    /// The same with its group, as stored objects name it.
    pub stored_api_version: Arc<str>,
    /// The definition is being deleted: nothing new may be created.
    pub terminating: bool,
    /// What every use is answered with, if this version is deprecated.
    pub warning: Option<String>,
}

/// One row of KINDS.
#[derive(Clone)]
pub struct Kind {
    /// Group, version and kind.
    pub gvk: Gvk,
    /// Kind of the list, such as `PodList`.
    pub list_kind: Arc<str>,
    /// Plural resource.
    pub resource: Arc<str>,
    /// Singular, as discovery names it.
    pub singular: Arc<str>,
    /// Short names.
    pub short_names: Vec<Arc<str>>,
    /// Categories, such as `all`.
    pub categories: Vec<Arc<str>>,
    /// Scope.
    pub scope: Scope,
    /// Verbs of the resource itself; a kind that is not stored (reviews) has only `Create`.
    pub verbs: &'static [Verb],
    /// False for kinds that are only computed (TokenReview, ComponentStatus).
    pub stored: bool,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Selectable fields.
    pub fields: Vec<Field>,
    /// How the scale subresource works, if there is one.
    pub scale: Option<Scale>,
    /// Server-side table.
    pub table: Table,
    /// Group and resource under whose name objects are stored: this kind's own, or another version's.
    pub storage: (Arc<str>, Arc<str>),
    /// Conversion if the stored form is another version's.
    pub conversion: Option<Conversion>,
    /// Rule of the name.
    pub name_rule: fn(&str) -> Vec<String>,
    /// Whether the kind's `metadata.generation` counts changes outside metadata and status.
    pub generation: bool,
    /// Whether an update may come without a resource version.
    pub unconditional_update: bool,
    /// Whether PUT of a missing object creates it.
    pub create_on_update: bool,
    /// Defaults in the format of `gifee_schema::defaults`; empty if there are none. The tables of all rows are one: each
    /// stands with the kind whose types it is most about.
    pub defaults: &'static str,
    /// Hooks.
    pub hooks: Arc<dyn Hooks>,
    /// Of a custom resource, what a built-in kind does not have.
    pub custom: Option<Arc<Custom>>,
}
