//! Many objects: copied out of an immutable snapshot, in pieces, as fast as the client takes them.
//!
//! Invariant: a list never stands in memory as a whole, unless it is small or the client wants it paged.

use super::continuation::{Continuation, expired};
use super::options::{At, filter, list_at};
use crate::body::Body;
use crate::cache::{Cache, Entry, Filter, Snapshot, TooOld};
use crate::documents::gzip;
use crate::kinds::Resource;
use crate::lookup::cache_key;
use crate::negotiate::{Media, Offer, accept};
use crate::render::{Renderer, count_after};
use crate::request::Request;
use crate::respond;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use gifee_base::Status;
use http::Response;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use std::convert::Infallible;
use std::io::Write;
use std::ops::Bound;
use std::sync::Arc;

/// Bytes of a list that are made at once.
const PIECE_BYTES: usize = 64 << 10;

/// Answers a list.
pub async fn list(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = accept(request.headers, request.query, Offer::Shapes)?;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let filter = filter(request, resource)?;
    let limit = limit(request)?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, &accept, request.query, now)?;
    let page = page(request, cache, &filter, limit).await?;
    let mut out = Vec::new();
    renderer.open_list(&mut out);
    page.write_metadata(&mut out);
    renderer.open_items(&mut out, true);
    let mut pieces = Pieces { page, filter, renderer, first: true, done: false };
    let limits = &request.server.config.limits;
    // Only a list that ends in its first piece has a known length.
    pieces.fill(&mut out, limits.compress_from_bytes);
    if accept.media != Media::Json || accept.pretty {
        while !pieces.done {
            pieces.fill(&mut out, usize::MAX);
        }
        return Ok(super::get::respond_json(&accept, 200, out));
    }
    if pieces.done {
        return Ok(respond::bytes(200, "application/json", out));
    }
    let compressible = !request.local && gzip(request.headers);
    Ok(if compressible { compressed(out, pieces) } else { plain(out, pieces) })
}

fn limit(request: &Request<'_>) -> Result<usize, Status> {
    let Some(text) = request.query.get("limit") else { return Ok(0) };
    let limit: i64 = text
        .parse()
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
    Ok(usize::try_from(limit).unwrap_or(0))
}

/// What a list shows.
struct Page {
    snapshot: Arc<Snapshot>,
    revision: u64,
    prefix: Vec<u8>,
    /// Where it goes on: from this key, or behind it.
    next: Bound<Vec<u8>>,
    /// The objects of a limited list.
    limited: Option<std::vec::IntoIter<Arc<Entry>>>,
    continuation: String,
    remaining: Option<usize>,
}

impl Page {
    fn write_metadata(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "\"resourceVersion\":\"{}\"", self.revision);
        if !self.continuation.is_empty() {
            let _ = write!(out, ",\"continue\":\"{}\"", self.continuation);
        }
        if let Some(remaining) = self.remaining {
            let _ = write!(out, ",\"remainingItemCount\":{remaining}");
        }
    }
}

/// The state that a list is of, and its revision.
async fn state(request: &Request<'_>, cache: &Arc<Cache>, at: At) -> Result<(Arc<Snapshot>, u64), Status> {
    let caches = &request.server.caches;
    let reached = match at {
        At::Newest => caches.fresh().await?,
        At::Any => caches.progress(),
        At::NotOlderThan(revision) if revision <= caches.progress() => caches.progress(),
        At::NotOlderThan(revision) => caches.reach(revision).await?,
        At::Exact(revision) => {
            if revision > caches.progress() {
                caches.reach(revision).await?;
            }
            let snapshot = cache.snapshot_at(revision).map_err(|too_old| gone(revision, too_old))?;
            return Ok((snapshot, revision));
        }
    };
    // Everything up to `reached` was in the cache before the snapshot was taken.
    let snapshot = cache.snapshot();
    let revision = reached.max(snapshot.revision);
    Ok((snapshot, revision))
}

fn gone(revision: u64, too_old: TooOld) -> Status {
    Status::expired(format!("too old resource version: {revision} ({})", too_old.oldest))
}

async fn page(
    request: &Request<'_>,
    cache: &Arc<Cache>,
    filter: &Filter,
    limit: usize,
) -> Result<Page, Status> {
    let at = list_at(request.query, limit > 0)?;
    let prefix = if filter.namespaced() && !filter.namespace().is_empty() {
        cache_key(filter.namespace(), "")
    } else {
        Vec::new()
    };
    let (mut next, mut at) = (Bound::Included(prefix.clone()), at);
    if let Some(token) = request.query.get("continue") {
        if !matches!(at, At::Newest | At::Any) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Continuation::decode(token)?;
        let mut start = prefix.clone();
        start.extend_from_slice(token.start.as_bytes());
        next = Bound::Included(start);
        at = token.revision.map_or(At::Newest, At::Exact);
        if let At::Exact(revision) = at
            && revision <= request.server.caches.progress()
            && cache.snapshot_at(revision).is_err()
        {
            return Err(expired(&token.start));
        }
    }
    let (snapshot, revision) = state(request, cache, at).await?;
    let mut page = Page {
        snapshot,
        revision,
        prefix,
        next,
        limited: None,
        continuation: String::new(),
        remaining: None,
    };
    if let (Some(name), true) = (filter.pinned_name(), !filter.namespaced() || !filter.namespace().is_empty())
    {
        let found = page.snapshot.objects.get(&cache_key(filter.namespace(), name)[..]);
        let found: Vec<_> = found.filter(|entry| filter.matches(entry)).cloned().into_iter().collect();
        page.limited = Some(found.into_iter());
    } else if limit > 0 {
        cut(cache, filter, limit, &mut page);
    }
    Ok(page)
}

/// Takes the first `limit` objects, and says where the rest is.
fn cut(cache: &Cache, filter: &Filter, limit: usize, page: &mut Page) {
    let mut taken: Vec<Arc<Entry>> = Vec::new();
    let mut last: &[u8] = &[];
    let mut rest = None;
    let range = (page.next.as_ref().map(Vec::as_slice), Bound::Unbounded);
    for (key, entry) in page.snapshot.objects.range::<_, [u8]>(range) {
        if !key.starts_with(&page.prefix) {
            break;
        }
        if !filter.matches(entry) {
            continue;
        }
        if taken.len() == limit {
            rest = Some(key);
            break;
        }
        taken.push(entry.clone());
        last = key;
    }
    if rest.is_some() {
        let mut start = String::from_utf8_lossy(&last[page.prefix.len()..]).into_owned();
        start.push('\0');
        page.continuation = Continuation { revision: Some(page.revision), start }.encode();
        if !filter.selects() {
            page.remaining = Some(count_after(&page.snapshot, &page.prefix, last));
        }
        cache.pin(&page.snapshot, page.revision);
    }
    page.limited = Some(taken.into_iter());
}

/// The rest of a list.
struct Pieces {
    page: Page,
    filter: Arc<Filter>,
    renderer: Renderer,
    first: bool,
    done: bool,
}

impl Pieces {
    /// Appends objects until `out` has about `until` bytes, or the end of the list.
    fn fill(&mut self, out: &mut Vec<u8>, until: usize) {
        if let Some(limited) = &mut self.page.limited {
            for entry in limited.by_ref() {
                separate(&mut self.first, out);
                self.renderer.write(&entry.object, out);
                if out.len() >= until {
                    return;
                }
            }
        } else {
            let range = (self.page.next.as_ref().map(Vec::as_slice), Bound::Unbounded);
            let all = self.filter.is_everything();
            for (key, entry) in self.page.snapshot.objects.range::<_, [u8]>(range) {
                if !key.starts_with(&self.page.prefix) {
                    break;
                }
                if !all && !self.filter.matches(entry) {
                    continue;
                }
                separate(&mut self.first, out);
                self.renderer.write(&entry.object, out);
                if out.len() >= until {
                    self.page.next = Bound::Excluded(key.to_vec());
                    return;
                }
            }
        }
        self.renderer.close_list(out);
        out.push(b'\n');
        self.done = true;
    }
}

fn separate(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn plain(head: Vec<u8>, pieces: Pieces) -> Response<Body> {
    let stream = futures_util::stream::unfold((Some(head), pieces), |(head, mut pieces)| async move {
        if let Some(head) = head {
            return Some((Ok::<_, Infallible>(Bytes::from(head)), (None, pieces)));
        }
        if pieces.done {
            return None;
        }
        let mut out = Vec::with_capacity(PIECE_BYTES + (8 << 10));
        pieces.fill(&mut out, PIECE_BYTES);
        Some((Ok(Bytes::from(out)), (None, pieces)))
    });
    respond::bytes(200, "application/json", Body::stream(stream))
}

fn compressed(head: Vec<u8>, pieces: Pieces) -> Response<Body> {
    let encoder = GzEncoder::new(Vec::with_capacity(PIECE_BYTES), Compression::fast());
    let stream = futures_util::stream::unfold(Some((head, pieces, encoder)), |state| async move {
        let (mut raw, mut pieces, mut encoder) = state?;
        if raw.is_empty() {
            pieces.fill(&mut raw, PIECE_BYTES);
        }
        // Writing to memory does not fail.
        let _ = encoder.write_all(&raw);
        raw.clear();
        if pieces.done {
            return Some((Ok::<_, Infallible>(Bytes::from(encoder.finish().unwrap_or_default())), None));
        }
        let ready = std::mem::take(encoder.get_mut());
        Some((Ok(Bytes::from(ready)), Some((raw, pieces, encoder))))
    });
    let mut response = respond::bytes(200, "application/json", Body::stream(stream));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
