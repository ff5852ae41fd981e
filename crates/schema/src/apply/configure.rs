//! Applying a configuration: merge, take away what its manager applied before and nobody else owns, and find conflicts.
//!
//! Invariant: applying the same configuration again changes nothing, and what another manager owns changes only by
//! force. Answers to apimachinery's `FieldManager.Apply` and structured-merge-diff's `merge.Updater.Apply`.

use serde_json::Value;

use super::compare::compare;
use super::element::{Element, equal};
use super::extract::{field_set, validate};
use super::managers::{Entry, Operation, decode, encode};
use super::merge::{merge, remove};
use super::record::{Change, before_first_apply, disputes, own_entry, yield_fields};
use super::set::{Set, path_text};
use super::typing::Type;
use crate::Schema;

/// Where kubectl keeps what it applied from the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager as which kubectl applies: its changes of sides are looked after.
const KUBECTL: &str = "kubectl";

/// Bytes of all annotations together.
const ANNOTATION_BYTES: usize = 256 << 10;

/// An object as a configuration leaves it.
pub struct Applied {
    /// The object, without `managedFields`.
    pub object: Value,
    /// Its `managedFields` as JSON, if there are any.
    pub managed: Option<String>,
}

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who, as messages name it.
    pub manager: String,
    /// The field.
    pub path: String,
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It says what it may not say. Code 400.
    Malformed(String),
    /// Others own what it changes, grouped by manager. Code 409.
    Conflicts(Vec<Conflict>),
    /// It does not fit the schema. Code 500, without a reason, as upstream gives it.
    Failed(String),
}

/// One attempt, before its conflicts are looked at.
struct Attempt {
    object: Value,
    changed: bool,
    entries: Vec<Entry>,
}

/// Paths by the manager that owns them.
type Disputed = Vec<(Entry, Vec<Vec<Element>>)>;

/// Applies a configuration to an object as it is: `live` comes without its `managedFields`, which are `managed`;
/// `exists` is false if it is to be created, and then `live` is empty.
///
/// # Errors
/// Why not.
pub fn apply(
    change: &Change<'_>,
    live: &Value,
    exists: bool,
    managed: Option<&str>,
    configuration: &Value,
    force: bool,
) -> Result<Applied, Refused> {
    let mut entries = match managed {
        None => Vec::new(),
        Some(text) => {
            decode(text).map_err(|why| Refused::Failed(format!("failed to decode managed fields: {why}")))?
        }
    };
    if entries.is_empty() && exists {
        entries = before_first_apply(change, live);
    }
    if !configuration["metadata"]["managedFields"].is_null() {
        return Err(Refused::Malformed("metadata.managedFields must be nil".to_owned()));
    }
    validate(change.schema, configuration).map_err(|why| {
        let about = described(configuration, change);
        Refused::Failed(format!("failed to create typed patch object ({about}): {why}"))
    })?;
    let mut attempt = match try_apply(change, live, entries.clone(), configuration, force) {
        Ok(attempt) => attempt,
        Err(disputed) if change.manager == KUBECTL => {
            // What kubectl applied from the client's side is its own, whatever name it had then.
            let Some(allowed) = last_applied_fields(change.schema, change.api_version, live) else {
                return Err(conflicts(disputed, None));
            };
            let open = |path: &Vec<Element>| !allowed.has(path);
            if disputed.iter().any(|(_, paths)| paths.iter().any(open)) {
                return Err(conflicts(disputed, Some(&allowed)));
            }
            try_apply(change, live, entries, configuration, true)
                .map_err(|disputed| conflicts(disputed, None))?
        }
        Err(disputed) => return Err(conflicts(disputed, None)),
    };
    let mut own = own_entry(change, Operation::Apply);
    if let Some(entry) = attempt.entries.iter_mut().find(|entry| entry.is_of(&own)) {
        entry.strip();
        if attempt.changed {
            own.time = Some(change.now.to_owned());
            entry.time = own.time;
        }
    }
    attempt.entries.retain(|entry| !entry.fields.is_empty());
    if change.manager == KUBECTL {
        follow_last_applied(&mut attempt.object, configuration);
    }
    Ok(Applied { object: attempt.object, managed: encode(&mut attempt.entries) })
}

fn described(object: &Value, change: &Change<'_>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    // The core group has an empty name, and so it is printed.
    let core = if change.api_version.contains('/') { "" } else { "/" };
    format!("{namespace}/{name}; {core}{}, Kind={}", change.api_version, text(&object["kind"]))
}

fn conflicts(disputed: Disputed, allowed: Option<&Set>) -> Refused {
    let conflicts = disputed.into_iter().flat_map(|(entry, paths)| {
        let manager = entry.described();
        let open = paths.into_iter().filter(|path| allowed.is_none_or(|allowed| !allowed.has(path)));
        let open: Vec<_> = open.collect();
        open.into_iter().map(move |path| Conflict { manager: manager.clone(), path: path_text(&path) })
    });
    Refused::Conflicts(conflicts.collect())
}

fn try_apply(
    change: &Change<'_>,
    live: &Value,
    mut entries: Vec<Entry>,
    configuration: &Value,
    force: bool,
) -> Result<Attempt, Disputed> {
    let merged = merge(change.schema, live, configuration);
    let mut own = own_entry(change, Operation::Apply);
    own.fields = change.filter.apply(field_set(change.schema, configuration));
    let last = match entries.iter_mut().find(|entry| entry.is_of(&own)) {
        Some(entry) => {
            own.time.clone_from(&entry.time);
            Some(std::mem::replace(entry, own.clone()))
        }
        None => {
            entries.push(own.clone());
            None
        }
    };
    let object = match last {
        Some(last) if !last.fields.is_empty() => prune(change, merged, &entries, &last),
        _ => merged,
    };
    let comparison = compare(change.schema, live, &object).filtered(change.filter);
    let disputes = disputes(change, live, &object, comparison, &mut entries, Some(&own));
    if !force && disputes.iter().any(|dispute| !dispute.conflicts.is_empty()) {
        let disputed = entries.into_iter().zip(disputes).filter(|(_, dispute)| !dispute.conflicts.is_empty());
        let mut disputed: Disputed =
            disputed.map(|(entry, dispute)| (entry, dispute.conflicts.paths())).collect();
        disputed.sort_by_key(|(entry, _)| entry.identifier());
        return Err(disputed);
    }
    yield_fields(&mut entries, &disputes);
    let changed = !equal(live, &object);
    Ok(Attempt { object, changed, entries })
}

/// An object at a version, for what happens in terms of several.
struct At<'a> {
    change: &'a Change<'a>,
    api_version: String,
    schema: Option<Schema>,
    object: Value,
}

impl<'a> At<'a> {
    fn new(change: &'a Change<'a>, object: Value) -> Self {
        let api_version = change.api_version.to_owned();
        Self { change, api_version, schema: change.schema.cloned(), object }
    }

    fn to(&self, api_version: &str) -> Option<Self> {
        if self.api_version == api_version {
            return Some(self.with(self.object.clone()));
        }
        let (object, schema) = self.change.versions.at(&self.object, api_version)?;
        Some(Self { change: self.change, api_version: api_version.to_owned(), schema, object })
    }

    fn with(&self, object: Value) -> Self {
        Self {
            change: self.change,
            api_version: self.api_version.clone(),
            schema: self.schema.clone(),
            object,
        }
    }

    fn named(&self, set: &Set) -> Set {
        set.with_named_fields(Some(Type::of(self.schema.as_ref())))
    }

    fn fields(&self) -> Set {
        self.named(&field_set(self.schema.as_ref(), &self.object))
    }

    fn without(&self, fields: &Set) -> Self {
        self.with(remove(self.schema.as_ref(), &self.object, fields))
    }
}

/// Takes away what the manager applied the last time, does not apply now, and nobody else owns.
fn prune(change: &Change<'_>, merged: Value, entries: &[Entry], last: &Entry) -> Value {
    let whole = At::new(change, merged);
    let Some(merged) = whole.to(&last.api_version) else { return whole.object };
    let pruned = merged.without(&merged.named(&last.fields));
    let pruned = add_back_owned(&merged, pruned, entries);
    let Some(pruned) = pruned.to(&last.api_version) else { return whole.object };
    // What goes must have been the manager's: neither nobody's nor only another's.
    let gone = merged.fields().difference(&pruned.fields()).intersection(&merged.named(&last.fields));
    let pruned = merged.without(&gone);
    pruned.to(change.api_version).map_or(whole.object, |pruned| pruned.object)
}

/// Puts back what somebody owns, version by version, that of the pruned object first.
fn add_back_owned<'a>(merged: &At<'a>, pruned: At<'a>, entries: &[Entry]) -> At<'a> {
    let mut owned: Vec<(&str, Set)> = Vec::new();
    for entry in entries {
        match owned.iter_mut().find(|(version, _)| *version == entry.api_version) {
            Some((_, set)) => *set = set.union(&entry.fields),
            None => owned.push((&entry.api_version, entry.fields.clone())),
        }
    }
    owned.sort_by_key(|(version, _)| *version != merged.api_version);
    let mut pruned = pruned;
    for (version, owned) in owned {
        let (Some(merged), Some(at)) = (merged.to(version), pruned.to(version)) else { continue };
        let keep = at.fields().union(&merged.named(&owned));
        pruned = merged.without(&merged.fields().difference(&keep));
    }
    pruned
}

/// The fields that kubectl applied from the client's side and that still are as it applied them.
fn last_applied_fields(schema: Option<&Schema>, api_version: &str, live: &Value) -> Option<Set> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != *api_version {
        return None;
    }
    validate(schema, live).ok()?;
    validate(schema, &last).ok()?;
    let comparison = compare(schema, &last, live);
    let fields = field_set(schema, &last);
    Some(fields.difference(&comparison.changed()).difference(&comparison.removed))
}

/// Keeps kubectl's annotation true, so that somebody may go back to applying from the client's side.
fn follow_last_applied(object: &mut Value, configuration: &Value) {
    let has = object["metadata"]["annotations"][LAST_APPLIED].as_str().is_some_and(|text| !text.is_empty());
    if !has {
        return;
    }
    let mut configuration = configuration.clone();
    if let Some(annotations) = configuration["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    } else if let Some(metadata) = configuration["metadata"].as_object_mut() {
        metadata.remove("annotations");
    }
    let mut text = String::new();
    for letter in configuration.to_string().chars() {
        match letter {
            '<' | '>' | '&' => text.push_str(&format!("\\u{:04x}", letter as u32)),
            other => text.push(other),
        }
    }
    text.push('\n');
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    let size: usize =
        annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATION_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}
