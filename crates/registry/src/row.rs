//! How a row of KINDS is written: from a kind's names, then what differs from most kinds.
//!
//! Answers to the registration of storages in upstream's `pkg/registry/*/rest` packages.

use crate::kind::{
    ALL, Action, Conversion, Field, Hooks, Kind, Plain, Scale, Scope, Subresource, Table, Verb,
};
use crate::rules::{RULES, Ruled, Rules};
use crate::table;
use gifee_base::{Gvk, name};
use std::sync::Arc;

/// What a subresource over the object itself offers.
const PART: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
/// What a proxied subresource offers.
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];

/// Splits a dotted path.
pub fn path(dotted: &str) -> Vec<Arc<str>> {
    dotted.split('.').map(Arc::from).collect()
}

fn words(words: &[&str]) -> Vec<Arc<str>> {
    words.iter().map(|word| Arc::from(*word)).collect()
}

/// A row as most kinds have it: namespaced, stored, all verbs, DNS subdomain names, no subresources.
pub fn row(api_version: &str, kind: &str, resource: &str) -> Kind {
    let gvk = Gvk::from_api_version(api_version, kind);
    let storage = (Arc::clone(&gvk.group), Arc::from(resource));
    Kind {
        list_kind: format!("{kind}List").into(),
        resource: resource.into(),
        singular: kind.to_ascii_lowercase().into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Namespaced,
        verbs: ALL,
        stored: true,
        subresources: Vec::new(),
        fields: Vec::new(),
        scale: None,
        table: table::created_at(),
        storage,
        conversion: None,
        name_rule: name::dns_subdomain,
        generation: false,
        unconditional_update: true,
        create_on_update: false,
        defaults: "",
        hooks: Arc::new(Plain),
        custom: None,
        gvk,
    }
}

/// A row of a kind that is only computed on create: a review.
pub fn review(api_version: &str, kind: &str, resource: &str) -> Kind {
    let mut row = row(api_version, kind, resource).verbs(&[Verb::Create]);
    row.stored = false;
    row
}

impl Kind {
    /// In no namespace.
    #[must_use]
    pub fn cluster(mut self) -> Self {
        self.scope = Scope::Cluster;
        self
    }

    /// With short names.
    #[must_use]
    pub fn short(mut self, names: &[&str]) -> Self {
        self.short_names = words(names);
        self
    }

    /// In a category.
    #[must_use]
    pub fn category(mut self, category: &str) -> Self {
        self.categories.push(category.into());
        self
    }

    /// With other verbs than all.
    #[must_use]
    pub fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }

    fn subresource(mut self, name: &str, gvk: Option<Gvk>, verbs: &'static [Verb], action: Action) -> Self {
        self.subresources.push(Subresource { name: name.into(), gvk, verbs, action });
        self.subresources.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// With a status subresource.
    #[must_use]
    pub fn status(self) -> Self {
        self.part("status").rules(RULES)
    }

    /// With a subresource that is a part of the object, such as `approval`.
    #[must_use]
    pub fn part(self, name: &str) -> Self {
        self.subresource(name, None, PART, Action::Part)
    }

    /// With a subresource that is a part of the object and can only be updated.
    #[must_use]
    pub fn update_part(self, name: &str) -> Self {
        self.subresource(name, None, &[Verb::Update], Action::Part)
    }

    /// With a scale over `spec.replicas`, `status.replicas` and `spec.selector`.
    #[must_use]
    pub fn scale(mut self) -> Self {
        self.scale = Some(Scale {
            spec_replicas: path("spec.replicas"),
            status_replicas: path("status.replicas"),
            selector: Some(path("spec.selector")),
        });
        self.subresource("scale", Some(Gvk::new("autoscaling", "v1", "Scale")), PART, Action::Scale)
    }

    /// With a call that takes a body of another kind.
    #[must_use]
    pub fn call(self, name: &str, api_version: &str, kind: &str) -> Self {
        let gvk = Gvk::from_api_version(api_version, kind);
        self.subresource(name, Some(gvk), &[Verb::Create], Action::Call)
    }

    /// With a stream, whose options are a kind of the core group.
    #[must_use]
    pub fn connect(self, name: &str, options: &str) -> Self {
        let verbs: &'static [Verb] = match name {
            "proxy" => PROXY,
            "log" => &[Verb::Get],
            _ => &[Verb::Create, Verb::Get],
        };
        let gvk = (!options.is_empty()).then(|| Gvk::new("", "v1", options));
        self.subresource(name, gvk, verbs, Action::Connect)
    }

    /// With selectable fields; of `a<b`, `a` is the name and `b` the path, and `=x` at the end says what an
    /// absent value counts as. Of several of one name in a row, the first that is there counts.
    #[must_use]
    pub fn fields(mut self, fields: &'static [&'static str]) -> Self {
        for field in fields {
            let (field, absent) = field.split_once('=').unwrap_or((field, ""));
            let (name, at) = field.split_once('<').unwrap_or((field, field));
            self.fields.push(Field { name: name.into(), path: path(at), absent, indexed: false });
        }
        self
    }

    /// With watchers indexed by a selectable field.
    #[must_use]
    pub fn indexed(mut self, name: &'static str) -> Self {
        self.fields.push(Field { name: name.into(), path: path(name), absent: "", indexed: true });
        self
    }

    /// With a table of its own.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.table = table;
        self
    }

    /// Stored in the form of another version.
    #[must_use]
    pub fn stored_as(mut self, group: &str, resource: &str, conversion: Conversion) -> Self {
        self.storage = (group.into(), resource.into());
        self.conversion = Some(conversion);
        self
    }

    /// With another rule for names.
    #[must_use]
    pub fn named(mut self, rule: fn(&str) -> Vec<String>) -> Self {
        self.name_rule = rule;
        self
    }

    /// Counting changes of its wanted state in `metadata.generation`.
    #[must_use]
    pub fn generation(mut self) -> Self {
        self.generation = true;
        self
    }

    /// Every update must name the resource version it is based on.
    #[must_use]
    pub fn versioned_update(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    /// PUT of a missing object creates it.
    #[must_use]
    pub fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }

    /// With a table of defaults.
    #[must_use]
    pub fn defaults(mut self, table: &'static str) -> Self {
        self.defaults = table;
        self
    }

    /// With rules; after `status`, if there is one.
    #[must_use]
    pub(crate) fn rules(mut self, rules: Rules) -> Self {
        let has_status = self.subresources.iter().any(|one| &*one.name == "status");
        self.hooks = Arc::new(Ruled::new(rules, has_status));
        self
    }

    /// With hooks of its own.
    #[must_use]
    pub fn hooks(mut self, hooks: impl Hooks + 'static) -> Self {
        self.hooks = Arc::new(hooks);
        self
    }
}
