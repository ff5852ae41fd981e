//! `metadata.managedFields`: who set which fields, how and when.
//!
//! Invariant: entries have different identities and none is empty; written, they are in upstream's order and canonical,
//! so that what did not change has the same bytes. Answers to apimachinery's `managedfields/internal/managedfields.go`
//! and `capmanagers.go`.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::set::Set;
use super::wire::write_string;

/// How many entries of updates there are at most; the oldest become one.
pub const MAXIMUM_UPDATERS: usize = 10;

/// Who the oldest updates belong to that have become one.
const ANCIENT: &str = "ancient-changes";

/// Fields of the metadata that nobody owns.
pub(super) const STRIPPED: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A set without what nobody owns.
pub(super) fn stripped(set: &Set) -> Set {
    static NOBODYS: LazyLock<Set> = LazyLock::new(|| {
        let mut set = Set::of(&[&["apiVersion"], &["kind"], &["metadata"]]);
        for name in STRIPPED {
            set = set.union(&Set::of(&[&["metadata", name]]));
        }
        set
    });
    set.difference(&NOBODYS)
}

/// How somebody came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying a configuration.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: String,
    /// How.
    pub operation: Operation,
    /// Version of the object in whose terms the fields are.
    pub api_version: String,
    /// Through which part of the object; empty: the object itself.
    pub subresource: String,
    /// When it last changed something, as `metav1.Time`.
    pub time: Option<String>,
    /// What.
    pub fields: Set,
}

impl Entry {
    /// Whether it is the same manager's, the same way.
    pub fn is_of(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// Upstream's identifier of the manager, by which it orders managers.
    pub fn identifier(&self) -> String {
        identifier(&self.manager, self.operation, &self.api_version, &self.subresource)
    }

    /// As messages of conflicts name it.
    pub fn described(&self) -> String {
        let mut text = crate::go::quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", crate::go::quote(&self.subresource)));
        }
        if self.operation == Operation::Update {
            text.push_str(" using ");
            text.push_str(&self.api_version);
        }
        text
    }
}

fn identifier(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> String {
    let mut text = String::from("{");
    let version = if operation == Operation::Apply { "" } else { api_version };
    for (name, value) in [
        ("manager", manager),
        ("operation", operation.as_str()),
        ("apiVersion", version),
        ("subresource", subresource),
    ] {
        if value.is_empty() {
            continue;
        }
        if text.len() > 1 {
            text.push(',');
        }
        write_string(name, &mut text);
        text.push(':');
        write_string(value, &mut text);
    }
    text.push('}');
    text
}

/// An entry whose fields are still text.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Raw<'a> {
    #[serde(borrow)]
    pub manager: Cow<'a, str>,
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    #[serde(borrow)]
    pub api_version: Cow<'a, str>,
    #[serde(borrow)]
    pub subresource: Cow<'a, str>,
    #[serde(borrow)]
    pub time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(borrow, rename = "fieldsV1")]
    pub fields: Option<&'a RawValue>,
}

impl Default for Raw<'_> {
    fn default() -> Self {
        let none = || Cow::Borrowed("");
        Self {
            manager: none(),
            operation: none(),
            api_version: none(),
            subresource: none(),
            time: None,
            fields_type: none(),
            fields: None,
        }
    }
}

impl Raw<'_> {
    pub fn operation(&self) -> Option<Operation> {
        match &*self.operation {
            "Apply" => Some(Operation::Apply),
            "Update" => Some(Operation::Update),
            _ => None,
        }
    }

    pub fn fields(&self) -> &str {
        match self.fields {
            Some(fields) if fields.get() != "null" => fields.get(),
            _ => "{}",
        }
    }

    fn decode(&self, index: usize) -> Result<Entry, String> {
        let Some(operation) = self.operation() else {
            return Err("operation must be `Apply` or `Update`".to_owned());
        };
        if self.api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match &*self.fields_type {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => {
                return Err(format!(
                    "invalid fieldsType {} in managed fields entry {index}",
                    crate::go::quote(other)
                ));
            }
        }
        let fields = Set::parse(self.fields()).map_err(|why| {
            format!("error decoding versioned set from {}: error decoding set: {why}", self.manager)
        })?;
        Ok(Entry {
            manager: self.manager.clone().into_owned(),
            operation,
            api_version: self.api_version.clone().into_owned(),
            subresource: self.subresource.clone().into_owned(),
            time: self.time.clone().map(Cow::into_owned),
            fields,
        })
    }
}

/// Reads the JSON of `managedFields`; of entries with the same identity the last one stands.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn decode(text: &str) -> Result<Vec<Entry>, String> {
    let raw: Option<Vec<Raw<'_>>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut entries: Vec<Entry> = Vec::new();
    for (index, raw) in raw.iter().flatten().enumerate() {
        let entry = raw.decode(index)?;
        match entries.iter_mut().find(|other| other.is_of(&entry)) {
            Some(other) => *other = entry,
            None => entries.push(entry),
        }
    }
    Ok(entries)
}

/// Whether a client's `managedFields` ask that all ownership be forgotten: an empty list, or one empty entry.
pub fn is_reset(given: &Value) -> bool {
    let empty = |entry: &Value| match entry {
        Value::Object(map) => map.values().all(|value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        }),
        _ => entry.is_null(),
    };
    given.as_array().is_some_and(|entries| match entries.as_slice() {
        [] => true,
        [one] => empty(one),
        _ => false,
    })
}

/// The order of entries: by operation, time, manager, version and subresource.
type Rank<'a> = (Operation, &'a str, &'a str, &'a str, &'a str);

/// The JSON of `managedFields`; None if there are no entries.
pub fn encode(entries: &mut [Entry]) -> Option<String> {
    if entries.is_empty() {
        return None;
    }
    entries.sort_by(|left, right| rank(left).cmp(&rank(right)));
    let mut out = String::from("[");
    let mut fields = String::new();
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        fields.clear();
        entry.fields.write(&mut fields);
        write_entry(
            &entry.manager,
            entry.operation,
            &entry.api_version,
            &entry.subresource,
            entry.time.as_deref(),
            &fields,
            &mut out,
        );
    }
    out.push(']');
    Some(out)
}

fn rank(entry: &Entry) -> Rank<'_> {
    let time = entry.time.as_deref().unwrap_or_default();
    (entry.operation, time, &entry.manager, &entry.api_version, &entry.subresource)
}

/// Appends the JSON of an entry.
pub(super) fn write_entry(
    manager: &str,
    operation: Operation,
    api_version: &str,
    subresource: &str,
    time: Option<&str>,
    fields: &str,
    out: &mut String,
) {
    out.push_str("{\"apiVersion\":");
    write_string(api_version, out);
    out.push_str(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
    out.push_str(fields);
    if !manager.is_empty() {
        out.push_str(",\"manager\":");
        write_string(manager, out);
    }
    out.push_str(",\"operation\":\"");
    out.push_str(operation.as_str());
    out.push('"');
    if !subresource.is_empty() {
        out.push_str(",\"subresource\":");
        write_string(subresource, out);
    }
    if let Some(time) = time {
        out.push_str(",\"time\":");
        write_string(time, out);
    }
    out.push('}');
}

/// Makes one of the oldest entries of updates, if there are more than [`MAXIMUM_UPDATERS`].
pub(super) fn cap(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<(String, String)> = entries
        .iter()
        .filter(|entry| entry.operation == Operation::Update)
        .map(|entry| (entry.time.clone().unwrap_or_default(), entry.identifier()))
        .collect();
    let mut count = updaters.len();
    if count <= MAXIMUM_UPDATERS {
        return;
    }
    updaters.sort();
    let position = |entries: &[Entry], identifier: &str| {
        entries
            .iter()
            .position(|entry| entry.operation == Operation::Update && entry.identifier() == identifier)
    };
    let mut first: Vec<(String, String)> = Vec::new();
    for (_, updater) in updaters {
        if count <= MAXIMUM_UPDATERS {
            break;
        }
        let Some(at) = position(entries, &updater) else { continue };
        let version = entries[at].api_version.clone();
        let Some((_, oldest)) = first.iter().find(|(known, _)| *known == version) else {
            first.push((version, updater));
            continue;
        };
        let bucket = identifier(ANCIENT, Operation::Update, &version, "");
        let merged = entries.remove(at);
        let into = position(entries, &bucket).or_else(|| {
            let at = position(entries, oldest)?;
            ANCIENT.clone_into(&mut entries[at].manager);
            entries[at].subresource.clear();
            Some(at)
        });
        if let Some(into) = into {
            entries[into].fields = entries[into].fields.union(&merged.fields);
            entries[into].time = merged.time;
        }
        count -= 1;
    }
}

/// Whether two texts of `managedFields` that were written here differ in nothing but times.
pub fn same_but_times(left: &str, right: &str) -> bool {
    fn read(text: &str) -> Option<Vec<Raw<'_>>> {
        let mut entries: Vec<Raw<'_>> = serde_json::from_str(text).ok()?;
        entries.iter_mut().for_each(|entry| entry.time = None);
        Some(entries)
    }
    let (Some(left), Some(right)) = (read(left), read(right)) else { return false };
    let same = |one: &Raw<'_>, other: &Raw<'_>| {
        one.operation == other.operation
            && one.manager == other.manager
            && one.api_version == other.api_version
            && one.subresource == other.subresource
            && one.fields() == other.fields()
    };
    left.len() == right.len() && left.iter().all(|one| right.iter().any(|other| same(one, other)))
}

/// What is wrong with names in entries that a client gave: index, field and how many bytes it may have, or which
/// character it may not have and where.
pub enum Misnamed {
    /// It is longer than so many bytes.
    TooLong(usize, &'static str, usize),
    /// It has a character that cannot be printed.
    Unprintable(usize, String, char, usize),
}

/// The most bytes of the name of a manager.
pub const MAXIMUM_MANAGER_BYTES: usize = 128;

/// The most bytes of the name of a subresource in an entry.
const MAXIMUM_SUBRESOURCE_BYTES: usize = 256;

/// A character of a name that cannot be printed, and its position in bytes.
pub fn unprintable(name: &str) -> Option<(usize, char)> {
    name.char_indices().find(|(_, letter)| {
        letter.is_control() || (letter.is_whitespace() && *letter != ' ') || is_invisible(*letter)
    })
}

/// Format characters, surrogates' remains and private ones, which Go does not count as printable.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{f0000}'..='\u{10ffff}')
}

/// What is wrong with the names in a client's `managedFields`.
pub fn misnamed(given: &Value) -> Vec<Misnamed> {
    let mut found = Vec::new();
    for (index, entry) in given.as_array().into_iter().flatten().enumerate() {
        let manager = entry["manager"].as_str().unwrap_or_default();
        if manager.len() > MAXIMUM_MANAGER_BYTES {
            found.push(Misnamed::TooLong(index, "manager", MAXIMUM_MANAGER_BYTES));
        }
        if let Some((at, letter)) = unprintable(manager) {
            found.push(Misnamed::Unprintable(index, manager.to_owned(), letter, at));
        }
        if entry["subresource"].as_str().unwrap_or_default().len() > MAXIMUM_SUBRESOURCE_BYTES {
            found.push(Misnamed::TooLong(index, "subresource", MAXIMUM_SUBRESOURCE_BYTES));
        }
    }
    found
}
