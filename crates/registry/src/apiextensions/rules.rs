//! What is special about CustomResourceDefinitions.
//!
//! Invariant: exactly one version is stored, and every version that ever was stands in the status. Answers to
//! upstream's `apiextensions/validation` and strategy.

use super::{columns, path, structure};
use crate::admissionregistration::{client_config, review_versions};
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, METADATA, SPEC, STATUS, immutable, joined, required};
use crate::rule::{required_one_of, x509};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, remove, same, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::{FieldError, Path, name};
use gifee_schema::structural::unrecognized;
use serde_json::{Value, json};

/// Rules of CustomResourceDefinitions.
pub(crate) const DEFINITION: Rules = Rules {
    default: default_definition,
    status: r#"{"acceptedNames":{"kind":"","plural":""},"conditions":[],"storedVersions":[]}"#,
    status_only: true,
    create: |definition, _| note_stored_version(definition),
    update: |definition, _, part, _| {
        if part.is_empty() {
            note_stored_version(definition);
        }
    },
    validate_create: |errors, definition| {
        validate(errors, definition, &Value::Null);
        rest(errors, definition, &Value::Null);
    },
    validate_update: |errors, definition, old| {
        validate(errors, definition, old);
        let (spec, before) = (&definition["spec"], &old["spec"]);
        let names = SPEC.child("names");
        if established(old) {
            immutable(errors, &spec["scope"], &before["scope"], &SPEC.child("scope"));
            let kind = |spec: &Value| spec["names"]["kind"].clone();
            immutable(errors, &kind(spec), &kind(before), &names.child("kind"));
        }
        immutable(errors, &spec["group"], &before["group"], &SPEC.child("group"));
        let plural = |spec: &Value| spec["names"]["plural"].clone();
        immutable(errors, &plural(spec), &plural(before), &names.child("plural"));
        rest(errors, definition, old);
    },
    mark_deleting: |definition| {
        let finalizers = &mut definition["metadata"]["finalizers"];
        match finalizers {
            Value::Array(list) if list.iter().any(|one| one == CLEANUP) => {}
            Value::Array(list) => list.push(CLEANUP.into()),
            other => *other = json!([CLEANUP]),
        }
        let now = definition["metadata"]["deletionTimestamp"].clone();
        let pending = json!({
            "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            "lastTransitionTime": now,
        });
        match &mut definition["status"]["conditions"] {
            Value::Array(list) => match list.iter().position(|one| one["type"] == "Terminating") {
                Some(at) if list[at]["status"] == "True" => {}
                Some(at) => list[at] = pending,
                None => list.push(pending),
            },
            other => *other = json!([pending]),
        }
    },
    warnings: |warnings, definition, old| {
        let before = old.map(schema_warnings).unwrap_or_default();
        warnings.extend(schema_warnings(definition).into_iter().filter(|one| !before.contains(one)));
    },
    held: |definition| definition["metadata"]["deletionTimestamp"].is_null(),
    ..RULES
};

/// What schemas of a definition say without effect.
fn schema_warnings(definition: &Value) -> Vec<String> {
    let (mut formats, mut sets) = (Vec::new(), Vec::new());
    let versions = Parts::of(&definition["spec"]["versions"], &Value::Null);
    let count = if versions.shared("schema") { 1 } else { versions.all.len() };
    for version in versions.all.iter().take(count) {
        doubtful(&version["schema"]["openAPIV3Schema"], &mut formats, &mut sets);
    }
    sets.sort();
    sets.dedup();
    formats.extend(sets);
    formats
}

fn doubtful(schema: &Value, formats: &mut Vec<String>, sets: &mut Vec<String>) {
    let (format, kind) = (text(&schema["format"]), text(&schema["type"]));
    if unrecognized(format, kind) {
        formats.push(format!("unrecognized format {format:?}"));
    }
    let item = text(&schema["items"]["type"]);
    if schema["x-kubernetes-list-type"] == "set" && matches!(item, "object" | "array") {
        sets.push(format!(
            "x-kubernetes-list-type: set for items of type {item:?} is not supported by server-side apply or CEL validation rules"
        ));
    }
    for inner in ["items", "additionalProperties", "not"] {
        if schema[inner].is_object() {
            doubtful(&schema[inner], formats, sets);
        }
    }
    for list in ["allOf", "oneOf", "anyOf"] {
        items(&schema[list]).iter().for_each(|one| doubtful(one, formats, sets));
    }
    for (_, one) in schema["properties"].as_object().into_iter().flatten() {
        doubtful(one, formats, sets);
    }
}

/// What keeps a deleted definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Where it is said that a definition in one of Kubernetes' own groups was approved.
const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether a definition in a group of Kubernetes' own was approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It names where.
    Approved,
    /// It says that it was not.
    Bypassed,
    /// It says nothing.
    Missing,
    /// It says neither.
    Invalid,
}

/// What a definition says about its approval, and what is said of that; None outside of Kubernetes' own groups.
pub fn approval(definition: &Value) -> Option<(Approval, String)> {
    let group = text(&definition["spec"]["group"]);
    let own = ["k8s.io", "kubernetes.io"];
    if !own.iter().any(|one| group == *one || group.ends_with(&format!(".{one}"))) {
        return None;
    }
    let given = text(&definition["metadata"]["annotations"][APPROVED]);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let must = format!("protected groups must have approval annotation {APPROVED:?}");
    let host = given.split_once("://").is_some_and(|(scheme, rest)| {
        let named = !rest.is_empty() && !rest.starts_with('/');
        named && !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    Some(match given {
        "" => (Approval::Missing, format!("{must}, {see}")),
        _ if given.starts_with("unapproved") => (Approval::Bypassed, format!("not approved: {given:?}")),
        _ if host => (Approval::Approved, format!("approved in {given}")),
        _ => {
            let either = "with either a URL or a reason starting with \"unapproved\"";
            (Approval::Invalid, format!("{must} {either}, {see}"))
        }
    })
}

fn default_definition(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if spec["names"].is_object() {
        let kind = text(&spec["names"]["kind"]).to_owned();
        if is_empty(&spec["names"]["singular"]) && !kind.is_empty() {
            spec["names"]["singular"] = kind.to_lowercase().into();
        }
        if is_empty(&spec["names"]["listKind"]) && !kind.is_empty() {
            spec["names"]["listKind"] = format!("{kind}List").into();
        }
    }
}

fn note_stored_version(definition: &mut Value) {
    let stored = items(&definition["spec"]["versions"]).iter().find(|one| one["storage"] == true);
    let Some(version) = stored.map(|one| one["name"].clone()) else { return };
    match &mut definition["status"]["storedVersions"] {
        Value::Array(list) => {
            if !list.contains(&version) {
                list.push(version);
            }
        }
        other => *other = json!([version]),
    }
}

fn established(definition: &Value) -> bool {
    items(&definition["status"]["conditions"])
        .iter()
        .any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// What is said of a definition besides its spec; `old` is null for a new one.
fn rest(errors: &mut Errors, definition: &Value, old: &Value) {
    let (stored, versions) = (&definition["status"]["storedVersions"], &definition["spec"]["versions"]);
    let at = STATUS.child("storedVersions");
    if is_empty(stored) {
        errors.push(FieldError::invalid(&at, stored.clone(), "must have at least one stored version"));
    }
    for (index, one) in items(stored).iter().enumerate() {
        if !items(versions).iter().any(|version| version["name"] == *one) {
            let one = text(one);
            let why = format!(
                "missing from spec.versions; {one} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {one} and removes {one} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&at.index(index), one, &why));
        }
    }
    if let Some((state, why)) = approval(definition)
        && approval(old).is_none_or(|(before, _)| before != state)
    {
        let at = METADATA.child("annotations");
        let given = text(&definition["metadata"]["annotations"][APPROVED]);
        match state {
            Approval::Missing => errors.push(FieldError::required(&at.key(APPROVED), &why)),
            Approval::Invalid => errors.push(FieldError::invalid(&at.key(APPROVED), given, &why)),
            Approval::Approved | Approval::Bypassed => {}
        }
    }
    let keeps = |one: &Value| one["spec"]["preserveUnknownFields"] == true;
    if keeps(definition) && !keeps(old) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&SPEC.child("preserveUnknownFields"), true, why));
    }
}

fn validate(errors: &mut Errors, definition: &Value, old: &Value) {
    let (spec, own) = (&definition["spec"], text(&definition["metadata"]["name"]));
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    // Names of old definitions are as they are.
    if old.is_null() && own != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(&METADATA.child("name"), own, why));
    }
    let at = SPEC.child("group");
    if !required(errors, &spec["group"], &at) {
        let before = errors.len();
        joined(errors, group, &at, name::dns_subdomain);
        if errors.len() == before && !group.contains('.') {
            errors.push(FieldError::invalid(&at, group, "should be a domain with at least one dot"));
        }
    }
    required_one_of(errors, &spec["scope"], &SPEC.child("scope"), &["Cluster", "Namespaced"]);
    let parts = Parts::of(&spec["versions"], &old["spec"]["versions"]);
    versions(errors, &spec["versions"], &parts);
    required_names(errors, &spec["names"], &SPEC.child("names"));
    names(errors, &spec["names"], &SPEC.child("names"));
    if let Some(first) = parts.all.first() {
        parts.judge(errors, first, true, &SPEC);
    }
    conversion(errors, &spec["conversion"], &SPEC.child("conversion"));
    // A new definition may come before what signs the certificate of its webhook has said so.
    let bundle = |one: &Value| one["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].clone();
    let was_wrong = !is_empty(&bundle(old)) && bundle_error(&bundle(old)).is_some();
    if established(old)
        && spec["conversion"]["strategy"] == "Webhook"
        && !was_wrong
        && !is_empty(&bundle(definition))
        && let Some(why) = bundle_error(&bundle(definition))
    {
        let at = SPEC.child("conversion");
        let at = at.child("webhookClientConfig");
        errors.push(FieldError::invalid(&at.child("caBundle"), bundle(definition), &why));
    }
}

fn bundle_error(bundle: &Value) -> Option<String> {
    let bytes = STANDARD.decode(text(bundle)).unwrap_or_default();
    x509::bundle_error(&String::from_utf8_lossy(&bytes))
}

fn versions(errors: &mut Errors, list: &Value, parts: &Parts<'_>) {
    let path = SPEC.child("versions");
    for (index, one) in parts.all.iter().enumerate() {
        if one["schema"]["openAPIV3Schema"].is_null() {
            let at = path.index(index);
            let at = at.child("schema");
            errors.push(FieldError::required(&at.child("openAPIV3Schema"), ""));
        }
    }
    let mut repeated = false;
    for (index, one) in parts.all.iter().enumerate() {
        let at = path.index(index);
        joined(errors, text(&one["name"]), &at.child("name"), name::dns1035_label);
        repeated |= parts.all[..index].iter().any(|before| before["name"] == one["name"]);
        deprecation(errors, one, &at.child("deprecationWarning"));
        parts.judge(errors, one, false, &at);
    }
    let mut wrong = |why: &str| {
        let mut own = list.clone();
        for version in own.as_array_mut().into_iter().flatten() {
            for field in PARTS.into_iter().filter(|field| parts.shared(field)) {
                remove(version, field);
            }
        }
        errors.push(showing(FieldError::invalid(&path, "", why), &own, shown::VERSIONS));
    };
    if repeated {
        wrong("must contain unique version names");
    }
    if parts.all.iter().filter(|one| one["storage"] == true).count() != 1 {
        wrong("must have exactly one version marked as storage version");
    }
    if let Some(first) = parts.all.first() {
        optional_joined(errors, &first["name"], &SPEC.child("version"), name::dns1035_label);
    }
}

/// The same as a name that may be left out.
fn optional_joined(errors: &mut Errors, value: &Value, path: &Path<'_>, rule: fn(&str) -> Vec<String>) {
    if !is_empty(value) {
        joined(errors, text(value), path, rule);
    }
}

fn deprecation(errors: &mut Errors, version: &Value, path: &Path<'_>) {
    let Value::String(warning) = &version["deprecationWarning"] else { return };
    let unprintable = warning.char_indices().find(|(_, letter)| letter.is_control());
    let control = unprintable.map(|(at, _)| {
        format!("must only contain printable UTF-8 characters; non-printable character found at index {at}")
    });
    let wrong = [
        (version["deprecated"] != true).then(|| "can only be set for deprecated versions".to_owned()),
        (warning.len() > 256).then(|| "must be <= 256 characters long".to_owned()),
        warning.is_empty().then(|| "must not be an empty string".to_owned()),
        control,
    ];
    errors.extend(wrong.iter().flatten().map(|why| FieldError::invalid(path, warning.as_str(), why)));
}

/// What versions may have in common.
const PARTS: [&str; 4] = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];

/// The parts of versions. What all versions have in common is spoken of as the definition's own, as upstream does, and
/// after its names.
struct Parts<'a> {
    all: &'a [Value],
    old: &'a [Value],
}

impl<'a> Parts<'a> {
    fn of(list: &'a Value, old: &'a Value) -> Self {
        Self { all: items(list), old: items(old) }
    }

    fn shared(&self, field: &str) -> bool {
        self.all.iter().all(|one| same(&one[field], &self.all[0][field]))
    }

    /// Judges what versions have in common, or what each has of its own.
    fn judge(&self, errors: &mut Errors, version: &Value, shared: bool, path: &Path<'_>) {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() && self.shared("schema") == shared {
            let path = path.child(if shared { "validation" } else { "schema" });
            let before = self.old.iter().find(|one| one["name"] == version["name"]);
            let accepted = before.is_some_and(|old| same(&old["schema"], &version["schema"]));
            let status = |one: &Value| one["subresources"]["status"].is_object();
            let status = if shared { self.all.iter().any(status) } else { status(version) };
            structure::validate(errors, schema, &path.child("openAPIV3Schema"), status, accepted);
        }
        if self.shared("subresources") == shared {
            scale(errors, &version["subresources"]["scale"], &path.child("subresources"));
        }
        if self.shared("additionalPrinterColumns") == shared {
            let columns = path.child("additionalPrinterColumns");
            for (index, column) in items(&version["additionalPrinterColumns"]).iter().enumerate() {
                printer_column(errors, column, &columns.index(index));
            }
        }
        if self.shared("selectableFields") == shared {
            selectable(errors, &version["selectableFields"], schema, &path.child("selectableFields"));
        }
    }
}

fn simple_path(errors: &mut Errors, given: &str, path: &Path<'_>) -> bool {
    let simple = given.starts_with('.');
    if !simple {
        errors.push(FieldError::invalid(path, given, "must be a simple json path starting with ."));
    }
    simple
}

fn scale(errors: &mut Errors, scale: &Value, path: &Path<'_>) {
    if !scale.is_object() {
        return;
    }
    for (field, under, must) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ] {
        let (given, name) = (text(&scale[field]), format!("scale.{field}"));
        let at = path.child(&name);
        if given.is_empty() {
            if field != "labelSelectorPath" {
                errors.push(FieldError::required(&at, ""));
            }
        } else if simple_path(errors, given, &at) && !under.iter().any(|one| given.starts_with(one)) {
            errors.push(FieldError::invalid(&at, given, must));
        }
    }
}

fn printer_column(errors: &mut Errors, column: &Value, path: &Path<'_>) {
    required(errors, &column["name"], &path.child("name"));
    let kinds = format!("must be one of {}", columns::TYPES.join(","));
    match text(&column["type"]) {
        "" => errors.push(FieldError::required(&path.child("type"), &kinds)),
        kind if !columns::TYPES.contains(&kind) => {
            errors.push(FieldError::invalid(&path.child("type"), kind, &kinds));
        }
        _ => {}
    }
    let format = text(&column["format"]);
    if !format.is_empty() && !columns::FORMATS.contains(&format) {
        let why = format!("must be one of {}", columns::FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), format, &why));
    }
    let at = path.child("JSONPath");
    match text(&column["jsonPath"]) {
        "" => errors.push(FieldError::required(&at, "")),
        given => drop(simple_path(errors, given, &at)),
    }
}

/// The most fields that one version can be selected by.
const SELECTABLE_MAXIMUM: usize = 8;

fn selectable(errors: &mut Errors, list: &Value, schema: &Value, own: &Path<'_>) {
    let mut seen = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        let (given, at) = (text(&one["jsonPath"]), own.index(index));
        let at = at.child("jsonPath");
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let (steps, found) = match path::resolve(given, schema, false) {
            Ok(found) => found,
            Err(why) => {
                let why = format!("is an invalid path: {why}");
                errors.push(FieldError::invalid(&at, given, &why));
                continue;
            }
        };
        if steps.first().is_some_and(|step| step == "metadata") {
            errors.push(FieldError::invalid(&at, given, "must not point to fields in metadata"));
        }
        if !matches!(text(&found["type"]), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(&at, given, why));
        }
        crate::rule::unique(errors, &mut seen, given, &at);
    }
    if seen.len() > SELECTABLE_MAXIMUM {
        errors.push(FieldError::too_many(own, seen.len(), SELECTABLE_MAXIMUM));
    }
}

fn kind_name(text: &str) -> Vec<String> {
    match name::dns1035_label(&text.to_lowercase()).as_slice() {
        [] => Vec::new(),
        wrong => vec![format!("may have mixed case, but should otherwise match: {}", wrong.join(","))],
    }
}

fn required_names(errors: &mut Errors, names: &Value, path: &Path<'_>) {
    for field in ["plural", "singular", "kind", "listKind"] {
        required(errors, &names[field], &path.child(field));
    }
}

fn names(errors: &mut Errors, names: &Value, path: &Path<'_>) {
    for (field, rule) in [
        ("plural", name::dns1035_label as fn(&str) -> Vec<String>),
        ("singular", name::dns1035_label),
        ("kind", kind_name),
        ("listKind", kind_name),
    ] {
        optional_joined(errors, &names[field], &path.child(field), rule);
    }
    let each = |errors: &mut Errors, list: &str| {
        let at = path.child(list);
        for (index, one) in items(&names[list]).iter().enumerate() {
            joined(errors, text(one), &at.index(index), name::dns1035_label);
        }
    };
    each(errors, "shortNames");
    if !is_empty(&names["kind"]) && same(&names["kind"], &names["listKind"]) {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), text(&names["listKind"]), why));
    }
    each(errors, "categories");
}

/// How versions are made of one another. Paths are those of upstream's internal form.
fn conversion(errors: &mut Errors, conversion: &Value, path: &Path<'_>) {
    if conversion.is_null() {
        return;
    }
    required_one_of(errors, &conversion["strategy"], &path.child("strategy"), &["None", "Webhook"]);
    let (config, versions) =
        (&conversion["webhook"]["clientConfig"], &conversion["webhook"]["conversionReviewVersions"]);
    let (at_config, at_versions) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if conversion["strategy"] != "Webhook" {
        for (given, at) in [(config, at_config), (versions, at_versions)] {
            if !is_empty(given) {
                let why = "should not be set when strategy is not set to Webhook";
                errors.push(FieldError::forbidden(&at, why));
            }
        }
        return;
    }
    if config.is_null() {
        errors.push(FieldError::required(&at_config, "required when strategy is set to Webhook"));
    } else {
        client_config(errors, config, &at_config);
    }
    review_versions(errors, versions, &at_versions, &["v1", "v1beta1"], "");
}
