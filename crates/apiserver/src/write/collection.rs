//! Deletion of all objects of a selection.
//!
//! Invariant: each goes the way of a single deletion; one that is gone already is no failure.

use super::Write;
use super::delete::{DeleteOptions, Deleted, delete_object};
use crate::body::Body;
use crate::conversion;
use crate::kinds::Resource;
use crate::negotiate::Offer;
use crate::read::filter;
use crate::render::Renderer;
use crate::request::Request;
use crate::respond;
use futures_util::{StreamExt, TryStreamExt, stream};
use gifee_base::{Reason, Status};
use gifee_schema::protobuf::envelope::ListMeta;
use http::Response;
use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

/// Deletions of one request that run at once.
const AT_ONCE: usize = 16;

/// Answers a deletecollection: a list of what was deleted.
pub async fn delete_collection(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    accept.fits(true, &resource.kind)?;
    let options = DeleteOptions::read(request, body).await?;
    let filter = filter(request, resource)?;
    let mut write = Write::new(request, resource, "")?;
    write.dry_run = options.dry_run;
    write.options = Cow::Owned(options.to_value());
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let revision = request.server.caches.fresh().await?;
    let snapshot = cache.snapshot();
    let start = if filter.namespace().is_empty() {
        Vec::new()
    } else {
        crate::lookup::cache_key(filter.namespace(), "")
    };
    let range = (Bound::Included(start.as_slice()), Bound::Unbounded);
    let placed = resource.converter.as_ref().map(|_| filter.placed());
    let found = placed.as_ref().unwrap_or(&filter);
    let mut wanted: Vec<_> = snapshot
        .objects
        .range::<_, [u8]>(range)
        .take_while(|(key, _)| key.starts_with(&start))
        .filter(|(_, entry)| found.matches(entry))
        .map(|(_, entry)| entry.clone())
        .collect();
    drop(snapshot);
    if let Some(converter) = &resource.converter {
        let (by, shown) =
            ((&**converter, &*request.server.outbound), (&*resource.api_version, filter.fields()));
        wanted = conversion::select(by, wanted, (&filter, usize::MAX), shown).await?;
    }
    let (write, options) = (&write, &options);
    let deleted: Vec<Option<Deleted>> = stream::iter(wanted)
        .map(|entry| async move {
            let object = &entry.object;
            match delete_object(write, object.namespace(), object.name(), options).await {
                Ok(deleted) => Ok(Some(deleted)),
                Err(status) if status.is(Reason::NotFound) => Ok(None),
                Err(status) => Err(status),
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, &accept, request.query, now)?;
    let meta = ListMeta { resource_version: revision.to_string(), ..ListMeta::default() };
    let out = renderer.whole_list(&meta, deleted.iter().flatten().map(|deleted| &*deleted.object));
    Ok(respond::sized(request, 200, renderer.content_type(), out))
}
