//! What holds for every row of KINDS.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers too.

mod cases;
mod refused;
mod services;

use expect_test::expect_file;
use futures_util::FutureExt;
use gifee_base::{Object, ObjectKey, Status};
use gifee_registry::kind::{ALL, Cluster, Context, Kind, Scope, Verb};
use gifee_registry::{Settings, kinds};
use gifee_schema::defaults::Defaults;
use gifee_schema::{Schema, check, parse};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

fn rows() -> Vec<Kind> {
    kinds(&Settings::default())
}

fn words<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "-".into();
    }
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",")
}

fn verbs(verbs: &[Verb]) -> String {
    words(&verbs.iter().map(|verb| format!("{verb:?}").to_lowercase()).collect::<Vec<_>>())
}

/// A row as discovery shows it, in one line.
fn shown(kind: &Kind) -> String {
    let scope = if kind.scope == Scope::Cluster { "cluster" } else { "namespaced" };
    let all = if kind.verbs == ALL { "all".into() } else { verbs(kind.verbs) };
    let mut line = format!(
        "{} {} {} {} {scope} {} {} {all}",
        kind.gvk.api_version(),
        kind.gvk.kind,
        kind.resource,
        kind.singular,
        words(&kind.short_names),
        words(&kind.categories),
    );
    for one in &kind.subresources {
        let gvk =
            one.gvk.as_ref().map_or_else(String::new, |gvk| format!("={}.{}", gvk.api_version(), gvk.kind));
        line.push_str(&format!(" {}{gvk}({})", one.name, verbs(one.verbs)));
    }
    line
}

#[test]
fn discovery_shows_what_upstream_shows() {
    let lines: Vec<String> = rows().iter().map(shown).collect();
    let expect: Vec<&str> = include_str!("discovery.txt").lines().collect();
    let (mut sorted, mut wanted) =
        (lines.clone(), expect.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    sorted.sort();
    wanted.sort();
    assert_eq!(sorted, wanted);
    // Groups come in upstream's order; within the core group the order is ours.
    assert_eq!(lines[17..], expect[17..]);
}

#[test]
fn kinds_with_two_versions_are_stored_once() {
    for kind in rows() {
        let own = (&*kind.storage.0, &*kind.storage.1) == (&*kind.gvk.group, &*kind.resource);
        assert_eq!(
            kind.conversion.is_none(),
            own && &*kind.gvk.api_version() != "autoscaling/v1",
            "{:?}",
            kind.gvk
        );
    }
}

#[test]
fn tables_have_a_cell_for_each_column() {
    for kind in rows() {
        let cells = (kind.table.row)(&serde_json::Value::Null, 0);
        assert_eq!(cells.len(), kind.table.columns.len(), "{:?}", kind.gvk);
    }
}

/// Other objects, of which there are none, and ranges that give what is asked for once.
#[derive(Default)]
struct Nobody {
    taken: Mutex<BTreeSet<String>>,
}

impl Nobody {
    fn take(&self, what: String) -> bool {
        self.taken.lock().is_ok_and(|mut taken| taken.insert(what))
    }

    fn give(&self, what: &str) {
        if let Ok(mut taken) = self.taken.lock() {
            taken.remove(what);
        }
    }
}

#[async_trait::async_trait]
impl Cluster for Nobody {
    fn get(&self, _: &str, _: &str, _: &ObjectKey) -> Option<Arc<Object>> {
        None
    }
    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Object>> {
        Vec::new()
    }
    async fn create(&self, group: &str, resource: &str, object: Value) -> Result<(), Status> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if self.take(format!("{resource}/{name}")) {
            return Ok(());
        }
        Err(Status::already_exists(group, resource, name))
    }
    async fn delete(&self, _: &str, resource: &str, key: &ObjectKey) -> Result<(), Status> {
        self.give(&format!("{resource}/{}", key.name));
        Ok(())
    }
    async fn reserve(&self, range: &str, name: &str, _: &str) -> Result<bool, Status> {
        Ok(self.take(format!("{range}/{name}")))
    }
    async fn release(&self, range: &str, name: &str) -> Result<(), Status> {
        self.give(&format!("{range}/{name}"));
        Ok(())
    }
}

const NOW: &str = "2026-01-01T00:10:00Z";
const NOW_SECONDS: i64 = 1_767_226_200;

fn context<'a>(
    key: &'a ObjectKey,
    cluster: &'a Nobody,
    extra: &'a BTreeMap<String, Vec<String>>,
) -> Context<'a> {
    Context { user: "ann", user_uid: "", groups: &[], extra, now: NOW, key, dry_run: false, cluster }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Where the example of a kind stands: its group's folder, below it a version's if another one is preferred.
fn place(kind: &Kind) -> PathBuf {
    let group = if kind.gvk.group.is_empty() { "core" } else { &kind.gvk.group };
    let mut place = folder().join(group);
    if kind.gvk.api_version() == "autoscaling/v1" {
        place.push("v1");
    }
    place.join(format!("{}.yaml", kind.gvk.kind.to_lowercase()))
}

fn schema(kind: &Kind) -> Schema {
    let gvk = &kind.gvk;
    Schema::builtin(&gvk.group, &gvk.version, &gvk.kind).unwrap_or_else(|| panic!("no schema of {gvk}"))
}

fn defaults() -> Defaults {
    let rows = rows();
    let tables: Vec<&str> = rows.iter().map(|kind| kind.defaults).filter(|table| !table.is_empty()).collect();
    Defaults::builtin(&tables, &[]).unwrap()
}

/// The example of a kind as it is written.
fn example(kind: &Kind) -> Value {
    let text =
        std::fs::read(place(kind)).unwrap_or_else(|error| panic!("{}: {error}", place(kind).display()));
    let parsed = parse::yaml(&text).unwrap();
    assert_eq!(parsed.duplicates.len(), 0, "{}", kind.gvk);
    parsed.value
}

/// The example of a kind as it is stored after a create.
fn created(kind: &Kind, defaults: &Defaults) -> Value {
    let object = stored(kind, defaults, example(kind));
    judged(kind, object)
}

/// An object as it is after the defaults and what comes before a create.
fn stored(kind: &Kind, defaults: &Defaults, mut object: Value) -> Value {
    let (schema, gvk) = (schema(kind), &kind.gvk);
    let findings = check::check(&schema, &mut object).unwrap_or_else(|error| panic!("{gvk}: {error}"));
    assert!(findings.unknown.is_empty(), "{gvk}: {:?}", findings.unknown);
    assert_eq!(object["apiVersion"], gvk.api_version(), "{gvk}");
    assert_eq!(object["kind"], *gvk.kind, "{gvk}");
    defaults.apply(&schema, &mut object);
    kind.hooks.default(&mut object);
    let mut again = object.clone();
    defaults.apply(&schema, &mut again);
    kind.hooks.default(&mut again);
    assert_eq!(again, object, "{gvk}: defaults change what they have made");
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if kind.stored {
        object["metadata"]["uid"] = "c1d8aa6e-3f54-4d4e-9c2f-7a6a0b6c9d01".into();
        object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!((kind.name_rule)(&name), Vec::<String>::new(), "{gvk}");
    }
    let key = key_of(&object);
    let (nobody, extra) = (Nobody::default(), BTreeMap::new());
    kind.hooks.prepare_create(&mut object, &context(&key, &nobody, &extra));
    object
}

fn key_of(object: &Value) -> ObjectKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ObjectKey::new(text("namespace"), text("name"))
}

/// An object that nothing is wrong with, with what is allocated for it.
fn judged(kind: &Kind, mut object: Value) -> Value {
    let (schema, gvk) = (schema(kind), &kind.gvk);
    let key = key_of(&object);
    let (nobody, extra) = (Nobody::default(), BTreeMap::new());
    let context = context(&key, &nobody, &extra);
    kind.hooks.allocate(&mut object, None, &context).now_or_never().unwrap().unwrap();
    let mut errors = kind.hooks.validate(&object, &context);
    errors.extend(kind.hooks.validate_create(&object, &context));
    assert!(errors.is_empty(), "{gvk}: {errors:?}");
    let mut checked = object.clone();
    check::check(&schema, &mut checked).unwrap_or_else(|error| panic!("{gvk}: {error}"));
    assert_eq!(checked, object, "{gvk}: hooks leave objects incomplete");
    object
}

#[test]
fn every_kind_has_an_example_and_every_example_a_kind() {
    let wanted: BTreeSet<PathBuf> = rows().iter().map(place).collect();
    let mut found = BTreeSet::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    assert_eq!(found, wanted);
}

#[test]
fn every_example_can_be_created_and_written_back() {
    let defaults = defaults();
    let mut shown = String::new();
    for kind in rows() {
        let object = created(&kind, &defaults);
        shown.push_str(&format!("{object}\n"));
        let key = ObjectKey::new("", "");
        let (nobody, extra) = (Nobody::default(), BTreeMap::new());
        let context = context(&key, &nobody, &extra);
        let mut same = object.clone();
        defaults.apply(&schema(&kind), &mut same);
        kind.hooks.default(&mut same);
        kind.hooks.prepare_update(&mut same, &object, "", &context);
        assert_eq!(same, object, "{}: written back as it was, it changes", kind.gvk);
        let errors = kind.hooks.judge_update(&same, &object, "", &context);
        assert!(errors.is_empty(), "{}: {errors:?}", kind.gvk);
        for one in &kind.subresources {
            kind.hooks.prepare_update(&mut same, &object, &one.name, &context);
            assert_eq!(same, object, "{}/{}: written back as it was, it changes", kind.gvk, one.name);
        }
    }
    expect_file!["./created.jsonl"].assert_eq(&shown);
}

#[test]
fn unknown_fields_are_found() {
    for kind in rows() {
        let mut object = example(&kind);
        object["nonsense"] = json!(1);
        let findings = check::check(&schema(&kind), &mut object).unwrap();
        assert_eq!(findings.unknown, ["nonsense"], "{}", kind.gvk);
    }
}

#[test]
fn a_status_is_written_alone() {
    let defaults = defaults();
    for kind in rows().iter().filter(|kind| kind.subresources.iter().any(|one| &*one.name == "status")) {
        let old = created(kind, &defaults);
        let key = ObjectKey::new("", "");
        let (nobody, extra) = (Nobody::default(), BTreeMap::new());
        let context = context(&key, &nobody, &extra);
        let mut new = old.clone();
        new["spec"] = json!({ "other": true });
        new["status"] = json!({ "other": true });
        let mut by_status = new.clone();
        kind.hooks.prepare_update(&mut by_status, &old, "status", &context);
        assert_eq!(by_status["spec"], old["spec"], "{}: the status subresource changed the spec", kind.gvk);
        assert_eq!(by_status["status"]["other"], true, "{}", kind.gvk);
        kind.hooks.prepare_update(&mut new, &old, "", &context);
        assert!(new["status"]["other"].is_null(), "{}: the object changed its status", kind.gvk);
    }
}

#[test]
fn every_kind_is_shown_as_a_table() {
    let defaults = defaults();
    let mut shown = String::new();
    for kind in rows() {
        let mut object = created(&kind, &defaults);
        if let Some(conversion) = kind.conversion {
            object = (conversion.to_stored)(object);
        }
        let cells = (kind.table.row)(&object, NOW_SECONDS);
        let cells = kind.table.columns.iter().zip(cells).map(|(column, cell)| {
            let cell = cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
            format!("{}{}={cell:?}", if column.priority > 0 { "+" } else { "" }, column.name)
        });
        shown.push_str(&format!("{}: {}\n", kind.gvk, cells.collect::<Vec<_>>().join(" ")));
    }
    expect_file!["./tables.txt"].assert_eq(&shown);
}

#[test]
fn conversions_come_back() {
    let defaults = defaults();
    for kind in rows() {
        let Some(conversion) = kind.conversion else { continue };
        let object = created(&kind, &defaults);
        let stored = (conversion.to_stored)(object.clone());
        let gvk = &kind.gvk;
        assert_ne!(stored["apiVersion"], object["apiVersion"], "{gvk}");
        let mut back = (conversion.from_stored)(stored);
        check::check(&schema(&kind), &mut back).unwrap();
        assert_eq!(back, object, "{gvk}");
    }
}
