//! What stands around messages: the envelope of an object, lists whose items come one by one, watch frames.
//!
//! Invariant: an envelope names version and kind, and says its length first; so a list's items are measured before
//! the first one goes out. Answers to `runtime.Unknown`, the streaming of collections and the length-delimited framer.

use super::MAGIC;
use super::wire::{close, open, put_bytes, put_integer, put_tag, put_varint, varint_len};

/// Appends an object in its envelope; `message` appends its message.
pub fn object(out: &mut Vec<u8>, api_version: &str, kind: &str, message: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(MAGIC);
    identity(out, api_version, kind);
    let raw = open(out, 2);
    message(out);
    close(out, raw);
    end(out);
}

fn identity(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    let meta = open(out, 1);
    put_bytes(out, 1, api_version.as_bytes());
    put_bytes(out, 2, kind.as_bytes());
    close(out, meta);
}

/// The end of an envelope: no encoding, and the content type that goes without saying.
pub fn end(out: &mut Vec<u8>) {
    put_bytes(out, 3, b"");
    put_bytes(out, 4, b"");
}

/// The metadata of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// Resource version; empty if it has none.
    pub resource_version: String,
    /// Token of the next page, or empty.
    pub continuation: String,
    /// How many objects follow on later pages, if that is known.
    pub remaining: Option<u64>,
}

/// Appends a list up to where its items go, which are `items_len` bytes with their tags and lengths.
pub fn open_list(out: &mut Vec<u8>, api_version: &str, kind: &str, meta: &ListMeta, items_len: usize) {
    let mut head = Vec::new();
    let mark = open(&mut head, 1);
    // selfLink, which is always empty.
    put_bytes(&mut head, 1, b"");
    put_bytes(&mut head, 2, meta.resource_version.as_bytes());
    put_bytes(&mut head, 3, meta.continuation.as_bytes());
    if let Some(remaining) = meta.remaining {
        put_integer(&mut head, 4, remaining);
    }
    close(&mut head, mark);
    out.extend_from_slice(MAGIC);
    identity(out, api_version, kind);
    put_tag(out, 2, 2);
    put_varint(out, (head.len() + items_len) as u64);
    out.extend_from_slice(&head);
}

/// Appends an item of a list; `message` appends its message.
pub fn item(out: &mut Vec<u8>, message: impl FnOnce(&mut Vec<u8>)) {
    let mark = open(out, 2);
    message(out);
    close(out, mark);
}

/// Bytes of an item in a list, for a message of `length`.
pub fn item_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Appends the frame of a watch event; `object` appends the object in its envelope.
pub fn frame(out: &mut Vec<u8>, kind: &str, object: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_bytes(out, 1, kind.as_bytes());
    let extension = open(out, 2);
    let raw = open(out, 1);
    object(out);
    close(out, raw);
    close(out, extension);
    // An event is far below 4 GiB: objects are.
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
