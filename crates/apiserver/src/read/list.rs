//! Many objects: which ones a list shows, out of an immutable snapshot.

use super::continuation::{Continuation, expired};
use super::options::{At, filter, list_at};
use super::pieces::{Pieces, respond};
use crate::body::Body;
use crate::cache::{Cache, Entry, Filter, Snapshot};
use crate::conversion::{self, Converter};
use crate::kinds::Resource;
use crate::lookup::cache_key;
use crate::negotiate::Offer;
use crate::render::{Renderer, count_after};
use crate::request::Request;
use gifee_base::{Reason, Status};
use gifee_schema::protobuf::envelope::ListMeta;
use http::Response;
use std::ops::Bound;
use std::sync::Arc;

/// Answers a list.
pub async fn list(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let filter = filter(request, resource)?;
    let limit = limit(request)?;
    accept.fits(true, &resource.kind)?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, &accept, request.query, now)?;
    let page = match &resource.converter {
        None => page(request, cache, &filter, limit).await?,
        Some(converter) => {
            let page = converted(request, resource, (cache, converter), &filter, limit).await;
            // A part of all is read past upstream's cache.
            let whole = limit == 0 || filter.selects_shown();
            page.map_err(
                |why| if whole && unreadable(&why) { conversion::unready(resource, &why) } else { why },
            )?
        }
    };
    Ok(respond(request, Pieces::new(page, filter, renderer)).await)
}

/// Whether a webhook did not convert, which nothing else is told as.
fn unreadable(status: &Status) -> bool {
    status.is(Reason::Unknown) && status.code == 500
}

fn limit(request: &Request<'_>) -> Result<usize, Status> {
    let Some(text) = request.query.get("limit") else { return Ok(0) };
    let limit: i64 = text
        .parse()
        .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
    // Whoever takes any state is given all of it.
    let any = request.query.get("resourceVersion") == Some("0");
    Ok(if any { 0 } else { usize::try_from(limit).unwrap_or(0) })
}

/// What a list shows.
#[derive(Clone)]
pub struct Page {
    /// The state it is of.
    pub snapshot: Arc<Snapshot>,
    /// What keys begin with.
    pub prefix: Vec<u8>,
    /// Where it goes on: from this key, or behind it.
    pub next: Bound<Vec<u8>>,
    /// The objects of a limited list, and how many of them are done.
    pub limited: Option<(Arc<[Arc<Entry>]>, usize)>,
    /// What the list says of itself.
    pub meta: ListMeta,
}

impl Page {
    /// All that it shows.
    fn entries(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        if let Some((limited, _)) = &self.limited {
            return limited.to_vec();
        }
        let range = (self.next.as_ref().map(Vec::as_slice), Bound::Unbounded);
        let all = self.snapshot.objects.range::<_, [u8]>(range);
        let all = all.take_while(|(key, _)| key.starts_with(&self.prefix));
        all.map(|(_, entry)| entry).filter(|entry| filter.matches(entry)).cloned().collect()
    }
}

/// A page of objects that a webhook makes another version of.
async fn converted(
    request: &Request<'_>,
    resource: &Resource,
    (cache, converter): (&Arc<Cache>, &Converter),
    filter: &Filter,
    limit: usize,
) -> Result<Page, Status> {
    let (outbound, shown) = (&request.server.outbound, (&*resource.api_version, &*cache.fields));
    if !filter.selects_shown() {
        let mut page = page(request, cache, filter, limit).await?;
        let found = conversion::entries(converter, outbound, page.entries(filter), shown).await?;
        page.limited = Some((found.into(), 0));
        return Ok(page);
    }
    let placed = filter.placed();
    let mut page = page(request, cache, &placed, 0).await?;
    let wanted = (filter, if limit > 0 { limit } else { usize::MAX });
    let found = page.entries(&placed);
    let mut found = conversion::select((converter, outbound), found, wanted, shown).await?;
    if limit > 0 && found.len() > limit {
        found.truncate(limit);
        let last = &found[limit - 1].object;
        let mut key = cache_key(if filter.namespaced() { last.namespace() } else { "" }, last.name());
        let key = key.split_off(page.prefix.len());
        let revision = page.meta.resource_version.parse().unwrap_or_default();
        let start = format!("{}\0", String::from_utf8_lossy(&key));
        page.meta.continuation = Continuation { revision: Some(revision), start }.encode();
        cache.pin(&page.snapshot, revision);
    }
    page.limited = Some((found.into(), 0));
    Ok(page)
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
            let snapshot = cache.snapshot_at(revision).map_err(|_| gone())?;
            return Ok((snapshot, revision));
        }
    };
    // Everything up to `reached` was in the cache before the snapshot was taken.
    let snapshot = cache.snapshot();
    let revision = reached.max(snapshot.revision);
    Ok((snapshot, revision))
}

fn gone() -> Status {
    Status::expired("The resourceVersion for the provided list is too old.")
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
    let meta = ListMeta { resource_version: revision.to_string(), ..ListMeta::default() };
    let mut page = Page { snapshot, prefix, next, limited: None, meta };
    if let (Some(name), true) = (filter.pinned_name(), !filter.namespaced() || !filter.namespace().is_empty())
    {
        let found = page.snapshot.objects.get(&cache_key(filter.namespace(), name)[..]);
        let found = found.filter(|entry| filter.matches(entry)).cloned().into_iter().collect();
        page.limited = Some((found, 0));
    } else if limit > 0 {
        cut(cache, filter, limit, revision, &mut page);
    }
    Ok(page)
}

/// Takes the first `limit` objects, and says where the rest is.
fn cut(cache: &Cache, filter: &Filter, limit: usize, revision: u64, page: &mut Page) {
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
        page.meta.continuation = Continuation { revision: Some(revision), start }.encode();
        if !filter.selects() {
            page.meta.remaining = Some(count_after(&page.snapshot, &page.prefix, last) as u64);
        }
        cache.pin(&page.snapshot, revision);
    }
    page.limited = Some((taken.into(), 0));
}
