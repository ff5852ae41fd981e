//! Watch events as frames: a line of JSON, or a length and a message.
//!
//! Answers to apiserver's `watchEncoder` and to the framers of the serializers.

use super::Renderer;
use crate::cache::write_frame;
use crate::negotiate::{Media, Shape};
use gifee_base::{Object, Status};
use gifee_schema::Schema;
use gifee_schema::protobuf::{self, envelope};
use serde_json::{Value, json};

impl Renderer {
    /// Appends the frame of an event; `columns` says whether a table has its column definitions with it.
    pub fn frame(&self, kind: &str, object: &Object, columns: bool, out: &mut Vec<u8>) {
        match self.media {
            Media::Protobuf => envelope::frame(out, kind, |out| self.enveloped(object, out)),
            _ => write_frame(out, kind, |out| self.event(object, columns, out)),
        }
    }

    /// Appends the frame of a bookmark; `initial` marks the end of the initial events.
    pub fn bookmark(&self, revision: u64, initial: bool, columns: bool, out: &mut Vec<u8>) {
        let tree = self.bookmark_tree(revision, initial, columns);
        let json = tree.to_string();
        match (&self.wire, self.media) {
            (Some(schema), Media::Protobuf) => {
                let (api_version, kind) = self.identity();
                envelope::frame(out, "BOOKMARK", |out| {
                    envelope::object(out, api_version, kind, |out| {
                        self.transcode(schema, json.as_bytes(), out)
                    });
                });
            }
            _ => write_frame(out, "BOOKMARK", |out| out.extend_from_slice(json.as_bytes())),
        }
    }

    fn bookmark_tree(&self, revision: u64, initial: bool, columns: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (api_version, kind) = self.identity();
        let Shape::Table(_) = self.shape else {
            return json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        };
        // A row of an object without a name: its metadata say what the bookmark has to say.
        let empty = json!({ "metadata": metadata });
        let cells = (self.resource.kind.table.row)(&empty, self.now);
        let object =
            json!({ "kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": metadata });
        json!({
            "kind": kind, "apiVersion": api_version, "metadata": { "resourceVersion": revision.to_string() },
            "columnDefinitions": if columns { self.columns() } else { Value::Null },
            "rows": [{ "cells": cells, "object": object }],
        })
    }
}

/// The frame of a failure, after which a watch ends.
pub fn failure_frame(media: Media, status: &Status) -> Vec<u8> {
    let tree = status.to_value();
    let mut out = Vec::new();
    let schema = Schema::builtin("meta.k8s.io", "v1", "Status");
    match (media, schema) {
        (Media::Protobuf, Some(schema)) => {
            envelope::frame(&mut out, "ERROR", |out| {
                out.extend(protobuf::encode(&schema, &tree).unwrap_or_default());
            });
        }
        _ => write_frame(&mut out, "ERROR", |out| {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(out, &tree);
        }),
    }
    out
}
