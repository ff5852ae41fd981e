//! What a create, update or patch makes of `managedFields`.
//!
//! Invariant: who changes a field owns it, alone among updaters and appliers; a write that changes nothing that
//! somebody else owns, and nothing that its manager does not own yet, touches no set: it costs a look into the text.
//! Answers to apimachinery's `FieldManager.Update` and structured-merge-diff's `merge.Updater`.

use serde_json::{Map, Value};

use super::compare::{Comparison, compare};
use super::created::created;
use super::managers::{self, Entry, Operation, Raw, cap, decode, encode, is_reset, stripped, write_entry};
use super::set::{Filter, Set};
use crate::Schema;

/// The most changed fields that are looked for in the text of sets instead of in sets.
const MAXIMUM_LOOKED_UP: usize = 16;

/// Objects in other versions, in whose terms some managers' fields are.
pub trait Versions {
    /// An object in another version, with the schema of that; None if it is not served any more.
    fn at(&self, object: &Value, api_version: &str) -> Option<(Value, Option<Schema>)>;
}

/// Who writes what.
pub struct Change<'a> {
    /// Schema of the objects; None: whatever they look like.
    pub schema: Option<&'a Schema>,
    /// Their version.
    pub api_version: &'a str,
    /// Who.
    pub manager: &'a str,
    /// Through which part; empty: the object itself.
    pub subresource: &'a str,
    /// What the write may own.
    pub filter: &'a Filter,
    /// When.
    pub now: &'a str,
    /// Other versions.
    pub versions: &'a dyn Versions,
}

/// What becomes of `managedFields`, as JSON; None: there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// They stay as they are.
    Unchanged,
    /// They stay but for a time, which counts only if the write changes anything besides.
    Time(String),
    /// They are these.
    Changed(Option<String>),
}

/// An entry that a write would make, without fields.
pub(super) fn own_entry(change: &Change<'_>, operation: Operation) -> Entry {
    let manager = if change.manager.is_empty() { "unknown" } else { change.manager };
    Entry {
        manager: manager.to_owned(),
        operation,
        api_version: change.api_version.to_owned(),
        subresource: change.subresource.to_owned(),
        time: None,
        fields: Set::default(),
    }
}

/// The `managedFields` of a new object; `given` are those that its client gave it.
pub fn record_created(change: &Change<'_>, object: &Value, given: Option<&Value>) -> Option<String> {
    if let Some(given) = given
        && !is_reset(given)
        && let Ok(entries) = decode(&given.to_string())
        && !entries.is_empty()
    {
        let empty = Value::Object(Map::new());
        return settle(change, &empty, object, None, entries);
    }
    let mut text = String::with_capacity(512);
    text.push('[');
    let mut fields = String::with_capacity(512);
    if !created(change.schema, object, change.filter, &mut fields) {
        return None;
    }
    let manager = if change.manager.is_empty() { "unknown" } else { change.manager };
    let (version, part) = (change.api_version, change.subresource);
    write_entry(manager, Operation::Update, version, part, Some(change.now), &fields, &mut text);
    text.push(']');
    Some(text)
}

/// The `managedFields` of a changed object: `live` are those that it has, `given` those that its client sent, if
/// that may say anything about them. The objects themselves come without.
pub fn record(
    change: &Change<'_>,
    old: &Value,
    new: &Value,
    live: Option<&str>,
    given: Option<&Value>,
) -> Recorded {
    let mut own = None;
    if let Some(given) = given.filter(|given| !given.is_null()) {
        if is_reset(given) {
            return Recorded::Changed(None);
        }
        let same =
            live.is_some_and(|live| serde_json::from_str::<Value>(live).is_ok_and(|live| live == *given));
        if !same {
            own = decode(&given.to_string()).ok().filter(|entries| !entries.is_empty());
        }
    }
    if let Some(entries) = own {
        return Recorded::Changed(settle(change, old, new, None, entries));
    }
    // Whose ownership nobody tracks, stays so until somebody applies.
    let Some(live) = live else { return Recorded::Unchanged };
    let comparison = compare(change.schema, old, new).filtered(change.filter);
    if comparison == Comparison::default() {
        return Recorded::Unchanged;
    }
    if let Some(recorded) = retouch(change, &comparison, live) {
        return recorded;
    }
    let entries = decode(live).unwrap_or_default();
    if entries.is_empty() {
        return Recorded::Changed(None);
    }
    Recorded::Changed(settle(change, old, new, Some(comparison), entries))
}

/// The outcome if no set changes, found without making sets; None if it cannot be.
fn retouch(change: &Change<'_>, comparison: &Comparison, live: &str) -> Option<Recorded> {
    let changed = comparison.changed();
    if changed.size(MAXIMUM_LOOKED_UP) + comparison.removed.size(MAXIMUM_LOOKED_UP) >= MAXIMUM_LOOKED_UP {
        return None;
    }
    let mut entries: Vec<Raw<'_>> = serde_json::from_str(live).ok()?;
    let own = own_entry(change, Operation::Update);
    let mut mine = None;
    for (index, entry) in entries.iter().enumerate() {
        let operation = entry.operation()?;
        if entry.api_version != change.api_version || comparison.removed.meets(entry.fields()) {
            return None;
        }
        let is_own = operation == own.operation
            && entry.manager == own.manager
            && entry.subresource == own.subresource;
        if is_own {
            mine = Some(index);
        } else if changed.meets(entry.fields()) {
            return None;
        }
    }
    let changed = stripped(&changed);
    if changed.is_empty() {
        return Some(Recorded::Unchanged);
    }
    let mine = &mut entries[mine?];
    if !changed.within(mine.fields()) {
        return None;
    }
    if mine.time.as_deref() == Some(change.now) {
        return Some(Recorded::Unchanged);
    }
    mine.time = Some(change.now.into());
    Some(Recorded::Time(rewrite(&mut entries)))
}

fn rewrite(entries: &mut [Raw<'_>]) -> String {
    entries.sort_by(|left, right| {
        let times = (left.time.as_deref().unwrap_or_default(), right.time.as_deref().unwrap_or_default());
        (left.operation(), times.0)
            .cmp(&(right.operation(), times.1))
            .then_with(|| left.manager.cmp(&right.manager))
            .then_with(|| left.subresource.cmp(&right.subresource))
    });
    let mut out = String::from("[");
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let operation = entry.operation().unwrap_or(Operation::Update);
        write_entry(
            &entry.manager,
            operation,
            &entry.api_version,
            &entry.subresource,
            entry.time.as_deref(),
            entry.fields(),
            &mut out,
        );
    }
    out.push(']');
    out
}

/// The way by sets.
fn settle(
    change: &Change<'_>,
    old: &Value,
    new: &Value,
    comparison: Option<Comparison>,
    mut entries: Vec<Entry>,
) -> Option<String> {
    let comparison = comparison.unwrap_or_else(|| compare(change.schema, old, new).filtered(change.filter));
    update(change, old, new, comparison, &mut entries);
    cap(&mut entries);
    encode(&mut entries)
}

/// Gives what changed to the manager of an update, and takes it from all others.
pub(super) fn update(
    change: &Change<'_>,
    old: &Value,
    new: &Value,
    comparison: Comparison,
    entries: &mut Vec<Entry>,
) {
    let changed = stripped(&comparison.changed());
    let disputes = disputes(change, old, new, comparison, entries, None);
    yield_fields(entries, &disputes);
    entries.retain(|entry| !entry.fields.is_empty());
    if changed.is_empty() {
        return;
    }
    let mut own = own_entry(change, Operation::Update);
    own.time = Some(change.now.to_owned());
    own.fields = changed;
    match entries.iter_mut().find(|entry| entry.is_of(&own)) {
        Some(entry) => {
            entry.fields = entry.fields.union(&own.fields);
            entry.time = own.time;
        }
        None => entries.push(own),
    }
}

/// What a change does to an entry's fields.
#[derive(Default)]
pub(super) struct Dispute {
    /// Of them, those that it changes.
    pub conflicts: Set,
    /// Those that are gone.
    pub removed: Set,
}

/// What a change does to every entry, in their order; entries of versions that are not served any more are dropped.
/// `exempt` is the entry whose manager makes the change.
pub(super) fn disputes(
    change: &Change<'_>,
    old: &Value,
    new: &Value,
    comparison: Comparison,
    entries: &mut Vec<Entry>,
    exempt: Option<&Entry>,
) -> Vec<Dispute> {
    let mut known: Vec<(String, Option<Comparison>)> =
        vec![(change.api_version.to_owned(), Some(comparison))];
    let mut disputes = Vec::with_capacity(entries.len());
    entries.retain(|entry| {
        if exempt.is_some_and(|exempt| exempt.is_of(entry)) {
            disputes.push(Dispute::default());
            return true;
        }
        let found = known.iter().position(|(version, _)| *version == entry.api_version);
        let at = found.unwrap_or_else(|| {
            known.push((entry.api_version.clone(), compare_at(change, old, new, &entry.api_version)));
            known.len() - 1
        });
        let Some(comparison) = &known[at].1 else { return false };
        let conflicts = entry.fields.intersection(&comparison.changed());
        disputes.push(Dispute { conflicts, removed: comparison.removed.clone() });
        true
    });
    disputes
}

fn compare_at(change: &Change<'_>, old: &Value, new: &Value, api_version: &str) -> Option<Comparison> {
    let (old, schema) = change.versions.at(old, api_version)?;
    let (new, _) = change.versions.at(new, api_version)?;
    Some(compare(schema.as_ref(), &old, &new).filtered(change.filter))
}

/// Takes from all entries what they lost.
pub(super) fn yield_fields(entries: &mut [Entry], disputes: &[Dispute]) {
    for (entry, dispute) in entries.iter_mut().zip(disputes) {
        for lost in [&dispute.conflicts, &dispute.removed] {
            if !lost.is_empty() {
                entry.fields = entry.fields.difference(lost);
            }
        }
    }
}

/// Who owned what there was before anybody applied.
pub(super) fn before_first_apply(change: &Change<'_>, live: &Value) -> Vec<Entry> {
    let change = Change { manager: "before-first-apply", ..*change };
    let empty = Value::Object(Map::new());
    let comparison = compare(change.schema, &empty, live).filtered(change.filter);
    let mut entries = Vec::new();
    update(&change, &empty, live, comparison, &mut entries);
    entries
}

impl Entry {
    /// The set of one entry without what nobody owns.
    pub(super) fn strip(&mut self) {
        self.fields = managers::stripped(&self.fields);
    }
}
