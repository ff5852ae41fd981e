//! Ownership of replicas seen through the scale subresource.
//!
//! Invariant: what is changed through a scale is one field of the object; all others keep their owners. Answers to
//! apimachinery's `managedfields.ScaleHandler`.

use super::element::Element;
use super::managers::{Entry, Operation, decode, encode};
use super::set::Set;

/// Version of the scale.
const SCALE_VERSION: &str = "autoscaling/v1";

fn replicas() -> Set {
    Set::of(&[&["spec", "replicas"]])
}

fn path_of(path: &[&str]) -> Vec<Element> {
    path.iter().map(|name| Element::field(name)).collect()
}

/// The `managedFields` of a scale: of those of its object, who owns the replicas, which are at `path` there.
pub fn to_scale(managed: Option<&str>, path: &[&str]) -> Option<String> {
    let path = path_of(path);
    let entries = decode(managed?).unwrap_or_default().into_iter();
    let mut entries: Vec<_> = entries
        .filter(|entry| entry.fields.has(&path))
        .map(|entry| Entry { api_version: SCALE_VERSION.to_owned(), fields: replicas(), ..entry })
        .collect();
    encode(&mut entries)
}

/// The `managedFields` of an object, of which a scale's are `scale` after a change.
pub fn from_scale(
    managed: Option<&str>,
    scale: Option<&str>,
    path: &[&str],
    api_version: &str,
) -> Option<String> {
    let mut scale = scale.and_then(|text| decode(text).ok()).unwrap_or_default();
    let names = path;
    let path = path_of(path);
    let same = |left: &Entry, right: &Entry| {
        left.manager == right.manager
            && left.operation == right.operation
            && left.subresource == right.subresource
    };
    let mut entries = Vec::new();
    for mut entry in managed.and_then(|text| decode(text).ok()).unwrap_or_default() {
        if entry.fields.has(&path) {
            match scale.iter().position(|other| same(other, &entry)) {
                Some(at) => {
                    let kept = scale.remove(at);
                    if entry.operation == Operation::Update || kept.time != entry.time {
                        entry.time = kept.time;
                    }
                }
                None => entry.fields = entry.fields.difference(&Set::of(&[names])),
            }
        }
        entries.push(entry);
    }
    for entry in scale {
        if entry.fields.has(&path_of(&["spec", "replicas"])) {
            let fields = Set::of(&[names]);
            entries.push(Entry { api_version: api_version.to_owned(), fields, ..entry });
        }
    }
    entries.retain(|entry| !entry.fields.is_empty());
    encode(&mut entries)
}
