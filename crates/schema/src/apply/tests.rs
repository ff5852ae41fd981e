//! Ownership and merges against what upstream makes of them, and the laws that hold for all objects.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::managers::cap;
use super::record::update;
use super::*;
use crate::{Schema, check};

/// All objects are of one version.
struct OneVersion;

impl Versions for OneVersion {
    fn at(&self, _: &Value, _: &str) -> Option<(Value, Option<Schema>)> {
        None
    }
}

const NOW: &str = "2026-01-01T00:00:00Z";

fn change<'a>(schema: &'a Schema, api_version: &'a str, manager: &'a str, filter: &'a Filter) -> Change<'a> {
    Change {
        schema: Some(schema),
        api_version,
        manager,
        subresource: "",
        filter,
        now: NOW,
        versions: &OneVersion,
    }
}

/// An object and who owns what of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    object: Option<Value>,
    managed: Option<String>,
}

impl State {
    fn update(&mut self, change: &Change<'_>, mut object: Value) {
        check::check(change.schema.unwrap(), &mut object).unwrap();
        let Some(old) = &self.object else {
            self.managed = record_created(change, &object, None);
            // The way by sets gives the same.
            let (empty, mut entries) = (json!({}), Vec::new());
            let comparison = compare(change.schema, &empty, &object).filtered(change.filter);
            update(change, &empty, &object, comparison, &mut entries);
            assert_eq!(encode(&mut entries), self.managed);
            self.object = Some(object);
            return;
        };
        let recorded = record(change, old, &object, self.managed.as_deref(), None);
        if let Some(live) = &self.managed {
            let mut entries = decode(live).unwrap();
            let comparison = compare(change.schema, old, &object).filtered(change.filter);
            update(change, old, &object, comparison, &mut entries);
            cap(&mut entries);
            let by_sets = encode(&mut entries);
            match &recorded {
                Recorded::Unchanged => assert_eq!(by_sets.as_ref(), Some(live)),
                Recorded::Time(text) => assert_eq!(by_sets.as_ref(), Some(text)),
                Recorded::Changed(text) => assert_eq!(&by_sets, text),
            }
        }
        match recorded {
            Recorded::Unchanged => {}
            Recorded::Time(text) => self.managed = Some(text),
            Recorded::Changed(text) => self.managed = text,
        }
        self.object = Some(object);
    }

    fn apply(&mut self, change: &Change<'_>, configuration: &Value, force: bool) -> Result<(), Refused> {
        let empty = json!({});
        let live = self.object.as_ref().unwrap_or(&empty);
        let managed = self.managed.as_deref();
        let applied = apply(change, live, self.object.is_some(), managed, configuration, force)?;
        let mut object = applied.object;
        check::check(change.schema.unwrap(), &mut object).unwrap();
        *self = Self { object: Some(object), managed: applied.managed };
        Ok(())
    }

    /// Entries without times, in any order.
    fn owners(&self) -> Vec<Value> {
        let managed = self.managed.as_deref().unwrap_or("[]");
        let mut entries: Vec<Value> = serde_json::from_str(managed).unwrap();
        for entry in &mut entries {
            let entry = entry.as_object_mut().unwrap();
            for field in ["time", "apiVersion", "fieldsType"] {
                entry.remove(field);
            }
        }
        entries.sort_by_key(Value::to_string);
        entries
    }
}

fn without_uid(schema: &Schema, object: &Value) -> Value {
    let mut object = object.clone();
    check::check(schema, &mut object).unwrap();
    object["metadata"].as_object_mut().unwrap().remove("uid");
    object
}

/// The histories of `cases.jsonl`: what a program made up, and what upstream's code made of it.
#[test]
fn histories_go_as_upstreams_do() {
    for (line, text) in include_str!("cases.jsonl").lines().enumerate() {
        let case: Value = serde_json::from_str(text).unwrap();
        let api_version = case["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let schema = Schema::builtin(group, version, case["kind"].as_str().unwrap()).unwrap();
        let mut state = State::default();
        for (step, expect) in case["steps"].as_array().unwrap().iter().enumerate() {
            let except = expect["status_excepted"] == true;
            let filter = if except { Filter::Except(Set::of(&[&["status"]])) } else { Filter::All };
            let change = change(&schema, api_version, expect["by"].as_str().unwrap(), &filter);
            let mut object = expect["object"].clone();
            let place = format!("line {} step {step}: {}", line + 1, case["kind"]);
            if expect["op"] == "update" {
                if let Some(live) = &state.object {
                    object["metadata"]["uid"] = live["metadata"]["uid"].clone();
                }
                state.update(&change, object);
            } else if let Err(refused) = state.apply(&change, &object, expect["force"] == true) {
                let expected = expect["error"].as_str().unwrap_or_else(|| panic!("{place}: {refused:?}"));
                match refused {
                    Refused::Failed(text) => assert_eq!(text, expected, "{place}"),
                    Refused::Malformed(text) => panic!("{place}: {text}"),
                    Refused::Conflicts(all) => {
                        assert!(expected.contains(&format!(" {} conflict", all.len())), "{place}: {all:?}");
                        for one in all {
                            assert!(
                                expected.contains(&one.manager) && expected.contains(&one.path),
                                "{place}"
                            );
                        }
                    }
                }
                continue;
            }
            assert_eq!(expect["error"], Value::Null, "{place}");
            // Upstream's store would have made it, and then it exists.
            state.object.as_mut().unwrap()["metadata"]["uid"] = "u".into();
            let expected = without_uid(&schema, &expect["gives"]);
            assert_eq!(without_uid(&schema, state.object.as_ref().unwrap()), expected, "{place}");
            let mut owners = expect["owners"].as_array().unwrap().clone();
            owners.sort_by_key(Value::to_string);
            assert_eq!(state.owners(), owners, "{place}");
        }
    }
}

#[test]
fn sets_are_written_in_upstreams_form_and_order() {
    let check = |text: &str, expect: &str| {
        let mut out = String::new();
        Set::parse(text).unwrap().write(&mut out);
        assert_eq!(out, expect);
    };
    for same in [
        "{}",
        r#"{"f:a":{},"f:b":{".":{},"f:c":{}},"k:{\"name\":\"x\"}":{".":{},"f:name":{}},"v:\"x\"":{},"i:2":{}}"#,
        r#"{"k:{\"port\":80,\"protocol\":\"TCP\"}":{},"k:{\"port\":443,\"protocol\":\"TCP\"}":{}}"#,
        r#"{"v:1":{},"v:2":{},"v:10":{},"v:\"1\"":{},"v:true":{}}"#,
        r#"{"f:a\"b\\c":{},"v:\"a\\u003cb\"":{}}"#,
    ] {
        check(same, same);
    }
    check(r#"{"f:b":{},"f:a":{"f:c":{},".":{}},"x:?":{"f:d":{}}}"#, r#"{"f:a":{".":{},"f:c":{}},"f:b":{}}"#);
    check(r#"{"f:a":null,"k:{\"b\":1,\"a\":2}":{}}"#, r#"{"f:a":{},"k:{\"a\":2,\"b\":1}":{}}"#);
    for (wrong, expect) in [
        ("[]", "invalid type"),
        (r#"{"f":{}}"#, "key must be 2 characters long:"),
        (r#"{"name":{}}"#, "missing colon: name"),
        (r#"{"i:x":{}}"#, "strconv.Atoi: parsing \"x\": invalid syntax"),
        (r#"{"k:{":{}}"#, "EOF"),
    ] {
        let error = Set::parse(wrong).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn lists_of_managers_are_checked_as_upstream_checks_them() {
    let entry = |field: &str, value: &str| {
        let mut entry = json!({ "manager": "a", "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": { "f:a": {} } });
        entry[field] = value.into();
        decode(&json!([entry]).to_string()).map(|entries| entries.len())
    };
    assert_eq!(entry("manager", "b"), Ok(1));
    assert_eq!(entry("operation", "Merge"), Err("operation must be `Apply` or `Update`".to_owned()));
    assert_eq!(entry("apiVersion", ""), Err("apiVersion must not be empty".to_owned()));
    assert_eq!(entry("fieldsType", ""), Err("missing fieldsType in managed fields entry 0".to_owned()));
    let other = "invalid fieldsType \"v2\" in managed fields entry 0";
    assert_eq!(entry("fieldsType", "v2"), Err(other.to_owned()));
    for (given, expect) in [
        (json!([]), true),
        (json!([{}]), true),
        (json!([{ "manager": "" }]), true),
        (json!([{ "manager": "a" }]), false),
        (json!([{}, {}]), false),
        (Value::Null, false),
    ] {
        assert_eq!(is_reset(&given), expect, "{given}");
    }
}

fn items(names: &[&str]) -> Value {
    let items = names.iter().map(|name| json!({ "name": name, "image": "x" }));
    json!({ "apiVersion": "v1", "kind": "Pod", "spec": { "containers": items.collect::<Vec<_>>() } })
}

#[test]
fn lists_merge_in_the_configurations_order() {
    let schema = Schema::builtin("", "v1", "Pod").unwrap();
    let check = |live: &[&str], configuration: &[&str], expect: &[&str]| {
        let merged = merge(Some(&schema), &items(live), &items(configuration));
        let names: Vec<_> = merged["spec"]["containers"].as_array().unwrap().iter().collect();
        let names: Vec<_> = names.iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(names, expect, "{live:?} and {configuration:?}");
    };
    check(&["a", "b"], &["b", "a"], &["b", "a"]);
    check(&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]);
    check(&["a", "b"], &["c"], &["a", "b", "c"]);
    check(&["a", "b", "d"], &["a", "c", "d"], &["a", "b", "c", "d"]);
    check(&["a", "a", "b"], &["b"], &["a", "a", "b"]);
    check(&["a", "a", "b"], &["a"], &["a", "b"]);
}

/// Deployments of a few fields, such as people apply.
fn deployment() -> impl Strategy<Value = Value> {
    let word = || prop::sample::select(vec!["a", "b", "c"]);
    let labels = prop::collection::btree_map(word(), word(), 0..3);
    let container = (word(), prop::option::of(word()), prop::collection::btree_map(word(), word(), 0..3));
    let containers = prop::collection::vec(container, 0..3);
    let scalars = (prop::option::of(0..3_i64), any::<bool>(), prop::collection::btree_set(word(), 0..3));
    (labels, containers, scalars).prop_map(|(labels, containers, (replicas, paused, finalizers))| {
        let mut object =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" } });
        if !labels.is_empty() {
            object["metadata"]["labels"] = json!(labels);
        }
        if !finalizers.is_empty() {
            object["metadata"]["finalizers"] = json!(finalizers);
        }
        let mut spec = Map::new();
        if let Some(replicas) = replicas {
            spec.insert("replicas".into(), replicas.into());
        }
        if paused {
            spec.insert("paused".into(), true.into());
        }
        let mut all: Vec<Value> = Vec::new();
        for (name, image, variables) in containers {
            if all.iter().any(|one| one["name"] == name) {
                continue;
            }
            let mut container = json!({ "name": name });
            if let Some(image) = image {
                container["image"] = image.into();
            }
            if !variables.is_empty() {
                let variables =
                    variables.into_iter().map(|(name, value)| json!({ "name": name, "value": value }));
                container["env"] = variables.collect();
            }
            all.push(container);
        }
        if !all.is_empty() {
            spec.insert("template".into(), json!({ "spec": { "containers": all } }));
        }
        if !spec.is_empty() {
            object["spec"] = spec.into();
        }
        object
    })
}

fn set() -> impl Strategy<Value = Set> {
    (deployment(), deployment()).prop_map(|(left, right)| {
        let schema = Schema::builtin("apps", "v1", "Deployment").unwrap();
        let changed = compare(Some(&schema), &left, &right);
        field_set(Some(&schema), &left).union(&changed.added).difference(&changed.modified)
    })
}

fn text(set: &Set) -> String {
    let mut out = String::new();
    set.write(&mut out);
    out
}

proptest! {
    #[test]
    fn sets_are_sets(a in set(), b in set(), c in set()) {
        let read = Set::parse(&text(&a)).unwrap();
        prop_assert_eq!(&read, &a);
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.intersection(&b.union(&c)), a.intersection(&b).union(&a.intersection(&c)));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert!(a.union(&b).paths().iter().all(|path| a.has(path) || b.has(path)));
        prop_assert!(a.without(&b).paths().iter().all(|path| a.has(path) && !b.has(path)));
        // What is looked up in the text is what is in the set.
        prop_assert_eq!(a.meets(&text(&b)), !a.intersection(&b).is_empty());
        prop_assert_eq!(a.within(&text(&b)), a.difference(&b).is_empty());
    }

    #[test]
    fn applying_again_changes_nothing(
        first in deployment(),
        live in prop::option::of(deployment()),
        second in deployment(),
    ) {
        let schema = Schema::builtin("apps", "v1", "Deployment").unwrap();
        let (one, other) = (change(&schema, "apps/v1", "one", &Filter::All), change(&schema, "apps/v1", "other", &Filter::All));
        let mut state = State::default();
        if let Some(live) = live {
            state.update(&other, live);
        }
        state.apply(&one, &first, true).unwrap();
        let before = state.clone();
        state.apply(&one, &first, false).unwrap();
        prop_assert_eq!(&state.object, &before.object);
        prop_assert_eq!(state.owners(), before.owners());
        // What it says is there, and its own.
        let wanted = field_set(Some(&schema), &first);
        let there = field_set(Some(&schema), state.object.as_ref().unwrap());
        prop_assert!(wanted.difference(&there).is_empty());
        let entries = decode(state.managed.as_deref().unwrap_or("[]")).unwrap();
        let fields = |entries: &[Entry], name: &str| {
            let found = entries.iter().find(|entry| entry.manager == name);
            found.map(|entry| entry.fields.clone()).unwrap_or_default()
        };
        prop_assert_eq!(fields(&entries, "one"), super::managers::stripped(&wanted));
        // Its own fields are those of what it said last, and nobody has more than before: what was
        // taken from another by force does not go back, even if nothing is left to that one.
        state.apply(&one, &second, true).unwrap();
        state.apply(&one, &first, true).unwrap();
        let after = decode(state.managed.as_deref().unwrap_or("[]")).unwrap();
        prop_assert_eq!(fields(&after, "one"), fields(&entries, "one"));
        prop_assert!(fields(&after, "other").difference(&fields(&entries, "other")).is_empty());
    }

    #[test]
    fn disjoint_owners_commute(left in deployment(), right in deployment()) {
        let schema = Schema::builtin("apps", "v1", "Deployment").unwrap();
        let (one, other) = (change(&schema, "apps/v1", "one", &Filter::All), change(&schema, "apps/v1", "other", &Filter::All));
        // Nothing in common but names: the other's fields are another's containers, labels and so on.
        let text = right.to_string();
        let text = text.replace(r#":"a""#, r#":"x""#).replace(r#":"b""#, r#":"y""#).replace(r#":"c""#, r#":"z""#);
        let text = text.replace(r#""a":"#, r#""x":"#).replace(r#""b":"#, r#""y":"#).replace(r#""c":"#, r#""z":"#);
        let mut right: Value = serde_json::from_str(&text).unwrap();
        if let Some(spec) = right["spec"].as_object_mut() {
            spec.remove("replicas");
            spec.remove("paused");
        }
        right["metadata"].as_object_mut().unwrap().remove("finalizers");
        let after = |steps: [(&Change<'_>, &Value); 2]| {
            let mut state = State { object: Some(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}})), managed: None };
            for (change, configuration) in steps {
                state.apply(change, configuration, false).unwrap();
            }
            let set = field_set(Some(&schema), state.object.as_ref().unwrap());
            (set, state.owners())
        };
        prop_assert_eq!(after([(&one, &left), (&other, &right)]), after([(&other, &right), (&one, &left)]));
    }

    #[test]
    fn removing_what_was_merged_leaves_the_rest(live in deployment(), configuration in deployment()) {
        let schema = Schema::builtin("apps", "v1", "Deployment").unwrap();
        let merged = merge(Some(&schema), &live, &configuration);
        let (before, wanted) = (field_set(Some(&schema), &live), field_set(Some(&schema), &configuration));
        let after = field_set(Some(&schema), &merged);
        prop_assert_eq!(&after, &before.union(&wanted));
        let removed = remove(Some(&schema), &merged, &wanted.difference(&before));
        let rest = field_set(Some(&schema), &removed);
        prop_assert!(rest.intersection(&wanted.difference(&before)).is_empty());
        // An update that makes the same object makes the same fields.
        let mut state = State::default();
        let owner = change(&schema, "apps/v1", "one", &Filter::All);
        state.update(&owner, live);
        state.update(&owner, merged);
    }
}
