//! Objects as the client asked to see them: as stored, as this version's kind, as metadata, as rows of a table.
//!
//! Invariant: what is wanted as it is stored is never decoded; metadata alone is cut out of the bytes. Answers
//! to apiserver's `transformResponseObject` and table convertors.

use crate::cache::{Form, Snapshot};
use crate::info::Query;
use crate::kinds::Resource;
use crate::negotiate::{Accept, Shape};
use gifee_base::{Object, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::Arc;

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
    shape: Shape,
    include: Include,
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
        Ok(Self { resource: resource.clone(), shape: accept.shape, include, now })
    }

    /// Whether objects are wanted as they are stored.
    pub fn is_plain(&self) -> bool {
        self.shape == Shape::Object && self.resource.kind.conversion.is_none()
    }

    /// What watch frames in this form are shared under.
    pub fn form(&self) -> Form {
        let mut hasher = DefaultHasher::new();
        (self.shape, self.include, &self.resource.kind.gvk).hash(&mut hasher);
        hasher.finish()
    }

    /// The tree of an object in this version's kind.
    pub fn tree(&self, object: &Object) -> Value {
        present(&self.resource, object.to_value().unwrap_or_default())
    }

    /// One object: of a table, a row.
    pub fn write(&self, object: &Object, out: &mut Vec<u8>) {
        match self.shape {
            Shape::Object if self.resource.kind.conversion.is_none() => object.write(out),
            Shape::Object => write_value(out, &self.tree(object)),
            Shape::Metadata(_) => self.metadata(object, out),
            Shape::Table(_) => self.row(object, out),
        }
    }

    /// One object by itself: of a table, a table of one row.
    pub fn write_single(&self, object: &Object, out: &mut Vec<u8>) {
        if !matches!(self.shape, Shape::Table(_)) {
            return self.write(object, out);
        }
        self.open_list(out);
        let _ = write!(out, "\"resourceVersion\":\"{}\"", object.revision());
        self.open_items(out, true);
        self.row(object, out);
        self.close_list(out);
    }

    /// A watch event's object; `columns` says whether a table has its column definitions with it.
    pub fn write_event(&self, object: &Object, columns: bool, out: &mut Vec<u8>) {
        if !matches!(self.shape, Shape::Table(_)) {
            return self.write(object, out);
        }
        self.open_list(out);
        let _ = write!(out, "\"resourceVersion\":\"{}\"", object.revision());
        self.open_items(out, columns);
        self.row(object, out);
        self.close_list(out);
    }

    /// A bookmark's object; `initial` marks the end of the initial events.
    pub fn write_bookmark(&self, revision: u64, initial: bool, out: &mut Vec<u8>) {
        let annotations = if initial { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
        if matches!(self.shape, Shape::Table(_)) {
            self.open_list(out);
            let _ = write!(out, "\"resourceVersion\":\"{revision}\"");
            self.open_items(out, false);
            self.close_list(out);
            return;
        }
        let (api_version, kind) = match self.shape {
            Shape::Object => (self.resource.api_version.as_str(), &*self.resource.kind.gvk.kind),
            other => (other.api_version(), "PartialObjectMetadata"),
        };
        let _ = write!(
            out,
            r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{revision}","creationTimestamp":null{annotations}}}}}"#
        );
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

    /// A list up to where its metadata's fields go.
    pub fn open_list(&self, out: &mut Vec<u8>) {
        let (kind, api_version) = match self.shape {
            Shape::Object => (&*self.resource.kind.list_kind, self.resource.api_version.as_str()),
            Shape::Metadata(_) => ("PartialObjectMetadataList", self.shape.api_version()),
            Shape::Table(_) => ("Table", self.shape.api_version()),
        };
        let _ = write!(out, r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"#);
    }

    /// From behind its metadata's fields to where its items go.
    pub fn open_items(&self, out: &mut Vec<u8>, columns: bool) {
        out.push(b'}');
        if let Shape::Table(_) = self.shape {
            out.extend_from_slice(b",\"columnDefinitions\":");
            write_value(out, &if columns { self.columns() } else { Value::Null });
            out.extend_from_slice(b",\"rows\":[");
        } else {
            out.extend_from_slice(b",\"items\":[");
        }
    }

    /// The end of a list.
    pub fn close_list(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}");
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
pub fn present(resource: &Resource, stored: Value) -> Value {
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
