//! The paths of a document: an operation per verb, with the parameters that clients look for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::{list_model, model};
use super::{Form, Resource, group_version_path};
use crate::Schema;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What objects are written in; those of custom resources have no protobuf.
const MEDIA: &[&str] = &[JSON, YAML, PROTOBUF];
/// What patches are written in; custom resources have no strategic ones, and kubectl asks here which it may send.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
];

/// `all` but the last of them, which only built-in kinds have.
fn had<'a>(resource: &Resource, all: &'a [&'a str]) -> &'a [&'a str] {
    if resource.schema.has_wire() { all } else { &all[..all.len() - 1] }
}

/// (verb of discovery, method, action, word of the operation's name)
const VERBS: &[(&str, &str, &str, &str)] = &[
    ("create", "post", "post", "create"),
    ("delete", "delete", "delete", "delete"),
    ("deletecollection", "delete", "deletecollection", "delete"),
    ("get", "get", "get", "read"),
    ("list", "get", "list", "list"),
    ("patch", "patch", "patch", "patch"),
    ("update", "put", "put", "replace"),
];

const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// What an operation works on.
struct Target<'a> {
    form: Form,
    resource: &'a Resource,
    /// Group, version, kind and model of the bodies.
    gvk: [&'a str; 3],
    model: String,
    list: String,
    /// `Namespaced` if the path names a namespace.
    namespaced: bool,
    subresource: &'a str,
}

/// Every path with its operations.
pub(super) fn all(form: Form, resources: &[&Resource]) -> BTreeMap<String, Value> {
    let mut paths = BTreeMap::new();
    for resource in resources {
        let root = format!("/{}/", group_version_path(&resource.group, &resource.version));
        paths.entry(root.clone()).or_insert_with(|| discovery(form, resource));
        let namespace = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
        let plural = &resource.plural;
        let mut target = Target {
            form,
            resource,
            gvk: [&resource.group, &resource.version, &resource.kind],
            model: model(&resource.schema).unwrap_or_default(),
            list: list_model(resource).1,
            namespaced: resource.namespaced,
            subresource: "",
        };
        let mut put = |path: String, item: Option<Value>| paths.extend(item.map(|item| (path, item)));
        let collection = ["list", "create", "deletecollection"];
        put(format!("{root}{namespace}{plural}"), target.item(&resource.verbs, &collection));
        let single = ["get", "update", "patch", "delete"];
        put(format!("{root}{namespace}{plural}/{{name}}"), target.item(&resource.verbs, &single));
        for subresource in &resource.subresources {
            let (group, version, kind) = &subresource.gvk;
            let path = format!("{root}{namespace}{plural}/{{name}}/{}", subresource.name);
            let target = Target {
                form,
                resource,
                gvk: [group, version, kind],
                model: subresource_model(resource, [group, version, kind]),
                list: String::new(),
                namespaced: resource.namespaced,
                subresource: &subresource.name,
            };
            put(path, target.item(&subresource.verbs, &["create", "get", "update", "patch", "delete"]));
        }
        if resource.namespaced && resource.verbs.iter().any(|verb| verb == "list") {
            target.namespaced = false;
            put(format!("{root}{plural}"), target.item(&resource.verbs, &["list"]));
        }
    }
    paths
}

fn subresource_model(resource: &Resource, [group, version, kind]: [&str; 3]) -> String {
    if [group, version, kind] == [&resource.group, &resource.version, &resource.kind] {
        return model(&resource.schema).unwrap_or_default();
    }
    Schema::builtin(group, version, kind).and_then(|schema| model(&schema)).unwrap_or_default()
}

fn discovery(form: Form, resource: &Resource) -> Value {
    let list = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
    let mut operation = Map::new();
    operation.insert("description".to_string(), json!("get available resources"));
    let name = format!("get{}APIResources", group_word(resource));
    operation.insert("operationId".to_string(), json!(name));
    operation.insert("tags".to_string(), json!([tag(resource)]));
    let media = had(resource, MEDIA);
    operation.insert("responses".to_string(), responses(form, &[("200", "OK")], list, media));
    if form == Form::V2 {
        media_v2(&mut operation, media);
    }
    json!({"get": operation})
}

/// `AppsV1`, `CoreV1`, `RbacAuthorizationV1`.
fn group_word(resource: &Resource) -> String {
    capitalised(&group_name(resource)) + &capitalised(&resource.version)
}

fn group_name(resource: &Resource) -> String {
    if resource.group.is_empty() {
        return "core".to_string();
    }
    let short = resource.group.strip_suffix(".k8s.io").unwrap_or(&resource.group);
    let mut words = short.split(['.', '-']);
    let first = words.next().unwrap_or_default().to_string();
    words.fold(first, |name, word| name + &capitalised(word))
}

fn tag(resource: &Resource) -> String {
    format!("{}_{}", group_name(resource), resource.version)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn parameter(form: Form, place: &str, name: &str, kind: &str) -> Value {
    let mut out = Map::new();
    out.insert("in".to_string(), json!(place));
    out.insert("name".to_string(), json!(name));
    if place == "path" {
        out.insert("required".to_string(), json!(true));
    }
    match form {
        Form::V2 => {
            out.insert("type".to_string(), json!(kind));
            out.insert("uniqueItems".to_string(), json!(true));
        }
        Form::V3 => {
            out.insert("schema".to_string(), json!({"type": kind, "uniqueItems": true}));
        }
    }
    Value::Object(out)
}

fn media_v2(operation: &mut Map<String, Value>, produces: &[&str]) {
    operation.entry("consumes").or_insert_with(|| json!(["*/*"]));
    operation.insert("produces".to_string(), json!(produces));
    operation.insert("schemes".to_string(), json!(["https"]));
}

fn responses(form: Form, codes: &[(&str, &str)], model: &str, media: &[&str]) -> Value {
    let mut out = Map::new();
    let reference = form.reference(model);
    for (code, text) in codes {
        let response = match form {
            Form::V2 => json!({"description": text, "schema": reference}),
            Form::V3 => {
                let content = json!({"schema": reference});
                let content: Map<_, _> =
                    media.iter().map(|media| (media.to_string(), content.clone())).collect();
                json!({"description": text, "content": content})
            }
        };
        out.insert(code.to_string(), response);
    }
    out.insert("401".to_string(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}

impl Target<'_> {
    /// The path's item with the operations of those verbs; None without any.
    fn item(&self, verbs: &[String], wanted: &[&str]) -> Option<Value> {
        let mut item = Map::new();
        let has = |verb: &str| verbs.iter().any(|one| one == verb) && wanted.contains(&verb);
        for (verb, method, action, word) in VERBS.iter().filter(|(verb, ..)| has(verb)) {
            item.insert(method.to_string(), self.operation(verb, action, word));
        }
        if item.is_empty() {
            return None;
        }
        let named = !wanted.contains(&"list");
        let mut parameters = Vec::new();
        if named {
            parameters.push(parameter(self.form, "path", "name", "string"));
        }
        if self.namespaced {
            parameters.push(parameter(self.form, "path", "namespace", "string"));
        }
        parameters.push(parameter(self.form, "query", "pretty", "string"));
        item.insert("parameters".to_string(), Value::Array(parameters));
        Some(Value::Object(item))
    }

    fn operation(&self, verb: &str, action: &str, word: &str) -> Value {
        let mut out = Map::new();
        out.insert("operationId".to_string(), json!(self.name(verb, word)));
        out.insert("tags".to_string(), json!([tag(self.resource)]));
        out.insert("x-kubernetes-action".to_string(), json!(action));
        let [group, version, kind] = self.gvk;
        out.insert(
            "x-kubernetes-group-version-kind".to_string(),
            json!({"group": group, "kind": kind, "version": version}),
        );
        let mut parameters = self.body(verb, &mut out);
        let query: Vec<(&str, &str)> = match verb {
            "list" => LIST.to_vec(),
            "create" | "update" => WRITE.to_vec(),
            "patch" => WRITE.iter().copied().chain([("force", "boolean")]).collect(),
            "delete" => DELETE.to_vec(),
            "deletecollection" => LIST
                .iter()
                .copied()
                .filter(|(name, _)| !["allowWatchBookmarks", "watch"].contains(name))
                .chain(DELETE.iter().copied())
                .collect(),
            _ => Vec::new(),
        };
        parameters.extend(query.into_iter().map(|(name, kind)| parameter(self.form, "query", name, kind)));
        if !parameters.is_empty() {
            out.insert("parameters".to_string(), Value::Array(parameters));
        }
        out.insert("responses".to_string(), self.responses(verb));
        if self.form == Form::V2 {
            media_v2(&mut out, &self.media(verb));
        }
        Value::Object(out)
    }

    fn name(&self, verb: &str, word: &str) -> String {
        let (group, kind) = (group_word(self.resource), &self.resource.kind);
        let collection = if verb == "deletecollection" { "Collection" } else { "" };
        let scope = if self.namespaced { "Namespaced" } else { "" };
        let all = verb == "list" && self.resource.namespaced && !self.namespaced;
        let everywhere = if all { "ForAllNamespaces" } else { "" };
        format!("{word}{group}{collection}{scope}{kind}{}{everywhere}", capitalised(self.subresource))
    }

    /// Adds the body that a verb takes: in version 2 it is a parameter, which is returned.
    fn body(&self, verb: &str, out: &mut Map<String, Value>) -> Vec<Value> {
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1";
        let (model, required) = match verb {
            "create" | "update" => (self.model.clone(), true),
            "patch" => (format!("{meta}.Patch"), true),
            "delete" | "deletecollection" => (format!("{meta}.DeleteOptions"), false),
            _ => return Vec::new(),
        };
        let reference = self.form.reference(&model);
        let media = if verb == "patch" { had(self.resource, PATCHES) } else { &["*/*"] };
        match self.form {
            Form::V2 => {
                out.insert("consumes".to_string(), json!(media));
                let mut body = json!({"in": "body", "name": "body", "schema": reference});
                if required {
                    body["required"] = json!(true);
                }
                vec![body]
            }
            Form::V3 => {
                let content: Map<_, _> =
                    media.iter().map(|media| (media.to_string(), json!({"schema": reference}))).collect();
                let mut body = json!({"content": content});
                if required {
                    body["required"] = json!(true);
                }
                out.insert("requestBody".to_string(), body);
                Vec::new()
            }
        }
    }

    /// What the answer to a verb can be written in.
    fn media(&self, verb: &str) -> Vec<&'static str> {
        let mut media = had(self.resource, MEDIA).to_vec();
        if verb == "list" {
            let streams: &[&str] =
                &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
            media.extend(had(self.resource, streams));
        }
        media
    }

    fn responses(&self, verb: &str) -> Value {
        let status = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
        let (ok, created, accepted) = (("200", "OK"), ("201", "Created"), ("202", "Accepted"));
        let (codes, model): (&[_], &str) = match verb {
            "list" => (&[ok], &self.list),
            "create" => (&[ok, created, accepted], &self.model),
            "update" | "patch" => (&[ok, created], &self.model),
            "deletecollection" => (&[ok], status),
            // What deleting gives is a Status, but for the kinds that give the object, which clients do not ask for.
            "delete" => (&[ok, accepted], status),
            _ => (&[ok], &self.model),
        };
        responses(self.form, codes, model, &self.media(verb))
    }
}
