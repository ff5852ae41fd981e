//! Revisions: what a pool was told to be at some time, numbered and named by their content.
//!
//! Invariants: going back to an earlier content gives its revision the next number instead of making
//! another; a name is made of the content alone, until it is found taken. Answers to upstream's
//! `pkg/controller/history` and to kubectl's rollback, which compares the content byte by byte.

use crate::error::{Error, Result};
use gifee_base::{Object, clock, name};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;
/// Longest part of a name that is the owner's.
const PREFIX_MAXIMUM: usize = 223;

/// A stored revision.
#[derive(Clone, Debug)]
pub struct Revision {
    /// The ControllerRevision.
    pub object: Arc<Object>,
    /// `revision`
    pub number: i64,
    /// `data`
    pub data: Value,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Revision {
    /// Reads a ControllerRevision.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn read(object: &Arc<Object>) -> Result<Self> {
        let mut tree = object.to_value().map_err(|error| Error::invalid(object.key(), error))?;
        Ok(Self {
            object: object.clone(),
            number: tree["revision"].as_i64().unwrap_or_default(),
            created: tree["metadata"]["creationTimestamp"].as_str().and_then(clock::parse_time),
            data: tree["data"].take(),
        })
    }

    /// The pod template that it holds.
    pub fn template(&self) -> Value {
        let mut template = self.data["spec"]["template"].clone();
        if let Some(template) = template.as_object_mut() {
            template.remove("$patch");
        }
        template
    }
}

/// What is to become of the revisions of a pool that was told something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The revision with this content, if there is one; with the highest number, if there are several.
    pub keep: Option<usize>,
    /// The number that the revision must at least have.
    pub number: i64,
    /// Others with the same content.
    pub duplicates: Vec<usize>,
}

/// Decides by content.
pub fn decide(revisions: &[Revision], data: &Value) -> Decision {
    let (mut equal, mut others) = (Vec::new(), Vec::new());
    for (at, revision) in revisions.iter().enumerate() {
        if revision.data == *data {
            equal.push(at);
        } else {
            others.push(revision.number);
        }
    }
    equal.sort_by_key(|at| order(&revisions[*at]));
    let keep = equal.pop();
    Decision { keep, number: next(others.into_iter()), duplicates: equal }
}

/// The number after all of these.
pub fn next(numbers: impl Iterator<Item = i64>) -> i64 {
    numbers.max().unwrap_or_default().max(0).saturating_add(1)
}

/// Oldest first.
pub fn order(revision: &Revision) -> (i64, Option<Timestamp>, String) {
    (revision.number, revision.created, revision.object.name().to_owned())
}

/// The patch that brings a pod template back, which is what a revision holds.
pub fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = "replace".into();
    json!({ "spec": { "template": template } })
}

/// FNV-1 of a content, as Go writes it, and of how often the name was found taken; in characters that make
/// no words.
pub fn hash(data: &Value, collisions: i64) -> String {
    let mut hash = OFFSET;
    for byte in go(data).bytes().chain(collisions.to_string().bytes()) {
        hash = hash.wrapping_mul(PRIME) ^ u32::from(byte);
    }
    name::safe_encode(&hash.to_string())
}

/// JSON as Go writes it: what could end a script is escaped.
fn go(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out
}

/// The name of a revision: its owner's, cut if need be, and the hash.
pub fn name(owner: &str, hash: &str) -> String {
    let mut end = owner.len().min(PREFIX_MAXIMUM);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &owner[..end])
}
