//! The schemas of a document: every type that its resources reach, each made when it is written.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::descriptions::{Descriptions, unescape};
use super::{Form, Kinds, Resource, custom, group_versions};
use crate::Schema;
use crate::shape::{Field, FieldFlags, ListKind, NodeId, Shape, StructId, Types};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// Kinds every document mentions, whatever its resources.
const ALWAYS: &[&str] = &["APIResourceList", "DeleteOptions", "Status", "WatchEvent"];

/// What a model is made from.
enum Model<'a> {
    Struct(&'a Types, StructId),
    Special(Value),
    /// Of a custom resource, as its definition has it.
    Custom(&'a Value),
    /// A list kind that has no type of its own: of a custom resource.
    List(String, String),
}

pub(super) struct Definitions<'a> {
    form: Form,
    descriptions: Descriptions,
    models: BTreeMap<String, Model<'a>>,
    kinds: Kinds,
    /// By which fields objects can be selected, by model.
    selectable: BTreeMap<String, Value>,
}

/// The model's name of a kind, of its own arena or built in.
pub(super) fn model(schema: &Schema) -> Option<String> {
    match schema.types().shape(schema.root()) {
        Shape::Struct(id) => Some(schema.types().structure(id).model()),
        _ => None,
    }
}

/// The schema and model of a resource's list kind; without a schema if it has no type.
pub(super) fn list_model(resource: &Resource) -> (Option<NodeId>, String) {
    let types = resource.schema.types();
    let kind = &resource.list_kind;
    let found =
        types.root(&resource.group, &resource.version, kind).filter(|node| match types.shape(*node) {
            Shape::Struct(id) => types.structure(id).name() == *kind,
            _ => false,
        });
    match found.map(|node| (node, types.shape(node))) {
        Some((node, Shape::Struct(id))) => (Some(node), types.structure(id).model()),
        _ => {
            let own = model(&resource.schema).unwrap_or_default();
            let place = own.strip_suffix(&resource.kind).unwrap_or_default();
            (None, format!("{place}{kind}"))
        }
    }
}

impl<'a> Definitions<'a> {
    /// The schemas that `own` reach. `all` says in which groups the kinds live that live in all.
    pub fn new(form: Form, own: &[&'a Resource], all: &[Resource]) -> Definitions<'a> {
        let mut definitions = Definitions {
            form,
            descriptions: Descriptions::new(),
            models: BTreeMap::new(),
            kinds: Kinds::new(),
            selectable: BTreeMap::new(),
        };
        let builtin: &'a Types = crate::facts::builtin();
        definitions.models.insert(format!("{META}.Patch"), Model::Special(json!({"type": "object"})));
        for kind in ALWAYS {
            if let Some(root) = builtin.root("", "v1", kind) {
                definitions.reach(builtin, root);
                let everywhere = matches!(*kind, "DeleteOptions" | "WatchEvent");
                let group_versions =
                    if everywhere { group_versions(all) } else { [Default::default()].into() };
                for (group, version) in group_versions {
                    let version = if version.is_empty() { "v1".to_string() } else { version };
                    definitions.kind(builtin, root, [&group, &version, kind]);
                }
            }
        }
        for resource in own {
            let types = resource.schema.types();
            let gvk = [&*resource.group, &*resource.version, &*resource.kind];
            match (resource.schema.published(), model(&resource.schema)) {
                (Some(published), Some(name)) => {
                    definitions.custom(builtin);
                    definitions.models.insert(name, Model::Custom(published));
                }
                _ => definitions.reach(types, resource.schema.root()),
            }
            definitions.kind(types, resource.schema.root(), gvk);
            definitions.select(resource);
            if resource.verbs.iter().any(|verb| verb == "list") {
                definitions.list(resource, types);
            }
            for subresource in &resource.subresources {
                let (group, version, kind) = &subresource.gvk;
                if let Some(root) = builtin.root(group, version, kind) {
                    definitions.reach(builtin, root);
                    definitions.kind(builtin, root, [group, version, kind]);
                }
            }
        }
        definitions
    }

    /// Takes in what every custom resource refers to.
    fn custom(&mut self, builtin: &'a Types) {
        let Some(list) = builtin.root("", "v1", "ConfigMapList") else { return };
        let Shape::Struct(list) = builtin.shape(list) else { return };
        if let Some(field) = builtin.field(list, "metadata") {
            self.reach(builtin, field.node);
        }
        let Some(Shape::Struct(one)) = builtin.root("", "v1", "ConfigMap").map(|root| builtin.shape(root))
        else {
            return;
        };
        if let Some(field) = builtin.field(one, "metadata") {
            self.reach(builtin, field.node);
        }
    }

    fn select(&mut self, resource: &Resource) {
        if resource.selectable.is_empty() {
            return;
        }
        let fields: Value = resource.selectable.iter().map(|field| json!({ "fieldPath": field })).collect();
        let names = [model(&resource.schema).unwrap_or_default(), list_model(resource).1];
        self.selectable.extend(names.map(|name| (name, fields.clone())));
    }

    fn list(&mut self, resource: &'a Resource, types: &'a Types) {
        let (root, list) = list_model(resource);
        let kind = resource.list_kind.clone();
        let gvk = [&*resource.group, &*resource.version, &*kind];
        match root {
            Some(root) => {
                self.reach(types, root);
                self.kind(types, root, gvk);
            }
            None => {
                let item = model(&resource.schema).unwrap_or_default();
                let what = format!("{} is a list of {}", resource.list_kind, resource.kind);
                self.models.insert(list.clone(), Model::List(what, item));
                self.mark(list, gvk);
            }
        }
    }

    fn kind(&mut self, types: &Types, root: NodeId, gvk: [&str; 3]) {
        if let Shape::Struct(id) = types.shape(root) {
            self.mark(types.structure(id).model(), gvk);
        }
    }

    fn mark(&mut self, model: String, [group, version, kind]: [&str; 3]) {
        let entry = json!({"group": group, "kind": kind, "version": version});
        let kinds = self.kinds.entry(model).or_default();
        if !kinds.contains(&entry) {
            kinds.push(entry);
        }
    }

    /// Takes in every type below a node.
    fn reach(&mut self, types: &'a Types, node: NodeId) {
        match types.shape(node) {
            Shape::Struct(id) => {
                let name = types.structure(id).model();
                if types.structure(id).name().is_empty() || !self.models.contains_key(&name) {
                    if !types.structure(id).name().is_empty() {
                        self.own_kind(types, id, &name);
                        self.models.insert(name, Model::Struct(types, id));
                    }
                    for field in types.fields(id) {
                        self.reach(types, field.node);
                    }
                }
            }
            Shape::List { item, .. } => self.reach(types, item),
            Shape::Map { value, .. } => self.reach(types, value),
            Shape::OrBool(inner) | Shape::OrList(inner) | Shape::OrStrings(inner) => {
                self.special(types.shape(node));
                self.reach(types, inner);
            }
            shape => self.special(shape),
        }
    }

    /// Marks a kind that stands inside another one.
    fn own_kind(&mut self, types: &Types, id: StructId, model: &str) {
        let row = types.row(id);
        let package = types.package(row.package);
        if row.kind && !model.starts_with(META) {
            let gvk = [types.text(package.group), types.text(package.version), types.text(row.name)];
            self.mark(model.to_string(), gvk);
        }
    }

    fn special(&mut self, shape: Shape) {
        if let Some((name, value)) = special(shape, self.form) {
            self.models.entry(name).or_insert(Model::Special(value));
        }
    }

    /// The names of the models.
    pub fn names(&self) -> BTreeSet<String> {
        self.models.keys().cloned().collect()
    }

    /// The models in the order of their names.
    pub fn each(&self) -> impl Iterator<Item = (&str, Value)> {
        self.models.iter().map(|(name, model)| (name.as_str(), self.make(name, model)))
    }

    fn make(&self, name: &str, model: &Model) -> Value {
        let mut out = match model {
            Model::Struct(types, id) => self.structure(types, *id, name),
            Model::Custom(published) => custom::model(published, self.form, &format!("{META}.ObjectMeta")),
            Model::Special(value) => value.as_object().cloned().unwrap_or_default(),
            Model::List(what, item) => self.custom_list(what, item),
        };
        if !matches!(model, Model::Custom(_)) {
            describe(&mut out, self.descriptions.of_type(name));
        }
        if let Some(fields) = self.selectable.get(name) {
            out.insert("x-kubernetes-selectable-fields".to_string(), fields.clone());
        }
        if let Some(kinds) = self.kinds.get(name) {
            out.insert("x-kubernetes-group-version-kind".to_string(), Value::Array(kinds.clone()));
        }
        Value::Object(out)
    }

    fn structure(&self, types: &Types, id: StructId, name: &str) -> Map<String, Value> {
        let described = self.descriptions.of_fields(name);
        let mut out = Map::new();
        out.insert("type".to_string(), json!("object"));
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in types.fields(id) {
            let name = types.text(field.name);
            let mut property = self.field(types, field);
            if let Some(text) = described.get(name) {
                describe(&mut property, unescape(text));
            }
            properties.insert(name.to_string(), Value::Object(self.wrap(property)));
            if field.flags.has(FieldFlags::REQUIRED) {
                required.push(json!(name));
            }
        }
        if !properties.is_empty() {
            out.insert("properties".to_string(), Value::Object(properties));
        }
        if !required.is_empty() {
            out.insert("required".to_string(), Value::Array(required));
        }
        if types.row(id).atomic {
            out.insert("x-kubernetes-map-type".to_string(), json!("atomic"));
        }
        out
    }

    fn custom_list(&self, what: &str, item: &str) -> Map<String, Value> {
        let text = json!({"type": "string"});
        let metadata = Value::Object(self.wrap(reference(self.form, &format!("{META}.ListMeta"))));
        let items = json!({"type": "array", "items": self.form.reference(item)});
        let value = json!({
            "type": "object",
            "required": ["items"],
            "properties": {"apiVersion": text, "kind": text, "metadata": metadata, "items": items},
            "description": what,
        });
        value.as_object().cloned().unwrap_or_default()
    }

    fn field(&self, types: &Types, field: &Field) -> Map<String, Value> {
        let mut out = self.node(types, field.node);
        let mut set = |name: &str, value: Value| {
            out.insert(format!("x-kubernetes-{name}"), value);
        };
        match types.shape(field.node) {
            Shape::List { kind: Some(kind), keys, .. } => {
                set("list-type", json!(list_kind(kind)));
                let keys = types.text(keys);
                if !keys.is_empty() {
                    set("list-map-keys", json!(keys.split(',').collect::<Vec<_>>()));
                }
            }
            Shape::Map { atomic: true, .. } => set("map-type", json!("atomic")),
            Shape::Struct(_) if field.flags.has(FieldFlags::ATOMIC) => set("map-type", json!("atomic")),
            _ => {}
        }
        let strategies: Vec<_> = [
            (FieldFlags::MERGE, "merge"),
            (FieldFlags::RETAIN_KEYS, "retainKeys"),
            (FieldFlags::REPLACE, "replace"),
        ]
        .into_iter()
        .filter(|(flag, _)| field.flags.has(*flag))
        .map(|(_, name)| name)
        .collect();
        if !strategies.is_empty() {
            set("patch-strategy", json!(strategies.join(",")));
        }
        let key = types.text(field.merge_key);
        if !key.is_empty() {
            set("patch-merge-key", json!(key));
        }
        if self.form == Form::V3
            && let Some(default) = default(types, field)
        {
            out.insert("default".to_string(), default);
        }
        out
    }

    fn node(&self, types: &Types, node: NodeId) -> Map<String, Value> {
        let form = self.form;
        let mut out = match types.shape(node) {
            Shape::Struct(id) if types.structure(id).name().is_empty() => self.structure(types, id, ""),
            Shape::Struct(id) => reference(form, &types.structure(id).model()),
            Shape::List { item, .. } => {
                let item = self.wrap(self.node(types, item));
                object(json!({"type": "array", "items": item}))
            }
            Shape::Map { value, .. } => {
                let value = self.wrap(self.node(types, value));
                object(json!({"type": "object", "additionalProperties": value}))
            }
            Shape::String => object(json!({"type": "string"})),
            Shape::Int32 => object(json!({"type": "integer", "format": "int32"})),
            Shape::Int64 => object(json!({"type": "integer", "format": "int64"})),
            Shape::Float64 => object(json!({"type": "number", "format": "double"})),
            Shape::Bool => object(json!({"type": "boolean"})),
            Shape::Bytes => object(json!({"type": "string", "format": "byte"})),
            Shape::Any => object(json!({"type": "object"})),
            shape => special(shape, form).map(|(name, _)| reference(form, &name)).unwrap_or_default(),
        };
        let values: Vec<_> = types.values(node).map(|value| json!(value)).collect();
        if !values.is_empty() {
            out.insert("enum".to_string(), Value::Array(values));
        }
        out
    }

    /// In version 3 nothing may stand beside a reference.
    fn wrap(&self, mut schema: Map<String, Value>) -> Map<String, Value> {
        if self.form == Form::V3
            && schema.len() > 1
            && let Some(target) = schema.remove("$ref")
        {
            schema.insert("allOf".to_string(), json!([{"$ref": target}]));
        }
        schema
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn reference(form: Form, model: &str) -> Map<String, Value> {
    object(form.reference(model))
}

fn describe(schema: &mut Map<String, Value>, text: Cow<str>) {
    if !text.is_empty() {
        schema.insert("description".to_string(), Value::String(text.into_owned()));
    }
}

fn list_kind(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Atomic => "atomic",
        ListKind::Set => "set",
        ListKind::Map => "map",
    }
}

/// The zero value that a schema names as default; None where Go's is null.
fn zero(shape: Shape) -> Option<Value> {
    match shape {
        Shape::Struct(_) => Some(json!({})),
        Shape::String => Some(json!("")),
        Shape::Int32 | Shape::Int64 | Shape::Float64 => Some(json!(0)),
        Shape::Bool => Some(json!(false)),
        _ => None,
    }
}

fn default(types: &Types, field: &Field) -> Option<Value> {
    let declared = types.text(field.default);
    if !declared.is_empty() {
        return serde_json::from_str(declared).ok();
    }
    if field.flags.has(FieldFlags::POINTER) {
        return None;
    }
    match types.shape(field.node) {
        Shape::Struct(_) => Some(json!({})),
        _ if field.flags.has(FieldFlags::OMIT_EMPTY) => None,
        shape => zero(shape),
    }
}

/// Types that are their own models, whatever Go's declaration.
fn special(shape: Shape, form: Form) -> Option<(String, Value)> {
    let either = |v2: Value, v3: Value| if form == Form::V2 { v2 } else { v3 };
    let date = json!({"type": "string", "format": "date-time"});
    let (name, value) = match shape {
        Shape::Quantity => (
            "io.k8s.apimachinery.pkg.api.resource.Quantity".to_string(),
            either(json!({"type": "string"}), json!({"oneOf": [{"type": "string"}, {"type": "number"}]})),
        ),
        Shape::IntOrString => (
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_string(),
            either(
                json!({"type": "string", "format": "int-or-string"}),
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
        ),
        Shape::Time => (format!("{META}.Time"), date),
        Shape::MicroTime => (format!("{META}.MicroTime"), date),
        Shape::Duration => (format!("{META}.Duration"), json!({"type": "string"})),
        Shape::Raw => ("io.k8s.apimachinery.pkg.runtime.RawExtension".to_string(), json!({"type": "object"})),
        Shape::Fields => (format!("{META}.FieldsV1"), json!({"type": "object"})),
        Shape::Json => (format!("{EXTENSIONS}.JSON"), json!({})),
        Shape::OrBool(_) => (format!("{EXTENSIONS}.JSONSchemaPropsOrBool"), json!({})),
        Shape::OrList(_) => (format!("{EXTENSIONS}.JSONSchemaPropsOrArray"), json!({})),
        Shape::OrStrings(_) => (format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray"), json!({})),
        _ => return None,
    };
    Some((name, value))
}
