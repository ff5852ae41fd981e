//! An object as its canonical JSON bytes and an index of its metadata.
//!
//! Invariant: an `Object` never changes; reading a field of the index never decodes the bytes. The
//! stored bytes carry no resource version: a store learns it only at commit, so it is a number
//! beside the bytes, and stands in them when they are written out. The bytes of store, watch
//! cache and controller caches are one allocation.

use crate::labels::LabelSelector;
use crate::scan::Scanner;
use crate::{encode, scan};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

/// Bytes that the place where objects are encoded keeps for the next one.
const SCRATCH_MAXIMUM: usize = 64 << 10;

/// Where a string stands: in the bytes, or behind their end in the side buffer if it had escapes.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

/// A reference to an owner, as indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// `apiVersion` of the owner.
    pub api_version: &'a str,
    /// `kind` of the owner.
    pub kind: &'a str,
    /// Name of the owner.
    pub name: &'a str,
    /// UID of the owner.
    pub uid: &'a str,
    /// Whether the owner is the managing controller.
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

#[derive(Clone, Copy, Debug)]
struct OwnerSpan {
    parts: [Span; 4],
    controller: bool,
    block: bool,
}

/// Bytes could not be understood as an object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or metadata of the wrong shape.
    #[error("decoding object: {0}")]
    Json(#[from] serde_json::Error),
    /// More than 4 GiB.
    #[error("decoding object: {0} bytes are too many")]
    TooLarge(usize),
}

/// An immutable object.
#[derive(Clone, Debug)]
pub struct Object {
    raw: Bytes,
    revision: u64,
    /// Where `"resourceVersion":"…",` goes; None if the bytes carry it already.
    splice: Option<u32>,
    /// Where the metadata ends; 0 if there is none.
    metadata_end: u32,
    side: Box<str>,
    namespace: Span,
    name: Span,
    uid: Span,
    generation: i64,
    deleting: bool,
    finalizers: u16,
    labels: SmallVec<[(Span, Span); 2]>,
    owners: SmallVec<[OwnerSpan; 1]>,
}

#[derive(Deserialize)]
struct Skim<'a> {
    #[serde(borrow)]
    metadata: Option<&'a serde_json::value::RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_version: Option<Cow<'a, str>>,
    generation: Option<i64>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    finalizers: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(borrow)]
    labels: Option<Pairs<'a>>,
    #[serde(borrow)]
    owner_references: Option<Vec<OwnerReference<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    controller: Option<bool>,
    #[serde(default)]
    block_owner_deletion: Option<bool>,
}

/// The metadata of bytes that were encoded here, and where it is: in one pass, which ends where it ends. None: a
/// parser must be asked.
fn quick(raw: &[u8]) -> Option<(Option<Range<usize>>, Metadata<'_>)> {
    let mut scanner = Scanner::new(raw);
    if !scanner.take(b'{') {
        return None;
    }
    while let Some(key) = scanner.key()? {
        if &raw[key.range] == b"metadata" {
            let start = scanner.position();
            let metadata = quick_metadata(raw, &mut scanner)?;
            return Some((Some(start..scanner.passed()), metadata));
        }
        scanner.skip()?;
    }
    Some((None, Metadata::default()))
}

fn quick_metadata<'a>(raw: &'a [u8], scanner: &mut Scanner<'a>) -> Option<Metadata<'a>> {
    let mut found = Metadata::default();
    if !scanner.take(b'{') {
        return None;
    }
    while let Some(key) = scanner.key()? {
        match &raw[key.range] {
            b"namespace" => found.namespace = Some(scanner.string()?.of(raw)?),
            b"name" => found.name = Some(scanner.string()?.of(raw)?),
            b"uid" => found.uid = Some(scanner.string()?.of(raw)?),
            b"labels" => found.labels = Some(quick_pairs(raw, scanner)?),
            b"resourceVersion" => found.resource_version = json(raw, scanner)?,
            b"generation" => found.generation = json(raw, scanner)?,
            b"deletionTimestamp" => found.deletion_timestamp = json(raw, scanner)?,
            b"finalizers" => found.finalizers = json(raw, scanner)?,
            b"ownerReferences" => found.owner_references = json(raw, scanner)?,
            _ => scanner.skip()?,
        }
    }
    Some(found)
}

/// The next value, by a parser.
fn json<'a, T: Deserialize<'a>>(raw: &'a [u8], scanner: &mut Scanner<'a>) -> Option<T> {
    let start = scanner.position();
    scanner.skip()?;
    serde_json::from_slice(raw.get(start..scanner.passed())?).ok()
}

fn quick_pairs<'a>(raw: &'a [u8], scanner: &mut Scanner<'a>) -> Option<Pairs<'a>> {
    let mut pairs = SmallVec::new();
    if !scanner.take(b'{') {
        return None;
    }
    while let Some(key) = scanner.key()? {
        let value = scanner.string()?;
        pairs.push((Text(key.of(raw)?), Text(value.of(raw)?)));
    }
    Some(Pairs(pairs))
}

/// Where the metadata is in bytes that the scanner could not follow.
fn skim(bytes: &[u8]) -> Result<Option<Range<usize>>, Error> {
    let skim: Skim<'_> = serde_json::from_slice(bytes)?;
    Ok(skim.metadata.map(|metadata| {
        let start = metadata.get().as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + metadata.get().len()
    }))
}

/// The metadata of any bytes, and where it is.
fn parsed(bytes: &[u8]) -> Result<(Option<Range<usize>>, Metadata<'_>), Error> {
    let found = match scan::member(bytes, "metadata") {
        Some(found) => found,
        None => skim(bytes)?,
    };
    let metadata = match &found {
        Some(range) if &bytes[range.clone()] != b"null" => serde_json::from_slice(&bytes[range.clone()])?,
        _ => Metadata::default(),
    };
    Ok((found, metadata))
}

struct Pairs<'a>(SmallVec<[(Text<'a>, Text<'a>); 4]>);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> serde::de::Visitor<'de> for Visitor<'a> {
            type Value = Pairs<'a>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = SmallVec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// Turns borrowed strings into spans of the bytes, and owned ones into spans of the side buffer.
struct Spans<'a> {
    raw: &'a [u8],
    side: String,
}

impl Spans<'_> {
    // Not `&str`: whether it is borrowed from the bytes is the question.
    #[allow(clippy::ptr_arg)]
    fn of(&mut self, text: &Cow<'_, str>) -> Span {
        let start = match text {
            Cow::Borrowed(text) => (text.as_ptr() as usize).wrapping_sub(self.raw.as_ptr() as usize),
            Cow::Owned(text) => {
                let start = self.raw.len() + self.side.len();
                self.side.push_str(text);
                start
            }
        };
        // Lengths were checked against u32 before; an empty borrowed string may point anywhere.
        match (text.is_empty(), u32::try_from(start), u32::try_from(start + text.len())) {
            (false, Ok(start), Ok(end)) => Span { start, end },
            _ => Span::default(),
        }
    }
}

impl Object {
    /// Encodes a tree as it is stored: compact, keys sorted, without a resource version. Its `managedFields` may be
    /// a list or the text of one.
    pub fn encode(value: &mut Value) -> Bytes {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        thread_local! {
            /// Where objects are encoded, so that what is kept has exactly its size.
            static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            encode::object(scratch, value);
            let bytes = Bytes::copy_from_slice(scratch);
            if scratch.capacity() > SCRATCH_MAXIMUM {
                *scratch = Vec::new();
            }
            bytes
        })
    }

    /// An object from stored bytes and the revision they were committed at.
    ///
    /// # Errors
    /// If the bytes are not an object's JSON.
    pub fn stored(raw: Bytes, revision: u64) -> Result<Self, Error> {
        Self::index(raw, Some(revision))
    }

    /// An object from a client's view: the bytes carry their resource version.
    ///
    /// # Errors
    /// If the bytes are not an object's JSON.
    pub fn received(raw: Bytes) -> Result<Self, Error> {
        Self::index(raw, None)
    }

    fn index(raw: Bytes, revision: Option<u64>) -> Result<Self, Error> {
        if raw.len() > (u32::MAX / 2) as usize {
            return Err(Error::TooLarge(raw.len()));
        }
        // A second handle on the same allocation, to borrow from while the first moves into the object.
        let held = raw.clone();
        let (found, metadata) = match revision.and_then(|_| quick(&held)) {
            Some(quick) => quick,
            None => parsed(&held)?,
        };
        let mut spans = Spans { raw: &held, side: String::new() };
        let mut span =
            |text: &Option<Cow<'_, str>>| text.as_ref().map_or(Span::default(), |text| spans.of(text));
        let (namespace, name, uid) = (span(&metadata.namespace), span(&metadata.name), span(&metadata.uid));
        let labels: SmallVec<_> = metadata
            .labels
            .iter()
            .flat_map(|pairs| &pairs.0)
            .map(|(k, v)| (spans.of(&k.0), spans.of(&v.0)))
            .collect();
        let owners = metadata.owner_references.iter().flatten();
        let owners: SmallVec<_> = owners
            .map(|owner| OwnerSpan {
                parts: [&owner.api_version, &owner.kind, &owner.name, &owner.uid].map(|part| spans.of(part)),
                controller: owner.controller.unwrap_or_default(),
                block: owner.block_owner_deletion.unwrap_or_default(),
            })
            .collect();
        let metadata_end = found.as_ref().and_then(|range| u32::try_from(range.end).ok()).unwrap_or_default();
        let splice = match (revision, found) {
            (Some(_), Some(range)) if held[range.start] == b'{' => u32::try_from(range.start + 1).ok(),
            _ => None,
        };
        let own = metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
        let side = std::mem::take(&mut spans.side).into_boxed_str();
        Ok(Self {
            revision: revision.or(own).unwrap_or_default(),
            splice,
            metadata_end,
            side,
            namespace,
            name,
            uid,
            generation: metadata.generation.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: u16::try_from(metadata.finalizers.map_or(0, |list| list.len())).unwrap_or(u16::MAX),
            labels,
            owners,
            raw,
        })
    }

    fn text(&self, span: Span) -> &str {
        let (start, end) = (span.start as usize, span.end as usize);
        let bytes = match start.checked_sub(self.raw.len()) {
            Some(side) => self.side.as_bytes().get(side..end - self.raw.len()),
            None => self.raw.get(start..end),
        };
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Namespace; empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.text(self.namespace)
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.text(self.name)
    }

    /// Namespace and name.
    pub fn key(&self) -> crate::ObjectKey {
        crate::ObjectKey::new(self.namespace(), self.name())
    }

    /// UID.
    pub fn uid(&self) -> &str {
        self.text(self.uid)
    }

    /// The revision of the commit that wrote this object: its resource version.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same bytes at another revision: a deleted object bears that of its deletion.
    #[must_use]
    pub fn at(&self, revision: u64) -> Self {
        Self { revision, ..self.clone() }
    }

    /// `metadata.generation`; 0 if absent.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Whether a deletion timestamp is set.
    pub fn deleting(&self) -> bool {
        self.deleting
    }

    /// How many finalizers there are.
    pub fn finalizers(&self) -> usize {
        usize::from(self.finalizers)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| self.text(*k) == key).map(|(_, v)| self.text(*v))
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(k, v)| (self.text(*k), self.text(*v)))
    }

    /// Whether a selector selects this object.
    pub fn selected(&self, selector: &LabelSelector) -> bool {
        selector.matches(|key| self.label(key))
    }

    /// The string at a path of members, read out of the bytes without decoding what stands before it.
    pub fn text_at(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        self.find(path)?.text()
    }

    /// The JSON at a path of members, found without decoding what stands before it.
    pub fn value_at(&self, path: &[&str]) -> Option<&[u8]> {
        self.find(path)?.value()
    }

    /// What stands at a path of members, of which nothing else is decoded; the default of its type if it is absent or
    /// null.
    ///
    /// # Errors
    /// If it does not fit the type.
    pub fn decode_at<'a, T: Default + Deserialize<'a>>(&'a self, path: &[&str]) -> Result<T, Error> {
        let Some(value) = self.value_at(path) else { return Ok(T::default()) };
        Ok(serde_json::from_slice::<Option<T>>(value)?.unwrap_or_default())
    }

    fn find(&self, path: &[&str]) -> Option<Scanner<'_>> {
        let mut scanner = Scanner::new(&self.raw);
        if path.is_empty() || !scanner.take(b'{') {
            return None;
        }
        // What comes behind the metadata is found without going through it, which is often the larger part. Only of
        // what was encoded here the order is known.
        if self.splice.is_some() && self.metadata_end > 0 && path[0] > "metadata" {
            scanner.pass(self.metadata_end());
        }
        scanner.find(path)?;
        Some(scanner)
    }

    /// Where the metadata ends in the bytes; 0 if there is none.
    pub fn metadata_end(&self) -> usize {
        self.metadata_end as usize
    }

    /// All owner references.
    pub fn owners(&self) -> impl Iterator<Item = Owner<'_>> {
        self.owners.iter().map(|owner| {
            let [api_version, kind, name, uid] = owner.parts.map(|part| self.text(part));
            Owner {
                api_version,
                kind,
                name,
                uid,
                controller: owner.controller,
                block_owner_deletion: owner.block,
            }
        })
    }

    /// The owner that manages this object.
    pub fn controller(&self) -> Option<Owner<'_>> {
        self.owners().find(|owner| owner.controller)
    }

    /// The bytes as stored or received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Length of what `write` appends, at most.
    pub fn written_len(&self) -> usize {
        self.raw.len() + 44
    }

    /// Appends the object's JSON with its resource version.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Some(splice) = self.splice else {
            out.extend_from_slice(&self.raw);
            return;
        };
        let (head, tail) = self.raw.split_at(splice as usize);
        out.extend_from_slice(head);
        out.extend_from_slice(b"\"resourceVersion\":\"");
        encode::integer(out, self.revision);
        let empty = tail.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
        out.extend_from_slice(if empty { b"\"" } else { b"\"," });
        out.extend_from_slice(tail);
    }

    /// The object's JSON with its resource version.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.written_len());
        self.write(&mut out);
        out
    }

    /// Decodes the whole object into a tree, with its resource version.
    ///
    /// # Errors
    /// If the bytes are not JSON.
    pub fn to_value(&self) -> Result<Value, Error> {
        let mut value: Value = serde_json::from_slice(&self.raw)?;
        if self.splice.is_some() {
            value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        }
        Ok(value)
    }

    /// Decodes a stored object into a tree for the way of a write: its `metadata.managedFields`, often the larger
    /// part of it, which few writes look into, is one string there, the JSON of the list. See [`unfold`].
    ///
    /// # Errors
    /// If the bytes are not JSON.
    pub fn to_tree(&self) -> Result<Value, Error> {
        let Some(range) = self.splice.and_then(|start| managed_fields(&self.raw, start as usize - 1)) else {
            return self.to_value();
        };
        let mut rest = Vec::with_capacity(self.raw.len() - range.len() + 4);
        rest.extend_from_slice(&self.raw[..range.start]);
        rest.extend_from_slice(b"null");
        rest.extend_from_slice(&self.raw[range.end..]);
        let mut value: Value = serde_json::from_slice(&rest)?;
        let text = String::from_utf8_lossy(&self.raw[range]).into_owned();
        let metadata = &mut value["metadata"];
        metadata["managedFields"] = Value::String(text);
        metadata["resourceVersion"] = self.revision.to_string().into();
        Ok(value)
    }

    /// Decodes into any type that reads JSON.
    ///
    /// # Errors
    /// If the bytes do not fit the type.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        if self.splice.is_none() {
            return Ok(serde_json::from_slice(&self.raw)?);
        }
        Ok(serde_json::from_slice(&self.to_json())?)
    }
}

/// Where `managedFields` is in the metadata that begins at `start`.
fn managed_fields(raw: &[u8], start: usize) -> Option<Range<usize>> {
    let mut scanner = Scanner::new(raw.get(start..)?);
    if !scanner.take(b'{') {
        return None;
    }
    while let Some(key) = scanner.key()? {
        let value = scanner.position();
        scanner.skip()?;
        if &raw[start + key.range.start..start + key.range.end] == b"managedFields" {
            return Some(start + value..start + scanner.passed());
        }
    }
    None
}

/// Makes `metadata.managedFields` of a tree a list again, if it is a text: before it is shown to anybody.
pub fn unfold(value: &mut Value) {
    if let Some(managed) = value.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields"))
        && let Value::String(text) = managed
    {
        *managed = serde_json::from_str(text).unwrap_or_default();
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.raw == other.raw
    }
}
