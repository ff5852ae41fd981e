//! Lists, written item by item in every encoding.
//!
//! Invariant: what stands before the items, the items and what stands behind them are written apart, so no list is
//! ever a tree as a whole.

use super::{Renderer, write_value};
use crate::negotiate::{Media, Shape};
use crate::yaml;
use gifee_base::Object;
use gifee_schema::protobuf::envelope::{self, ListMeta};
use serde_json::{Map, Value, json};
use std::io::Write;

impl Renderer {
    /// `apiVersion` and `kind` of a list.
    fn list_identity(&self) -> (&str, &str) {
        match self.shape {
            Shape::Object => (self.resource.api_version.as_str(), &*self.resource.kind.list_kind),
            Shape::Metadata(_) => (self.shape.api_version(), "PartialObjectMetadataList"),
            Shape::Table(_) => (self.shape.api_version(), "Table"),
        }
    }

    /// A list up to where its items go. `items_len` counts for protobuf alone: the bytes of all items.
    pub fn open_list(&self, meta: &ListMeta, items_len: usize, out: &mut Vec<u8>) {
        let (api_version, kind) = self.list_identity();
        let table = matches!(self.shape, Shape::Table(_));
        match (self.media, self.pretty) {
            (Media::Protobuf, _) => envelope::open_list(out, api_version, kind, meta, items_len),
            (Media::Json, false) => {
                let _ = write!(out, r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":"#);
                write_value(out, &metadata(meta));
                if table {
                    out.extend_from_slice(b",\"columnDefinitions\":");
                    write_value(out, &self.columns());
                }
                out.extend_from_slice(if table { b",\"rows\":[" } else { b",\"items\":[" });
            }
            (Media::Json, true) => {
                let _ = write!(
                    out,
                    "{{\n  \"kind\": \"{kind}\",\n  \"apiVersion\": \"{api_version}\",\n  \"metadata\": "
                );
                indented(out, &metadata(meta), "  ");
                if table {
                    out.extend_from_slice(b",\n  \"columnDefinitions\": ");
                    indented(out, &self.columns(), "  ");
                }
                out.extend_from_slice(if table { b",\n  \"rows\": [" } else { b",\n  \"items\": [" });
            }
            (Media::Yaml, _) => {
                let head = if table {
                    json!({ "apiVersion": api_version, "columnDefinitions": self.columns(), "kind": kind,
                        "metadata": metadata(meta) })
                } else {
                    json!({ "apiVersion": api_version })
                };
                out.extend_from_slice(yaml::write(&head).as_bytes());
                out.extend_from_slice(if table { b"rows:" } else { b"items:" });
            }
        }
    }

    /// An item; `first` says whether it is the first one.
    pub fn item(&self, object: &Object, first: bool, out: &mut Vec<u8>) {
        match (self.media, self.pretty) {
            (Media::Protobuf, _) => envelope::item(out, |out| self.message(object, out)),
            (Media::Json, false) => {
                if !first {
                    out.push(b',');
                }
                self.json(object, out);
            }
            (Media::Json, true) => {
                out.extend_from_slice(if first { b"\n    " } else { b",\n    " });
                indented(out, &self.item_tree(object), "    ");
            }
            (Media::Yaml, _) => {
                if first {
                    out.push(b'\n');
                }
                out.extend_from_slice(yaml::write(&Value::Array(vec![self.item_tree(object)])).as_bytes());
            }
        }
    }

    fn item_tree(&self, object: &Object) -> Value {
        let mut json = Vec::with_capacity(object.written_len());
        self.json(object, &mut json);
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// The end of a list; `empty` says whether it had no items.
    pub fn close_list(&self, meta: &ListMeta, empty: bool, out: &mut Vec<u8>) {
        match (self.media, self.pretty) {
            (Media::Protobuf, _) => envelope::end(out),
            (Media::Json, false) => out.extend_from_slice(b"]}\n"),
            (Media::Json, true) => out.extend_from_slice(if empty { b"]\n}" } else { b"\n  ]\n}" }),
            (Media::Yaml, _) => {
                if empty {
                    out.extend_from_slice(b" []\n");
                }
                if !matches!(self.shape, Shape::Table(_)) {
                    let (_, kind) = self.list_identity();
                    let tail = json!({ "kind": kind, "metadata": metadata(meta) });
                    out.extend_from_slice(yaml::write(&tail).as_bytes());
                }
            }
        }
    }

    /// A whole list in memory, for what is small.
    pub fn whole_list<'a>(&self, meta: &ListMeta, objects: impl Iterator<Item = &'a Object>) -> Vec<u8> {
        let (mut items, mut empty) = (Vec::new(), true);
        for object in objects {
            self.item(object, std::mem::take(&mut empty), &mut items);
        }
        let mut out = Vec::with_capacity(items.len() + 256);
        self.open_list(meta, items.len(), &mut out);
        out.extend_from_slice(&items);
        self.close_list(meta, empty, &mut out);
        out
    }
}

fn metadata(meta: &ListMeta) -> Value {
    let mut map = Map::new();
    if !meta.resource_version.is_empty() {
        map.insert("resourceVersion".into(), meta.resource_version.as_str().into());
    }
    if !meta.continuation.is_empty() {
        map.insert("continue".into(), meta.continuation.as_str().into());
    }
    if let Some(remaining) = meta.remaining {
        map.insert("remainingItemCount".into(), remaining.into());
    }
    Value::Object(map)
}

/// A tree as a person reads it; every line but the first behind `indent`. Strings hold no raw line feeds.
fn indented(out: &mut Vec<u8>, value: &Value, indent: &str) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push(b'\n');
            out.extend_from_slice(indent.as_bytes());
        }
        out.extend_from_slice(line.as_bytes());
    }
}
