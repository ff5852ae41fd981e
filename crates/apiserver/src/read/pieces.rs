//! Lists on their way out: written in pieces, as fast as the client takes them.
//!
//! Invariant: a list never stands in memory as a whole, unless it is small or the client wants it paged. One in
//! protobuf says its length first, so it is measured before; what was written then is kept up to a limit, and
//! written again beyond.

use super::list::Page;
use crate::body::Body;
use crate::cache::Filter;
use crate::documents::gzip;
use crate::render::Renderer;
use crate::request::Request;
use crate::respond;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use std::convert::Infallible;
use std::io::Write;
use std::ops::Bound;
use std::sync::Arc;

/// Bytes of a list that are made at once.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a measured list that are kept until they go out.
const KEPT_BYTES: usize = 4 << 20;

/// The rest of a list.
#[derive(Clone)]
pub struct Pieces {
    page: Page,
    filter: Arc<Filter>,
    renderer: Renderer,
    first: bool,
    done: bool,
}

/// The answer of a list.
pub async fn respond(request: &Request<'_>, mut pieces: Pieces) -> Response<Body> {
    let content_type = pieces.renderer.content_type();
    let (mut head, mut items_len) = (Vec::new(), 0);
    let kept = if pieces.renderer.measures() {
        let (rest, kept, length) = measure(pieces).await;
        pieces = rest;
        items_len = length;
        kept
    } else {
        Vec::new()
    };
    pieces.renderer.open_list(&pieces.page.meta, items_len, &mut head);
    head.extend_from_slice(&kept);
    drop(kept);
    // Only a list that ends in its first piece has a known length.
    pieces.fill(&mut head, request.server.config.limits.compress_from_bytes);
    if pieces.done {
        return respond::sized(request, 200, content_type, head);
    }
    if gzip(request.headers) {
        compressed(content_type, head, pieces)
    } else {
        plain(content_type, head, pieces)
    }
}

/// The bytes of all items, as many of them as may be kept, and what comes behind these.
async fn measure(mut pieces: Pieces) -> (Pieces, Vec<u8>, usize) {
    let (mut kept, mut length, mut piece) = (Vec::new(), 0, Vec::new());
    let mut rest: Option<Pieces> = None;
    loop {
        let before = rest.is_none().then(|| pieces.clone());
        piece.clear();
        let more = pieces.items(&mut piece, PIECE_BYTES);
        length += piece.len();
        match before {
            Some(_) if kept.len() + piece.len() <= KEPT_BYTES => kept.extend_from_slice(&piece),
            Some(before) => rest = Some(before),
            None => {}
        }
        if !more {
            return (rest.unwrap_or(pieces), kept, length);
        }
        // Others have their turn while a long list is measured.
        tokio::task::yield_now().await;
    }
}

impl Pieces {
    /// All of a page.
    pub fn new(page: Page, filter: Arc<Filter>, renderer: Renderer) -> Self {
        Self { page, filter, renderer, first: true, done: false }
    }

    /// Appends items until `out` has about `until` bytes; whether more may follow.
    fn items(&mut self, out: &mut Vec<u8>, until: usize) -> bool {
        if out.len() >= until {
            return true;
        }
        if let Some((limited, done)) = &mut self.page.limited {
            while let Some(entry) = limited.get(*done) {
                *done += 1;
                self.renderer.item(&entry.object, std::mem::take(&mut self.first), out);
                if out.len() >= until {
                    return true;
                }
            }
            return false;
        }
        let range = (self.page.next.as_ref().map(Vec::as_slice), Bound::Unbounded);
        let all = self.filter.is_everything();
        let mut last = None;
        for (key, entry) in self.page.snapshot.objects.range::<_, [u8]>(range) {
            if !key.starts_with(&self.page.prefix) {
                break;
            }
            if !all && !self.filter.matches(entry) {
                continue;
            }
            self.renderer.item(&entry.object, std::mem::take(&mut self.first), out);
            if out.len() >= until {
                self.page.next = Bound::Excluded(key.to_vec());
                return true;
            }
            last = Some(key);
        }
        if let Some(last) = last {
            self.page.next = Bound::Excluded(last.to_vec());
        }
        false
    }

    /// Appends what follows until `out` has about `until` bytes, or to the end of the list.
    fn fill(&mut self, out: &mut Vec<u8>, until: usize) {
        if !self.items(out, until) {
            self.renderer.close_list(&self.page.meta, self.first, out);
            self.done = true;
        }
    }
}

fn plain(content_type: &'static str, head: Vec<u8>, pieces: Pieces) -> Response<Body> {
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
    respond::bytes(200, content_type, Body::stream(stream))
}

fn compressed(content_type: &'static str, head: Vec<u8>, pieces: Pieces) -> Response<Body> {
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
    let mut response = respond::bytes(200, content_type, Body::stream(stream));
    respond::compressed(response.headers_mut());
    response
}
