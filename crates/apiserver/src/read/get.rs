//! One object.

use crate::body::Body;
use crate::cache::{Cache, store_failed, store_key};
use crate::kinds::Resource;
use crate::lookup::cache_key;
use crate::negotiate::{Accept, Offer};
use crate::read::options::revision;
use crate::render::Renderer;
use crate::request::Request;
use crate::respond;
use crate::server::Server;
use gifee_base::{Object, Status};
use http::Response;
use std::sync::Arc;

/// Answers a get.
pub async fn get(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let info = request.info;
    let server = request.server;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let object = match revision(request.query)? {
        None => newest(server, cache, info.namespace_of(resource), &info.name).await?,
        Some(revision) => {
            if revision > server.caches.progress() {
                server.caches.reach(revision).await?;
            }
            let entry = cache.get(&cache_key(info.namespace_of(resource), &info.name));
            entry.map(|entry| entry.object.clone())
        }
    };
    let object = object.ok_or_else(|| request.not_found(resource, &info.name))?;
    let object = resource.shown(&server.outbound, object).await?;
    respond_object(request, resource, &accept, 200, &object)
}

/// An object as the client wants it.
pub fn respond_object(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    accept: &Accept,
    code: u16,
    object: &Object,
) -> Result<Response<Body>, Status> {
    accept.fits(false, &resource.kind)?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, accept, request.query, now)?;
    let mut out = Vec::with_capacity(object.written_len());
    renderer.single(object, &mut out);
    Ok(respond::sized(request, code, renderer.content_type(), out))
}

/// An object as of every write acknowledged before: from the cache if that is up to date, else from the store.
pub async fn newest(
    server: &Server,
    cache: &Cache,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Object>>, Status> {
    let revision = server.config.store.revision().await.map_err(store_failed)?;
    if server.caches.progress() >= revision {
        return Ok(cache.get(&cache_key(namespace, name)).map(|entry| entry.object.clone()));
    }
    let (group, resource) = &cache.storage;
    let key = store_key(group, resource, namespace, name);
    let (entry, _) = server.config.store.get(&key).await.map_err(store_failed)?;
    let Some(entry) = entry else { return Ok(None) };
    server.stored(cache, &key, entry).map(Some)
}
