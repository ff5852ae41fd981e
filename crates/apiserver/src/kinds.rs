//! The index of served resources. It grows and shrinks at run time, as CustomResourceDefinitions come and go.
//!
//! Invariant: an index never changes; a new one takes its place as a whole. A row is served the same way
//! whether it was compiled in or made from a definition.

use crate::cache::Cache;
use crate::conversion::Converter;
use gifee_base::gvk::api_version;
use gifee_registry::kind::{Subresource, Verb};
use gifee_registry::{Kind, reset};
use gifee_schema::Schema;
use gifee_schema::apply::Filter;
use gifee_schema::defaults::Defaults;
use std::collections::HashMap;
use std::sync::Arc;

/// Schemas of all versions that a definition names, by API version.
pub type Forms = HashMap<String, Schema>;

/// A served resource: its row, and what the engine made of it.
pub struct Resource {
    /// The row.
    pub kind: Kind,
    /// `group/version` as objects name it.
    pub api_version: String,
    /// Schema; None: any object goes.
    pub schema: Option<Schema>,
    /// Defaults of the arena that the schema is of.
    pub defaults: Option<Arc<Defaults>>,
    /// Where its objects are; None for kinds that are only computed.
    pub cache: Option<Arc<Cache>>,
    /// Who makes its versions of one another, if that takes a webhook.
    pub converter: Option<Arc<Converter>>,
    /// All its versions, served or not, if a definition names them.
    pub forms: Option<Arc<Forms>>,
    /// Whether its schema has rules that are expressions.
    pub ruled: bool,
    /// What a write may own: of the object, then of its subresources in their order.
    filters: Vec<Filter>,
}

impl Resource {
    /// Makes a row servable.
    pub fn new(
        kind: Kind,
        schema: Option<Schema>,
        defaults: Option<Arc<Defaults>>,
        cache: Option<Arc<Cache>>,
    ) -> Self {
        let api_version = api_version(&kind.gvk.group, &kind.gvk.version);
        let parts = kind.subresources.iter().map(|one| &*one.name);
        let filters = std::iter::once("").chain(parts).map(|part| reset::filter(&kind, part)).collect();
        Self {
            kind,
            api_version,
            schema,
            defaults,
            cache,
            converter: None,
            forms: None,
            ruled: false,
            filters,
        }
    }

    /// Whether objects have a protobuf form.
    pub fn has_wire(&self) -> bool {
        self.schema.as_ref().is_some_and(Schema::has_wire)
    }

    /// What a write of a subresource, or of the object, may own.
    pub fn filter(&self, subresource: &str) -> &Filter {
        let part = self.kind.subresources.iter().position(|one| &*one.name == subresource);
        &self.filters[part.map_or(0, |at| at + 1)]
    }

    /// API group.
    pub fn group(&self) -> &str {
        &self.kind.gvk.group
    }

    /// API version.
    pub fn version(&self) -> &str {
        &self.kind.gvk.version
    }

    /// Plural resource.
    pub fn name(&self) -> &str {
        &self.kind.resource
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.kind.scope == gifee_registry::kind::Scope::Namespaced
    }

    /// Whether it offers a verb.
    pub fn offers(&self, verb: Verb) -> bool {
        self.kind.verbs.contains(&verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.kind.subresources.iter().find(|one| &*one.name == name)
    }

    fn sort_key(&self) -> (&str, &str, &str) {
        (self.group(), self.version(), self.name())
    }
}

/// All served resources.
#[derive(Default)]
pub struct Kinds {
    /// In the order of discovery.
    ordered: Vec<Arc<Resource>>,
    /// The same, sorted by group, version and resource.
    sorted: Vec<Arc<Resource>>,
    /// Counts changes of the index: what documents made of it are cached by.
    pub generation: u64,
}

impl Kinds {
    /// An index of these resources.
    pub fn new(ordered: Vec<Arc<Resource>>, generation: u64) -> Self {
        let mut sorted = ordered.clone();
        sorted.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        Self { ordered, sorted, generation }
    }

    /// All, in the order of discovery.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.ordered
    }

    /// A resource by its place in URLs.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Resource>> {
        let found = self.sorted.binary_search_by(|one| one.sort_key().cmp(&(group, version, resource)));
        found.ok().map(|index| &self.sorted[index])
    }

    /// A resource in whichever version comes first in discovery.
    pub fn preferred(&self, group: &str, resource: &str) -> Option<&Arc<Resource>> {
        self.ordered.iter().find(|one| one.group() == group && one.name() == resource)
    }

    /// Whether anything of a group and version is served.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.ordered.iter().any(|one| one.group() == group && one.version() == version)
    }
}
