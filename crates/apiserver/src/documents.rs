//! Documents made from the index of kinds: discovery and OpenAPI. Made when first asked for, kept compressed
//! until the index changes.
//!
//! Invariant: at most one document per path and form is kept, and paths are those of served groups and versions.

use crate::body::Body;
use crate::kinds::Kinds;
use crate::respond;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gifee_base::Status;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read, Write};

/// A document.
#[derive(Clone)]
pub struct Document {
    content_type: &'static str,
    compressed: Bytes,
    /// Hash of the content, in hexadecimal.
    pub hash: String,
}

/// How long clients may keep a document without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// They ask whether it is still the same.
    Revalidate,
    /// For ever: its address names its content.
    Immutable,
}

/// Cached documents.
#[derive(Default)]
pub struct Documents {
    kept: Mutex<((u64, u64), HashMap<String, Document>)>,
}

impl Document {
    fn new(content_type: &'static str, content: &[u8]) -> Self {
        // The type counts, too: caches keep it with the content.
        let digest = Sha256::new().chain_update(content_type).chain_update(content).finalize();
        let hash = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _ = encoder.write_all(content);
        let compressed = encoder.finish().unwrap_or_default().into();
        Self { content_type, compressed, hash }
    }

    fn content(&self) -> Result<Vec<u8>, Status> {
        let mut content = Vec::new();
        GzDecoder::new(&self.compressed[..]).read_to_end(&mut content).map_err(Status::internal)?;
        Ok(content)
    }

    /// The answer to a request with these headers.
    ///
    /// # Errors
    /// Only if memory is corrupt.
    pub fn respond(&self, headers: &HeaderMap, caching: Caching) -> Result<Response<Body>, Status> {
        let etag = format!("\"{}\"", self.hash);
        let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let mut response = if known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag)) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else if gzip(headers) {
            let mut response = respond::bytes(200, self.content_type, self.compressed.clone());
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        } else {
            respond::bytes(200, self.content_type, self.content()?)
        };
        let headers = response.headers_mut();
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(ETAG, etag);
        }
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        let caching = match caching {
            Caching::Revalidate => "public",
            Caching::Immutable => "public, immutable",
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        Ok(response)
    }
}

/// Whether a client reads gzip.
pub fn gzip(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.split(',').any(|one| one.trim().split(';').next() == Some("gzip"))
}

impl Documents {
    /// The document of a name, made by `make` if it is not there; `others` counts the changes of what is aggregated.
    pub fn get(
        &self,
        kinds: &Kinds,
        others: u64,
        name: &str,
        content_type: &'static str,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Document {
        let generation = (kinds.generation, others);
        {
            let mut kept = self.kept.lock();
            if kept.0 != generation {
                *kept = (generation, HashMap::new());
            } else if let Some(document) = kept.1.get(name) {
                return document.clone();
            }
        }
        // Made without the lock: twice in the worst case, but nobody waits.
        let document = Document::new(content_type, &make());
        let mut kept = self.kept.lock();
        if kept.0 == generation {
            kept.1.insert(name.to_owned(), document.clone());
        }
        document
    }
}
