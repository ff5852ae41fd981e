//! Watches: a state, then every change, for as long as the client listens.
//!
//! Invariant: every frame of an event is made once and shared; frames that are ready together go out together.

use super::objects::Events;
use super::options::{At, Start, filter, watch_start};
use super::socket;
use crate::body::Body;
use crate::cache::{
    Cache, Caches, Delivery, Entry, Filter, Next, Snapshot, Subscription, TooOld, Transition,
};
use crate::conversion::{self, Converter};
use crate::documents::gzip;
use crate::kinds::Resource;
use crate::lookup::cache_key;
use crate::metrics::scope;
use crate::negotiate::{Media, Offer, Shape};
use crate::outbound::Outbound;
use crate::render::{Renderer, failure_frame};
use crate::request::Request;
use crate::respond;
use crate::server::Server;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use gifee_base::Status;
use http::Response;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Bytes of frames that go out together at most.
const PIECE_BYTES: usize = 64 << 10;

/// How long before its end a watch gets its last bookmark; upstream's figure.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Answers a watch.
pub async fn watch(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Watch)?;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let filter = filter(request, resource)?;
    let start = watch_start(request.query)?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, &accept, request.query, now)?;
    let bookmarks = request.query.flag("allowWatchBookmarks");
    let timeout = timeout(request)?;
    let converts = resource.converter.is_some() && filter.selects_shown();
    let followed = if converts { Arc::new(filter.placed()) } else { filter.clone() };
    let frames = match open(request.server, cache, &followed, start, bookmarks).await? {
        Ok((mut initial, subscription)) => {
            let converting = Converting::begin(request, resource, filter, start.initial, &mut initial).await;
            let converting = converting.map_err(|why| conversion::unready(resource, &why))?;
            let form = renderer.form();
            let plain = renderer.is_plain();
            // Who wants metadata alone wants less work: nothing is less than what is there already.
            let shared = plain || matches!(accept.shape, Shape::Metadata(_));
            if shared && request.objects && resource.converter.is_none() {
                let marked = start.marked.then_some(initial.revision);
                let events = Events {
                    initial: start.initial.then_some(initial),
                    ready: VecDeque::new(),
                    marked,
                    subscription,
                    deadline: Box::pin(tokio::time::sleep(timeout)),
                    done: false,
                    _watching: request.server.metrics.requests.lasting(request.info, Some(resource)),
                };
                let mut response = respond::bytes(200, accept.media.stream_type(), Body::empty());
                events.hand_over(&mut response);
                return Ok(response);
            }
            Frames {
                marked: start.marked.then_some(initial.revision),
                initial: start.initial.then_some(initial),
                subscription,
                converting,
                media: accept.media,
                renderer,
                form,
                plain,
                columns: matches!(accept.shape, Shape::Table(_)),
                caches: request.server.caches.clone(),
                last_bookmark: last_bookmark(bookmarks, timeout),
                closing: None,
                deadline: Box::pin(tokio::time::sleep(timeout)),
                done: false,
                watched: request.server.metrics.watched(resource, scope(request.info)),
                _watching: request.server.metrics.requests.lasting(request.info, Some(resource)),
            }
        }
        Err(status) => return failed(request, accept.media, &status),
    };
    told(request, accept.media, frames)
}

/// The answer that a watch's frames are.
fn told(request: &Request<'_>, media: Media, frames: Frames) -> Result<Response<Body>, Status> {
    if socket::wanted(request.headers) {
        return socket::upgrade(request, socket::Shape::Events(media), frames);
    }
    // What begins with a list is long.
    if frames.marked.is_some() && gzip(request.headers) {
        let pieces = frames.map(|piece| piece.map(|piece| compressed(&piece)));
        let mut response = respond::bytes(200, media.stream_type(), Body::stream(pieces));
        let headers = response.headers_mut();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        return Ok(response);
    }
    Ok(respond::bytes(200, media.stream_type(), Body::stream(frames)))
}

/// A watch that ends as it begins.
fn failed(request: &Request<'_>, media: Media, status: &Status) -> Result<Response<Body>, Status> {
    let frame = failure_frame(media, status);
    if socket::wanted(request.headers) {
        let only = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(frame))]);
        return socket::upgrade(request, socket::Shape::Events(media), only);
    }
    Ok(respond::bytes(200, media.stream_type(), frame))
}

/// What goes out together, as a member of its own: a watch that waits holds no compressor. It is flushed before it
/// ends, since there are readers that keep back what comes with an end until the next member begins.
fn compressed(piece: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(piece).and_then(|()| encoder.flush());
    encoder.finish().unwrap_or_default().into()
}

fn timeout(request: &Request<'_>) -> Result<Duration, Status> {
    let minimum = request.server.config.limits.watch_minimum;
    let Some(text) = request.query.get("timeoutSeconds") else {
        // Spread, so that the watches of a restart do not all end at once.
        let random = u128::from_le_bytes(uuid::Uuid::new_v4().into_bytes()) % 1024;
        let part = u32::try_from(random).unwrap_or_default();
        return Ok(minimum + minimum * part / 1024);
    };
    match text.parse::<i64>() {
        Ok(0) => Ok(minimum),
        Ok(seconds) => Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(30 * 86_400))),
        Err(_) => Err(Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
    }
}

/// The bookmark shortly before the end of a watch that wants bookmarks, if it lasts long enough for one.
fn last_bookmark(bookmarks: bool, timeout: Duration) -> Option<Pin<Box<Sleep>>> {
    let due = timeout.checked_sub(LAST_BOOKMARK).filter(|due| bookmarks && !due.is_zero())?;
    Some(Box::pin(tokio::time::sleep(due)))
}

/// The state that a watch starts with, and what happens after it.
async fn open(
    server: &Server,
    cache: &Arc<Cache>,
    filter: &Arc<Filter>,
    start: Start,
    bookmarks: bool,
) -> Result<Result<(Initial, Subscription), Status>, Status> {
    let caches = &server.caches;
    let reached = match start.at {
        At::Newest => caches.fresh().await,
        At::NotOlderThan(revision) if revision > caches.progress() => caches.reach(revision).await,
        _ => Ok(caches.progress()),
    };
    // A watch that cannot begin says so as an event: its options were fine.
    let reached = match reached {
        Ok(reached) => reached,
        Err(status) => return Ok(Err(status)),
    };
    let snapshot = cache.snapshot();
    let revision = match start.at {
        At::Exact(revision) => revision,
        _ => reached.max(snapshot.revision),
    };
    Ok(match cache.subscribe(filter, revision, bookmarks) {
        Ok(subscription) => {
            let namespace = filter.namespace();
            let prefix = if namespace.is_empty() { Vec::new() } else { cache_key(namespace, "") };
            let prefix = Bytes::from(prefix);
            let next = Bound::Included(prefix.clone());
            Ok((Initial { snapshot, revision, prefix, next, filter: filter.clone() }, subscription))
        }
        Err(too_old) => {
            Err(Status::expired(format!("too old resource version: {revision} ({})", too_old.oldest)))
        }
    })
}

/// The objects that were there when the watch began.
pub(super) struct Initial {
    snapshot: Arc<Snapshot>,
    revision: u64,
    prefix: Bytes,
    next: Bound<Bytes>,
    filter: Arc<Filter>,
}

impl Initial {
    /// Appends additions; true if that was all.
    fn fill(&mut self, out: &mut Vec<u8>, renderer: &Renderer, columns: &mut bool) -> bool {
        self.each(|entry| {
            renderer.frame("ADDED", &entry.object, std::mem::take(columns), out);
            out.len() < PIECE_BYTES
        })
    }

    /// Visits the next objects as long as more are wanted; true if those were all.
    pub(super) fn each(&mut self, mut visit: impl FnMut(&Entry) -> bool) -> bool {
        let range = (self.next.as_ref().map(|key| &key[..]), Bound::Unbounded);
        for (key, entry) in self.snapshot.objects.range::<_, [u8]>(range) {
            if !key.starts_with(&self.prefix) {
                break;
            }
            if !self.filter.matches(entry) {
                continue;
            }
            if !visit(entry) {
                self.next = Bound::Excluded(key.clone());
                return false;
            }
        }
        true
    }
}

/// Events whose objects a webhook makes another version of, one after the other.
struct Converting {
    converter: Arc<Converter>,
    outbound: Arc<Outbound>,
    resource: Arc<Resource>,
    filter: Arc<Filter>,
    pending: Option<BoxFuture<'static, Result<Option<Next>, Status>>>,
}

impl Converting {
    /// If a webhook converts; the state at the beginning too, if it is shown.
    async fn begin(
        request: &Request<'_>,
        resource: &Arc<Resource>,
        filter: Arc<Filter>,
        shows: bool,
        initial: &mut Initial,
    ) -> Result<Option<Self>, Status> {
        let Some(converter) = resource.converter.clone() else { return Ok(None) };
        let (outbound, resource) = (request.server.outbound.clone(), resource.clone());
        if shows {
            let by = (&*converter, &*outbound);
            let version = (&*resource.api_version, filter.fields());
            let shown = conversion::snapshot(by, &initial.snapshot, &filter, version).await?;
            initial.snapshot = Arc::new(shown);
        }
        Ok(Some(Self { converter, outbound, resource, filter, pending: None }))
    }

    fn poll_next(
        &mut self,
        subscription: &mut Subscription,
        context: &mut Context<'_>,
    ) -> Poll<Result<Next, Status>> {
        loop {
            if let Some(pending) = &mut self.pending {
                let converted = std::task::ready!(pending.as_mut().poll(context));
                self.pending = None;
                match converted {
                    Ok(None) => continue,
                    Ok(Some(next)) => return Poll::Ready(Ok(next)),
                    Err(status) => return Poll::Ready(Err(status)),
                }
            }
            match std::task::ready!(subscription.poll_next(context)) {
                Next::Event(delivery, transition) => {
                    let (converter, outbound) = (self.converter.clone(), self.outbound.clone());
                    let (resource, filter) = (self.resource.clone(), self.filter.clone());
                    self.pending = Some(Box::pin(async move {
                        let (by, seen) = ((&*converter, &*outbound), (&*filter, transition));
                        let version = (&*resource.api_version, filter.fields());
                        let shown = conversion::event(by, &delivery.event, seen, version).await?;
                        Ok(shown.map(|(event, transition)| {
                            Next::Event(Arc::new(Delivery::new(Arc::new(event))), transition)
                        }))
                    }));
                }
                other => return Poll::Ready(Ok(other)),
            }
        }
    }
}

/// Says that a watcher was too slow for what happened.
pub(super) fn too_slow(too_old: TooOld) -> Status {
    Status::expired(format!("too old resource version: the watch was too slow ({})", too_old.oldest))
}

/// The frames of a watch.
struct Frames {
    initial: Option<Initial>,
    marked: Option<u64>,
    subscription: Subscription,
    converting: Option<Converting>,
    media: Media,
    renderer: Renderer,
    form: u64,
    plain: bool,
    /// Whether the next table has to say its columns.
    columns: bool,
    caches: Arc<Caches>,
    /// When the bookmark shortly before the end is due.
    last_bookmark: Option<Pin<Box<Sleep>>>,
    /// What that bookmark says, once everything up to there has been sent.
    closing: Option<u64>,
    deadline: Pin<Box<Sleep>>,
    done: bool,
    watched: crate::metrics::Watched,
    _watching: crate::metrics::Running,
}

impl Frames {
    fn frame(&mut self, delivery: &Delivery, transition: Transition) -> Bytes {
        if self.plain {
            return delivery.json(transition).clone();
        }
        let columns = std::mem::take(&mut self.columns);
        let renderer = &self.renderer;
        let make = |object: &gifee_base::Object| {
            let mut out = Vec::with_capacity(object.written_len());
            renderer.frame(transition.as_str(), object, columns, &mut out);
            Bytes::from(out)
        };
        if columns {
            return make(&delivery.event.object(transition));
        }
        delivery.other(self.form, transition, make)
    }

    fn bookmark(&mut self, revision: u64, initial: bool) -> Bytes {
        let mut out = Vec::new();
        let columns = std::mem::take(&mut self.columns);
        self.renderer.bookmark(revision, initial, columns, &mut out);
        out.into()
    }

    /// The next frame; `None` ends the watch.
    fn next_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = match &mut self.converting {
            None => self.subscription.poll_next(context),
            Some(converting) => match converting.poll_next(&mut self.subscription, context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(next)) => Poll::Ready(next),
                // Who watches is let go without a word, and told why when it comes back.
                Poll::Ready(Err(status)) => {
                    tracing::warn!(message = %status.message, "a watch ends, since a webhook does not convert");
                    return Poll::Ready(None);
                }
            },
        };
        match next {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Next::Event(delivery, transition)) => {
                let frame = self.frame(&delivery, transition);
                self.watched.sent(frame.len());
                Poll::Ready(Some(frame))
            }
            Poll::Ready(Next::Bookmark(revision)) => Poll::Ready(Some(self.bookmark(revision, false))),
            Poll::Ready(Next::TooOld(too_old)) => {
                self.done = true;
                Poll::Ready(Some(failure_frame(self.media, &too_slow(too_old)).into()))
            }
            Poll::Ready(Next::Closed) => Poll::Ready(None),
        }
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done || this.deadline.is_elapsed() {
            return Poll::Ready(None);
        }
        if let Some(initial) = &mut this.initial {
            let mut out = Vec::new();
            if initial.fill(&mut out, &this.renderer, &mut this.columns) {
                this.initial = None;
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
        }
        if let Some(revision) = this.marked.take() {
            this.watched.listed();
            return Poll::Ready(Some(Ok(this.bookmark(revision, true))));
        }
        // One frame is passed on as it is, several are put together.
        let mut single = Bytes::new();
        let mut several = Vec::new();
        while several.len() < PIECE_BYTES && !this.done {
            match this.next_frame(context) {
                Poll::Ready(Some(frame)) if single.is_empty() => single = frame,
                Poll::Ready(Some(frame)) => {
                    if several.is_empty() {
                        several.extend_from_slice(&single);
                    }
                    several.extend_from_slice(&frame);
                }
                Poll::Ready(None) => this.done = true,
                Poll::Pending => break,
            }
        }
        if !several.is_empty() {
            return Poll::Ready(Some(Ok(several.into())));
        }
        if !single.is_empty() {
            return Poll::Ready(Some(Ok(single)));
        }
        if let Some(revision) = this.closing.take()
            && !this.done
        {
            return Poll::Ready(Some(Ok(this.bookmark(revision, false))));
        }
        if let Some(due) = &mut this.last_bookmark
            && due.as_mut().poll(context).is_ready()
        {
            this.last_bookmark = None;
            // Events up to here are in the queue already; they go out before the bookmark does.
            this.closing = Some(this.caches.progress());
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.done || this.deadline.as_mut().poll(context).is_ready() {
            this.done = true;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
