//! The rules of metadata that all kinds share.
//!
//! Answers to apimachinery's `ValidateObjectMeta` and apiserver's `rest.BeforeCreate` and `rest.BeforeUpdate`.

use gifee_base::field::{FieldError, Path};
use gifee_base::{Status, name};
use serde_json::{Map, Value};

/// Bytes of all annotations together.
const ANNOTATION_BYTES: usize = 256 << 10;
/// What a client may not say about an object that it creates.
const SYSTEM_FIELDS: [&str; 6] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// What no update changes.
const IMMUTABLE: [&str; 6] =
    ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// The metadata of a tree, made if it is not there.
pub fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    match metadata {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

/// A text of the metadata; empty if it is not there.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Whether a deletion timestamp is set.
pub fn deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// How many finalizers there are.
pub fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

/// Puts the namespace of the request into the object.
///
/// # Errors
/// 400 if the object says another one.
pub fn place(object: &mut Value, namespaced: bool, namespace: &str) -> Result<(), Status> {
    let metadata = of(object);
    let own = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !namespaced {
        // Some clients send one for objects that have none; upstream drops it, too.
        metadata.remove("namespace");
        return Ok(());
    }
    if own.is_empty() {
        metadata.insert("namespace".into(), namespace.into());
    } else if own != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Gives a new object its identity.
pub fn begin(object: &mut Value, now: &str, generation: bool) {
    let metadata = of(object);
    for field in SYSTEM_FIELDS {
        metadata.remove(field);
    }
    metadata.insert("uid".into(), uuid::Uuid::new_v4().hyphenated().to_string().into());
    metadata.insert("creationTimestamp".into(), now.into());
    if generation {
        metadata.insert("generation".into(), 1.into());
    } else {
        metadata.remove("generation");
    }
}

/// Carries over what an update does not decide.
pub fn carry(object: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let metadata = of(object);
    metadata.remove("selfLink");
    for field in ["generation", "creationTimestamp", "deletionTimestamp"] {
        match &old[field] {
            Value::Null => drop(metadata.remove(field)),
            value => drop(metadata.insert(field.into(), value.clone())),
        }
    }
    for field in ["uid", "deletionGracePeriodSeconds", "namespace"] {
        if metadata.get(field).is_none_or(|value| value.is_null() || value == "") && !old[field].is_null() {
            metadata.insert(field.into(), old[field].clone());
        }
    }
}

/// Raises the generation if anything but metadata and status changed.
pub fn count_generation(object: &mut Value, old: &Value) {
    let parts = |value: &Value, judge: &dyn Fn(&str, &Value) -> bool| {
        let fields = value.as_object().into_iter().flatten();
        fields
            .into_iter()
            .all(|(name, value)| matches!(name.as_str(), "metadata" | "status") || judge(name, value))
    };
    let same = parts(object, &|name, value| old.get(name) == Some(value))
        && parts(old, &|name, _| object.get(name).is_some());
    if !same {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
        of(object).insert("generation".into(), (generation + 1).into());
    }
}

/// What is wrong with the metadata of an object.
pub fn validate(object: &Value, rule: fn(&str) -> Vec<String>, namespaced: bool) -> Vec<FieldError> {
    let root = Path::root("metadata");
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    let path = root.child("name");
    match metadata["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(&path, "name or generateName is required")),
        text => errors.extend(rule(text).iter().map(|wrong| FieldError::invalid(&path, text, wrong))),
    }
    if namespaced {
        let path = root.child("namespace");
        match metadata["namespace"].as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required(&path, "")),
            text => {
                errors.extend(
                    name::dns_label(text).iter().map(|wrong| FieldError::invalid(&path, text, wrong)),
                );
            }
        }
    }
    labels(metadata, &root, &mut errors);
    annotations(metadata, &root, &mut errors);
    owners(metadata, &root, &mut errors);
    finalizer_names(metadata, &root, &mut errors);
    errors
}

fn labels(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = root.child("labels");
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        errors
            .extend(name::qualified(key).iter().map(|wrong| FieldError::invalid(&path, key.as_str(), wrong)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(name::label_value(value).iter().map(|wrong| FieldError::invalid(&path, value, wrong)));
    }
}

fn annotations(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = root.child("annotations");
    let mut total = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        let lower = key.to_ascii_lowercase();
        errors.extend(
            name::qualified(&lower).iter().map(|wrong| FieldError::invalid(&path, key.as_str(), wrong)),
        );
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATION_BYTES {
        errors.push(FieldError::too_long(&path, ANNOTATION_BYTES));
    }
}

fn owners(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = root.child("ownerReferences");
    let mut controller: Option<&str> = None;
    for (index, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        let path = list.index(index);
        let field = |name: &str| owner[name].as_str().unwrap_or_default();
        let api_version = field("apiVersion");
        if api_version.is_empty() || api_version.ends_with('/') {
            let path = path.child("apiVersion");
            errors.push(FieldError::invalid(&path, api_version, "version must not be empty"));
        }
        for name in ["kind", "name", "uid"] {
            if field(name).is_empty() {
                let path = path.child(name);
                errors.push(FieldError::invalid(&path, "", "must not be empty"));
            }
        }
        if api_version == "v1" && field("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&path, owner.clone(), why));
        }
        if owner["controller"] == true {
            if let Some(first) = controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                    field("name")
                );
                errors.push(FieldError::invalid(&list, metadata["ownerReferences"].clone(), &why));
            }
            controller.get_or_insert(field("name"));
        }
    }
}

fn finalizer_names(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = root.child("finalizers");
    let all: Vec<&str> =
        metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (index, one) in all.iter().enumerate() {
        let path = path.index(index);
        errors.extend(name::qualified(one).iter().map(|wrong| FieldError::invalid(&path, *one, wrong)));
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let why = "finalizers orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&path, metadata["finalizers"].clone(), why));
    }
}

/// What is wrong with a change of metadata.
pub fn validate_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let root = Path::root("metadata");
    let (new, old) = (&object["metadata"], &old["metadata"]);
    let mut errors = Vec::new();
    if old["deletionTimestamp"].is_string() {
        let path = root.child("finalizers");
        let names = |value: &Value| -> Vec<String> {
            let list = value["finalizers"].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let before = names(old);
        let added: Vec<_> = names(new).into_iter().filter(|one| !before.contains(one)).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.push(FieldError::forbidden(&path, &why));
        }
    }
    for field in IMMUTABLE {
        if new[field] != old[field] {
            let path = root.child(field);
            errors.push(FieldError::invalid(&path, new[field].clone(), "field is immutable"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(metadata: Value, expect: &[&str]) {
        let object = json!({ "metadata": metadata });
        let errors = validate(&object, name::dns_subdomain, true);
        let texts: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
        assert_eq!(texts.len(), expect.len(), "{texts:?}");
        for (text, expect) in texts.iter().zip(expect) {
            assert!(text.starts_with(expect), "{text}");
        }
    }

    #[test]
    fn metadata_is_held_to_upstreams_rules() {
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        check(json!({"name": "a", "namespace": "b"}), &[]);
        check(
            json!({"namespace": "b"}),
            &["metadata.name: Required value: name or generateName is required"],
        );
        check(
            json!({"name": "A", "namespace": "b"}),
            &["metadata.name: Invalid value: \"A\": a lowercase RFC 1123"],
        );
        check(
            json!({"name": "a", "namespace": "b", "labels": {"a b": "c d"}}),
            &[
                "metadata.labels: Invalid value: \"a b\": name part must consist",
                "metadata.labels: Invalid value: \"c d\": a valid label must be",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"K": "x".repeat(ANNOTATION_BYTES)}}),
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        check(
            json!({"name": "a", "namespace": "b", "ownerReferences": [{"kind": "Pod"}]}),
            &[
                "metadata.ownerReferences[0].apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences[0].name: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x"), owner("y")]}),
            &["metadata.ownerReferences: Invalid value: "],
        );
        check(
            json!({"name": "a", "namespace": "b", "finalizers": ["orphan", "foregroundDeletion"]}),
            &["metadata.finalizers: Invalid value: "],
        );
    }

    #[test]
    fn generation_counts_what_is_wanted() {
        let old = json!({"metadata": {"generation": 3, "labels": {}}, "spec": {"a": 1}, "status": {"b": 1}});
        for (new, expect) in [
            (json!({"metadata": {}, "spec": {"a": 1}, "status": {"b": 2}}), 3),
            (json!({"metadata": {"labels": {"x": "y"}}, "spec": {"a": 1}}), 3),
            (json!({"metadata": {}, "spec": {"a": 2}}), 4),
            (json!({"metadata": {}, "spec": {"a": 1}, "data": 1}), 4),
            (json!({"metadata": {}}), 4),
        ] {
            let mut new = new;
            carry(&mut new, &old);
            count_generation(&mut new, &old);
            assert_eq!(new["metadata"]["generation"], expect, "{new}");
        }
    }
}
