//! The rules of metadata that all kinds share.
//!
//! Answers to apimachinery's `ValidateObjectMeta` and apiserver's `rest.BeforeCreate` and `rest.BeforeUpdate`.

use gifee_base::field::{FieldError, Path};
use gifee_base::{Status, name};
use gifee_schema::metadata::{contents, finalizers as finalizers_held};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const ROOT: Path<'static> = Path::root("metadata");
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

/// Drops owner references that are there twice; the warning about it, if there are any. `mutated`: whether admission
/// may have put them there.
pub fn unite_owners(object: &mut Value, mutated: bool) -> Option<String> {
    let list =
        object.pointer_mut("/metadata/ownerReferences")?.as_array_mut().filter(|list| list.len() > 1)?;
    let (mut kept, mut twice): (Vec<Value>, Vec<String>) = (Vec::with_capacity(list.len()), Vec::new());
    for owner in std::mem::take(list) {
        if kept.contains(&owner) {
            twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner);
        }
    }
    *list = kept;
    let when = if mutated { " after mutating admission happens" } else { "" };
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// What is wrong with the metadata of a new object, whose names a rule holds for.
pub fn validate(object: &Value, rule: fn(&str) -> Vec<String>, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    names(object, rule, namespaced, &mut errors);
    contents(&object["metadata"], &ROOT, &mut errors);
    finalizers_held(&object["metadata"], &ROOT, &mut errors);
    errors
}

/// A prefix of names as its kind's rule may read it: a hyphen at its end will be followed by something.
fn as_name(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut rest: String = rest.chars().take(rest.chars().count() - 1).collect();
            rest.push('a');
            rest
        }
        _ => prefix.to_owned(),
    }
}

fn names(object: &Value, rule: fn(&str) -> Vec<String>, namespaced: bool, errors: &mut Vec<FieldError>) {
    let metadata = &object["metadata"];
    if let Some(prefix) = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty()) {
        let path = ROOT.child("generateName");
        errors.extend(rule(&as_name(prefix)).iter().map(|wrong| FieldError::invalid(&path, prefix, wrong)));
    }
    let path = ROOT.child("name");
    match metadata["name"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(&path, "name or generateName is required")),
        text => errors.extend(rule(text).iter().map(|wrong| FieldError::invalid(&path, text, wrong))),
    }
    if namespaced {
        let path = ROOT.child("namespace");
        match metadata["namespace"].as_str().unwrap_or_default() {
            "" => errors.push(FieldError::required(&path, "")),
            text => {
                errors.extend(
                    name::dns_label(text).iter().map(|wrong| FieldError::invalid(&path, text, wrong)),
                );
            }
        }
    }
}

/// What is wrong with the metadata of a changed object. Upstream judges what may change in three places, one of them the
/// kind's own strategy: what is found wrong is said as often.
pub fn validate_update(object: &Value, old: &Value, namespaced: bool) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let (mut shared, mut changed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    contents(metadata, &ROOT, &mut shared);
    fixed(metadata, &old["metadata"], &mut changed);
    names(object, name::path_segment, namespaced, &mut errors);
    errors.extend_from_slice(&shared);
    finalizers_held(metadata, &ROOT, &mut errors);
    if !shared.is_empty() || !changed.is_empty() {
        changed.extend(shared);
        errors.extend_from_slice(&changed);
        errors.extend(changed);
    }
    errors
}

fn fixed(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if old["deletionTimestamp"].is_string() {
        let names = |value: &Value| -> BTreeSet<String> {
            let list = value["finalizers"].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let before = names(old);
        let added: Vec<String> = names(new).difference(&before).map(|one| format!("{one:?}")).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden(&ROOT.child("finalizers"), &why));
        }
    }
    for field in IMMUTABLE {
        if new[field] != old[field] {
            let path = ROOT.child(field);
            errors.push(FieldError::invalid(&path, new[field].clone(), "field is immutable"));
        }
    }
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
            json!({"name": "a", "namespace": "b", "annotations": {"K": "x".repeat(256 << 10)}}),
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        check(
            json!({"name": "a", "namespace": "b", "ownerReferences": [{"kind": "Pod"}]}),
            &[
                "metadata.ownerReferences[0].apiVersion: Required value: must not be empty",
                "metadata.ownerReferences[0].name: Required value: must not be empty",
                "metadata.ownerReferences[0].uid: Required value: must not be empty",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x"), owner("y")]}),
            &["metadata.ownerReferences: Invalid value: "],
        );
        check(
            json!({"name": "a", "namespace": "b", "finalizers": ["orphan", "foregroundDeletion"]}),
            &[
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "finalizers": ["a/b/c"]}),
            &["metadata.finalizers: Invalid value: \"a/b/c\": a valid label key must consist"],
        );
        check(
            json!({"name": "B_-x", "generateName": "B_-", "namespace": "b"}),
            &["metadata.generateName: Invalid value: \"B_-\"", "metadata.name: Invalid value: \"B_-x\""],
        );
        check(json!({"name": "b-x", "generateName": "b-", "namespace": "b"}), &[]);
        check(
            json!({"name": "a", "namespace": "b", "ownerReferences": [{"apiVersion": "a/b/c", "kind": "A", "name": "a", "uid": "u"}]}),
            &[
                "metadata.ownerReferences[0].apiVersion: Invalid value: \"a/b/c\": must be <group>/<version> or <version>",
            ],
        );
    }

    #[test]
    fn an_owner_is_named_once() {
        let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": uid});
        let mut object = json!({"metadata": {"ownerReferences": [owner("x"), owner("y"), owner("x")]}});
        let warning = unite_owners(&mut object, false).unwrap();
        assert!(warning.starts_with(".metadata.ownerReferences contains duplicate entries; "), "{warning}");
        assert!(warning.ends_with("observed: x"), "{warning}");
        assert_eq!(object["metadata"]["ownerReferences"], json!([owner("x"), owner("y")]));
        assert_eq!(unite_owners(&mut object, true), None);
        assert_eq!(unite_owners(&mut json!({}), true), None);
    }

    #[test]
    fn what_is_wrong_with_a_change_is_said_as_often_as_it_is_judged() {
        let old = json!({"metadata": {"name": "a", "namespace": "b", "deletionTimestamp": "x", "finalizers": ["a/b"]}});
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b c"});
        new["metadata"]["finalizers"] = json!(["e.f/g", "a/b", "c.d/e"]);
        let found: Vec<String> =
            validate_update(&new, &old, true).iter().map(FieldError::to_string).collect();
        let of = |start: &str| found.iter().filter(|one| one.starts_with(start)).count();
        assert_eq!((found.len(), of("metadata.labels"), of("metadata.finalizers")), (5, 3, 2), "{found:#?}");
        assert!(found[1].ends_with(r#"found new finalizers []string{"c.d/e", "e.f/g"}"#), "{found:#?}");
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
