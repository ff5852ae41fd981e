//! Creation.

use super::commit::{Committed, shown, stored_form};
use super::{Write, body, metadata};
use crate::body::Body;
use crate::cluster::Inside;
use crate::kinds::Resource;
use crate::lookup::cache_key;
use crate::negotiate::Offer;
use crate::read::{newest, respond_object};
use crate::request::Request;
use crate::seam::Operation;
use gifee_base::name::generate_random;
use gifee_base::{Object, ObjectKey, Status};
use gifee_registry::kind::Context;
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// How often a generated name that is taken is generated anew; upstream's figure.
const GENERATE_ATTEMPTS: usize = 8;

/// Answers a create.
pub async fn create(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let mut write = Write::new(request, resource, "")?;
    write.options = super::options_of(request, &super::CREATE_OPTIONS);
    let decoded = body::decode(request, body, &resource.kind.gvk, resource.schema.as_ref()).await?;
    let namespace = request.info.namespace_of(resource);
    let object = create_object(&write, namespace, decoded.value).await?;
    respond_object(request, resource, &accept, 201, &object)
}

/// Creates an object from a decoded tree.
///
/// # Errors
/// As the API gives them.
pub async fn create_object(
    write: &Write<'_>,
    namespace: &str,
    mut object: Value,
) -> Result<Arc<Object>, Status> {
    let resource = write.resource;
    if resource.kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        let name = metadata::text(&object, "name");
        return Err(Status::forbidden(resource.group(), resource.name(), name, why));
    }
    metadata::place(&mut object, resource.namespaced(), namespace)?;
    if !metadata::text(&object, "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    write.warn(metadata::unite_owners(&mut object, false).into_iter().collect());
    let base = metadata::text(&object, "generateName").to_owned();
    let generates = !base.is_empty() && metadata::text(&object, "name").is_empty();
    write.default(&mut object);
    write.claim(&mut object, None).await?;
    write.mutate(Operation::Create, &mut object, None).await?;
    write.warn(metadata::unite_owners(&mut object, true).into_iter().collect());
    if !generates {
        return attempt(write, namespace, object).await?.made();
    }
    for _ in 1..GENERATE_ATTEMPTS {
        metadata::of(&mut object).insert("name".into(), generate_random(&base).into());
        match attempt(write, namespace, object).await? {
            Attempt::Made(made) => return Ok(made),
            Attempt::Taken(_, again) => object = again,
        }
    }
    metadata::of(&mut object).insert("name".into(), generate_random(&base).into());
    attempt(write, namespace, object).await?.made()
}

/// What became of one name.
enum Attempt {
    /// It is the object's.
    Made(Arc<Object>),
    /// It was taken; the object is given back, complete but for another name.
    Taken(Status, Value),
}

impl Attempt {
    fn made(self) -> Result<Arc<Object>, Status> {
        match self {
            Self::Made(object) => Ok(object),
            Self::Taken(status, _) => Err(status),
        }
    }
}

async fn attempt(write: &Write<'_>, namespace: &str, mut object: Value) -> Result<Attempt, Status> {
    let resource = write.resource;
    let hooks = &*resource.kind.hooks;
    metadata::begin(&mut object, &write.now, resource.kind.generation);
    let key = ObjectKey::new(namespace, metadata::text(&object, "name"));
    let inside = Inside::new(write.server, write.dry_run);
    let context = write.context(&key, &inside);
    write.warn(hooks.first_warnings(&object));
    hooks.prepare_create(&mut object, &context);
    hooks.allocate(&mut object, None, &context).await?;
    let outcome = match admit(write, namespace, &mut object, &context).await {
        Ok(true) => insert(write, namespace, &mut object, &key.name).await,
        Ok(false) => Ok(None),
        Err(status) => Err(status),
    };
    if let Ok(Some(created)) = outcome {
        return Ok(Attempt::Made(created));
    }
    if let Err(error) = hooks.release(&object, None, &context).await {
        tracing::warn!(%key, %error, "what was allocated for a failed creation could not be given back");
    }
    outcome.map(|_| Attempt::Taken(taken(write, &key), object))
}

/// Judges a new object that is complete; whether its name is free.
async fn admit(
    write: &Write<'_>,
    namespace: &str,
    object: &mut Value,
    context: &Context<'_>,
) -> Result<bool, Status> {
    let (resource, name) = (write.resource, &*context.key.name);
    let hooks = &*resource.kind.hooks;
    let mut errors = metadata::validate(object, resource.kind.name_rule, resource.namespaced());
    errors.extend(write.ruled(|| hooks.validate(object, context)));
    errors.extend(hooks.validate_create(object, context));
    if !errors.is_empty() {
        return Err(write.invalid(name, &errors));
    }
    write.warn(hooks.warnings(object, None));
    write.admit_validated(Operation::Create, object, None).await?;
    // A name that is taken is refused before it is counted.
    if let Some(cache) = &resource.cache
        && (write.dry_run || cache.get(&cache_key(namespace, name)).is_some())
        && newest(write.server, cache, namespace, name).await?.is_some()
    {
        return Ok(false);
    }
    write.charge(Operation::Create, object, None).await?;
    Ok(true)
}

/// Commits a new object; None: its name was taken meanwhile.
async fn insert(
    write: &Write<'_>,
    namespace: &str,
    object: &mut Value,
    name: &str,
) -> Result<Option<Arc<Object>>, Status> {
    let resource = write.resource;
    let mut stored = stored_form(resource, object.take());
    let raw = Object::encode(&mut stored);
    if write.dry_run {
        return shown(resource, raw, 0).map(Some);
    }
    let outcome = write.insert(namespace, name, &raw).await;
    if let Ok(Committed::Done(created)) = outcome {
        return Ok(Some(created));
    }
    *object = crate::render::present(resource, stored);
    outcome.map(|_| None)
}

fn taken(write: &Write<'_>, key: &ObjectKey) -> Status {
    Status::already_exists(write.resource.group(), write.resource.name(), &key.name)
}
