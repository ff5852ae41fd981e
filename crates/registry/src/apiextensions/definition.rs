//! From a CustomResourceDefinition to rows: one per version.
//!
//! Invariant: a row made here is served by the same engine as one that was compiled in. Answers to the part of
//! apiextensions' `customresource_handler` that makes storages.

use super::columns;
use super::instances::Instances;
use crate::kind::{ALL, Action, Custom, Field, Kind, Scale, Scope, Subresource, Verb};
use crate::row::{path, row};
use crate::value::{items, text};
use gifee_base::Gvk;
use gifee_base::gvk::api_version;
use gifee_schema::structural::{Rules, Structural};
use gifee_schema::{Result, Schema};
use serde_json::Value;
use std::cmp::Ordering;
use std::sync::Arc;

/// What a subresource over the object itself offers.
const PART: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];

/// One version of a definition.
#[derive(Clone)]
pub struct Version {
    /// Its row.
    pub kind: Kind,
    /// Its schema.
    pub schema: Schema,
    /// Whether clients may use it.
    pub served: bool,
    /// Whether objects are stored in its form.
    pub stored: bool,
}

/// The versions of a definition by its accepted names, the newest first.
///
/// # Errors
/// If a schema cannot be held.
pub fn versions(definition: &Value) -> Result<Vec<Version>> {
    let spec = &definition["spec"];
    let mut all: Vec<&Value> = items(&spec["versions"]).iter().collect();
    all.sort_by(|a, b| compare(text(&b["name"]), text(&a["name"])));
    all.into_iter().map(|version| made(definition, version)).collect()
}

/// Compares versions as Kubernetes orders them: `v2` over `v1` over `v2beta1` over `v1alpha1` over other words, which
/// stand in reverse order of the alphabet.
pub fn compare(one: &str, other: &str) -> Ordering {
    match (parts(one), parts(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => other.cmp(one),
    }
}

/// Maturity, major and minor of a version such as `v1beta2`.
fn parts(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (major, tail) = rest.split_at(end);
    let number = |text: &str| if text.starts_with('0') { None } else { text.parse::<u64>().ok() };
    let major = number(major)?;
    if tail.is_empty() {
        return Some((2, major, 0));
    }
    let (maturity, minor) = match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (0, minor),
        _ => return None,
    };
    Some((maturity, major, number(minor)?))
}

fn made(definition: &Value, version: &Value) -> Result<Version> {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let (group, name) = (text(&spec["group"]), text(&version["name"]));
    let gvk = Gvk::new(group, name, text(&names["kind"]));
    let structural = Arc::new(Structural::read(&version["schema"]["openAPIV3Schema"]));
    let published = version["schema"]["openAPIV3Schema"].clone();
    let fields = selectable(version);
    let rules = Rules::new(&structural, &published);
    let schema = structural.schema(group, name, &gvk.kind, published)?;
    let words =
        |field: &str| items(&names[field]).iter().map(|one| text(one).into()).collect::<Vec<Arc<str>>>();
    let stored_version = items(&spec["versions"]).iter().find(|one| one["storage"] == true);
    let stored_version = stored_version.map_or(name, |one| text(&one["name"]));
    let scale = scale(version);
    let status = version["subresources"]["status"].is_object();
    let mut kind = row(&gvk.api_version(), &gvk.kind, text(&names["plural"]));
    kind.list_kind = text(&names["listKind"]).into();
    kind.singular = text(&names["singular"]).into();
    kind.short_names = words("shortNames");
    kind.categories = words("categories");
    kind.scope = if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
    kind.verbs = ALL;
    kind.subresources = subresources(status, scale.is_some());
    kind.fields = fields;
    kind.scale = scale.clone();
    kind.table = columns::table(version);
    kind.generation = true;
    kind.unconditional_update = false;
    kind.hooks = Arc::new(Instances { schema: schema.clone(), status, scale, rules });
    kind.custom = Some(Arc::new(Custom {
        definition: text(&definition["metadata"]["name"]).into(),
        stored_version: stored_version.into(),
        stored_api_version: api_version(group, stored_version).into(),
        terminating: definition["metadata"]["deletionTimestamp"].is_string(),
        warning: warning(spec, version, &gvk),
    }));
    Ok(Version { kind, schema, served: version["served"] == true, stored: version["storage"] == true })
}

fn subresources(status: bool, scale: bool) -> Vec<Subresource> {
    let scale = scale.then(|| Subresource {
        name: "scale".into(),
        gvk: Some(Gvk::new("autoscaling", "v1", "Scale")),
        verbs: PART,
        action: Action::Scale,
    });
    let status =
        status.then(|| Subresource { name: "status".into(), gvk: None, verbs: PART, action: Action::Part });
    scale.into_iter().chain(status).collect()
}

fn scale(version: &Value) -> Option<Scale> {
    let scale = &version["subresources"]["scale"];
    let steps = |field: &str| path(text(&scale[field]).trim_start_matches('.'));
    scale.is_object().then(|| Scale {
        spec_replicas: steps("specReplicasPath"),
        status_replicas: steps("statusReplicasPath"),
        selector: (!text(&scale["labelSelectorPath"]).is_empty()).then(|| steps("labelSelectorPath")),
    })
}

fn selectable(version: &Value) -> Vec<Field> {
    let fields = items(&version["selectableFields"]).iter().map(|field| {
        let name = text(&field["jsonPath"]).trim_start_matches('.');
        Field { name: name.into(), path: path(name), absent: "", indexed: false }
    });
    fields.collect()
}

/// What every use of a deprecated version is answered with.
fn warning(spec: &Value, version: &Value, gvk: &Gvk) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    if let Value::String(given) = &version["deprecationWarning"] {
        return Some(given.clone());
    }
    let own = format!("{} {} is deprecated", gvk.api_version(), gvk.kind);
    let better = items(&spec["versions"])
        .iter()
        .filter(|one| one["served"] == true && one["deprecated"] != true)
        .map(|one| text(&one["name"]))
        .filter(|name| compare(&gvk.version, name).is_lt())
        .max_by(|a, b| compare(a, b));
    Some(match better {
        Some(better) => format!("{own}; use {} {}", api_version(&gvk.group, better), gvk.kind),
        None => own,
    })
}
