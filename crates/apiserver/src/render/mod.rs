//! Objects as the client asked to see them: as stored, as this version's kind, as metadata, as rows of a table;
//! in JSON, YAML or protobuf.
//!
//! Invariant: what is wanted as it is stored is never decoded; metadata alone is cut out of the bytes. Answers
//! to apiserver's `transformResponseObject`, table convertors and serializers.

mod frame;
mod list;

pub use frame::failure_frame;

use crate::cache::{Form, Snapshot};
use crate::info::Query;
use crate::kinds::Resource;
use crate::negotiate::{Accept, Media, Shape};
use crate::yaml;
use gifee_base::{Object, Status};
use gifee_schema::Schema;
use gifee_schema::protobuf::{self, envelope};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::Arc;

/// Bytes that the place where JSON stands before it becomes a message keeps for the next one.
const SCRATCH_MAXIMUM: usize = 256 << 10;

/// What stands in a table's row besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Include {
    None,
    Metadata,
    Object,
}

/// Writes objects of a resource in one form.
#[derive(Clone)]
pub struct Renderer {
    resource: Arc<Resource>,
    media: Media,
    pretty: bool,
    shape: Shape,
    include: Include,
    /// The schema of the messages, if protobuf is wanted.
    wire: Option<Schema>,
    now: i64,
}

#[derive(Deserialize)]
struct Skim<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Renderer {
    /// For the negotiated shape; `now` in Unix seconds, for ages.
    ///
    /// # Errors
    /// If `includeObject` is none of its values.
    pub fn new(resource: &Arc<Resource>, accept: &Accept, query: &Query, now: i64) -> Result<Self, Status> {
        let include = match query.get("includeObject") {
            _ if !matches!(accept.shape, Shape::Table(_)) => Include::Metadata,
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}")));
            }
        };
        let wire = match (accept.media, accept.shape) {
            (Media::Protobuf, Shape::Object) => resource.schema.clone(),
            (Media::Protobuf, _) => Schema::builtin("meta.k8s.io", "v1", "PartialObjectMetadata"),
            _ => None,
        };
        let Accept { media, pretty, shape, .. } = *accept;
        Ok(Self { resource: resource.clone(), media, pretty, shape, include, wire, now })
    }

    /// Whether objects are wanted as they are stored.
    pub fn is_plain(&self) -> bool {
        self.shape == Shape::Object && self.media == Media::Json && self.resource.kind.conversion.is_none()
    }

    /// The content type of what it writes.
    pub fn content_type(&self) -> &'static str {
        self.media.content_type()
    }

    /// Whether a list says its length before its items.
    pub fn measures(&self) -> bool {
        self.media == Media::Protobuf
    }

    /// What watch frames in this form are shared under.
    pub fn form(&self) -> Form {
        let mut hasher = DefaultHasher::new();
        (self.media, self.shape, self.include, &self.resource.kind.gvk).hash(&mut hasher);
        hasher.finish()
    }

    /// The tree of an object in this version's kind.
    pub fn tree(&self, object: &Object) -> Value {
        present(&self.resource, object.to_value().unwrap_or_default())
    }

    /// The JSON of one object: of a table, a row.
    fn json(&self, object: &Object, out: &mut Vec<u8>) {
        match self.shape {
            Shape::Object if self.resource.kind.conversion.is_none() => object.write(out),
            Shape::Object => write_value(out, &self.tree(object)),
            Shape::Metadata(_) => self.metadata(object, out),
            Shape::Table(_) => self.row(object, out),
        }
    }

    /// The message of one object.
    fn message(&self, object: &Object, out: &mut Vec<u8>) {
        thread_local! {
            /// Where the JSON stands meanwhile.
            static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let Some(schema) = &self.wire else { return };
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            self.json(object, scratch);
            self.transcode(schema, scratch, out);
            if scratch.capacity() > SCRATCH_MAXIMUM {
                *scratch = Vec::new();
            }
        });
    }

    /// JSON as a message; by way of a tree if it cannot be followed directly.
    fn transcode(&self, schema: &Schema, json: &[u8], out: &mut Vec<u8>) {
        if protobuf::transcode(schema, json, out).is_none() {
            let tree: Value = serde_json::from_slice(json).unwrap_or_default();
            // The schema of a kind is a message's, or it would not be asked for.
            out.extend(protobuf::message(schema, &tree).unwrap_or_default());
        }
    }

    /// `apiVersion` and `kind` of one object.
    fn identity(&self) -> (&str, &str) {
        match self.shape {
            Shape::Object => (&self.resource.api_version, &self.resource.kind.gvk.kind),
            Shape::Table(_) => (self.shape.api_version(), "Table"),
            Shape::Metadata(_) => (self.shape.api_version(), "PartialObjectMetadata"),
        }
    }

    /// A whole response body of one object: of a table, a table of one row.
    pub fn single(&self, object: &Object, out: &mut Vec<u8>) {
        if self.media == Media::Json && !self.pretty {
            return self.event(object, true, out);
        }
        if self.media == Media::Protobuf {
            return self.enveloped(object, out);
        }
        let mut json = Vec::with_capacity(object.written_len());
        self.event(object, true, &mut json);
        let tree: Value = serde_json::from_slice(&json).unwrap_or_default();
        if self.media == Media::Yaml {
            out.extend_from_slice(yaml::write(&tree).as_bytes());
        } else {
            let _ = serde_json::to_writer_pretty(out, &tree);
        }
    }

    /// An object in its envelope.
    fn enveloped(&self, object: &Object, out: &mut Vec<u8>) {
        let (api_version, kind) = self.identity();
        envelope::object(out, api_version, kind, |out| self.message(object, out));
    }

    /// The JSON of one object by itself; `columns` says whether a table has its column definitions with it.
    fn event(&self, object: &Object, columns: bool, out: &mut Vec<u8>) {
        if !matches!(self.shape, Shape::Table(_)) {
            return self.json(object, out);
        }
        let _ = write!(
            out,
            r#"{{"kind":"Table","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},"columnDefinitions":"#,
            self.shape.api_version(),
            object.revision()
        );
        write_value(out, &if columns { self.columns() } else { Value::Null });
        out.extend_from_slice(b",\"rows\":[");
        self.row(object, out);
        out.extend_from_slice(b"]}");
    }

    fn metadata(&self, object: &Object, out: &mut Vec<u8>) {
        let api_version = match self.shape.api_version() {
            "" => "meta.k8s.io/v1",
            own => own,
        };
        let skim: Skim<'_> = serde_json::from_slice(object.raw()).unwrap_or(Skim { metadata: None });
        let text = skim.metadata.map_or("{}", RawValue::get);
        let rest = text.strip_prefix('{').unwrap_or("}");
        let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
        let _ = write!(
            out,
            r#"{{"kind":"PartialObjectMetadata","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{}"{comma}{rest}}}"#,
            object.revision()
        );
    }

    fn row(&self, object: &Object, out: &mut Vec<u8>) {
        let stored = object.to_value().unwrap_or_default();
        out.extend_from_slice(b"{\"cells\":");
        write_value(out, &Value::Array((self.resource.kind.table.row)(&stored, self.now)));
        match self.include {
            Include::None => {}
            Include::Metadata => {
                out.extend_from_slice(b",\"object\":");
                self.metadata(object, out);
            }
            Include::Object => {
                out.extend_from_slice(b",\"object\":");
                write_value(out, &present(&self.resource, stored));
            }
        }
        out.push(b'}');
    }

    fn columns(&self) -> Value {
        let columns = self.resource.kind.table.columns.iter().map(|column| {
            json!({
                "name": &*column.name, "type": column.kind, "format": column.format,
                "description": &*column.description, "priority": column.priority,
            })
        });
        columns.collect()
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    // Writing to memory does not fail, and every tree has a text.
    let _ = serde_json::to_writer(out, value);
}

/// A stored tree as this version's kind.
pub fn present(resource: &Resource, mut stored: Value) -> Value {
    if resource.kind.custom.is_some() && stored.is_object() {
        stored["apiVersion"] = resource.api_version.as_str().into();
    }
    let Some(conversion) = &resource.kind.conversion else { return stored };
    let mut value = (conversion.from_stored)(stored);
    if value.is_object() {
        value["apiVersion"] = resource.api_version.as_str().into();
        value["kind"] = (&*resource.kind.gvk.kind).into();
    }
    value
}

/// How many objects of a snapshot are under `prefix` behind `after`.
pub fn count_after(snapshot: &Snapshot, prefix: &[u8], after: &[u8]) -> usize {
    use std::ops::Bound;
    let range = (Bound::Excluded(after), Bound::Unbounded);
    let rest = snapshot.objects.range::<_, [u8]>(range);
    rest.take_while(|(key, _)| key.starts_with(prefix)).count()
}
