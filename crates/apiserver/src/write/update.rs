//! Changes of objects: PUT, and the common way of every change.
//!
//! Invariant: a change is a function from the object as it is to the object as it is to be. It is applied
//! again if the object changed meanwhile; a client that named the version it means is then told of the conflict.

use super::commit::{Committed, shown, stored_form};
use super::{Write, body, managed, metadata};
use crate::body::Body;
use crate::cluster::Inside;
use crate::kinds::Resource;
use crate::negotiate::Offer;
use crate::read::{newest, respond_object};
use crate::render::present;
use crate::request::Request;
use crate::seam::Operation;
use gifee_base::field::{FieldError, Path};
use gifee_base::{Object, ObjectKey, Reason, Status};
use gifee_registry::kind::{Context, Hooks};
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// How often a change is applied to a newer object when the one it was applied to is not there any more.
const ATTEMPTS: usize = 64;

/// A change: from the object as it is, in this version's kind, to the object as it is to be; from null if it is
/// to be created. It says in its metadata which resource version it is based on, if it cares.
pub type Edit<'a> = dyn FnMut(&Value) -> Result<Value, Status> + Send + 'a;

/// The outcome of a change.
pub struct Updated {
    /// The object as it is now.
    pub object: Arc<Object>,
    /// Whether it was not there before.
    pub created: bool,
}

/// Answers a PUT of an object or a part of it.
pub async fn put(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    subresource: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let mut write = Write::new(request, resource, subresource)?;
    write.options = super::options_of(request, &super::UPDATE_OPTIONS);
    let (gvk, schema) = (&resource.kind.gvk, resource.schema.as_ref());
    let decoded = body::decode(request, body, gvk, schema).await?;
    let namespace = request.info.namespace_of(resource);
    let name = &*request.info.name;
    let placed = |mut object: Value| {
        named(&object, name, namespace)?;
        metadata::place(&mut object, resource.namespaced(), namespace)?;
        Ok(object)
    };
    let mut object = placed(decoded.value)?;
    write.warn(metadata::unite_owners(&mut object, false).into_iter().collect());
    let uid = metadata::text(&object, "uid").to_owned();
    let mut first = Some(object);
    // Only who has to try again decodes again: a copy for that case would cost every PUT.
    let mut edit = |old: &Value| {
        same_object(resource, namespace, name, &uid, metadata::text(old, "uid"))?;
        if let Some(object) = first.take() {
            return Ok(object);
        }
        let mut object = placed(decoded.source.again(gvk, schema)?)?;
        metadata::unite_owners(&mut object, false);
        Ok(object)
    };
    let create = resource.kind.create_on_update && subresource.is_empty();
    let updated = match update_object(&write, namespace, name, &mut edit, create).await {
        Err(status) if status.is(Reason::NotFound) => {
            same_object(resource, namespace, name, &uid, "")?;
            return Err(status);
        }
        outcome => outcome?,
    };
    let code = if updated.created { 201 } else { 200 };
    respond_object(request, resource, &accept, code, &updated.object)
}

/// Refuses a PUT of an object that is meant for another one of the same name, in the words of upstream's storage.
fn same_object(
    resource: &Resource,
    namespace: &str,
    name: &str,
    meant: &str,
    found: &str,
) -> Result<(), Status> {
    if meant.is_empty() || meant == found {
        return Ok(());
    }
    let folder = match (resource.group(), resource.name()) {
        ("", "endpoints") => "services/endpoints".into(),
        ("", "nodes") => "minions".into(),
        ("", "replicationcontrollers") => "controllers".into(),
        ("", "services") => "services/specs".into(),
        ("networking.k8s.io", "ingresses") => "ingress".into(),
        (group @ ("apiextensions.k8s.io" | "apiregistration.k8s.io"), own) => format!("{group}/{own}"),
        (group, own) if resource.kind.custom.is_some() => format!("{group}/{own}"),
        (_, own) => own.to_owned(),
    };
    let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{folder}/{place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {meant}, UID in object meta: {found}"
    );
    Err(Status::conflict(resource.group(), resource.name(), name, &why))
}

/// Refuses an object whose name or namespace is not that of the URL.
pub fn named(object: &Value, name: &str, namespace: &str) -> Result<(), Status> {
    match metadata::text(object, "name") {
        "" => {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        own if own != name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({own}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let own = metadata::text(object, "namespace");
    if !namespace.is_empty() && !own.is_empty() && own != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({own}) does not match the namespace on the request ({namespace})"
        )));
    }
    Ok(())
}

/// Changes an object; `create` says whether to create it if it is not there.
///
/// # Errors
/// As the API gives them.
pub async fn update_object(
    write: &Write<'_>,
    namespace: &str,
    name: &str,
    edit: &mut Edit<'_>,
    create: bool,
) -> Result<Updated, Status> {
    let cache = write.resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let current = newest(write.server, cache, namespace, name).await?;
    let mut current = write.resource.shown_if(&write.server.outbound, current).await?;
    for attempt in 1.. {
        let Some(object) = current else {
            if !create {
                return Err(write.not_found(name));
            }
            let object = edit(&Value::Null)?;
            write.may_create().await?;
            let object = super::create_object(write, namespace, object).await?;
            return Ok(Updated { object, created: true });
        };
        match once(write, namespace, name, &object, edit).await? {
            Step::Done(object) => return Ok(Updated { object, created: false }),
            Step::Again(_) if attempt >= ATTEMPTS => {
                return Err(Status::stale(write.resource.group(), write.resource.name(), name));
            }
            Step::Again(newer) => current = newer,
        }
    }
    unreachable!("the last attempt returns")
}

enum Step {
    Done(Arc<Object>),
    /// The object changed meanwhile; this is what is there now.
    Again(Option<Arc<Object>>),
}

async fn once(
    write: &Write<'_>,
    namespace: &str,
    name: &str,
    current: &Arc<Object>,
    edit: &mut Edit<'_>,
) -> Result<Step, Status> {
    let resource = write.resource;
    let hooks = &*resource.kind.hooks;
    let old = present(resource, current.to_tree().map_err(Status::internal)?);
    let mut object = write.decided(&mut || edit(&old)).await?;
    based_on(write, name, current, &object)?;
    let key = ObjectKey::new(namespace, name);
    let inside = Inside::new(write.server, write.dry_run);
    let context = write.context(&key, &inside);
    if write.trusted {
        metadata::carry(&mut object, &old);
    } else {
        shape(write, &mut object, &old, &context).await?;
        if write.subresource.is_empty() {
            hooks.allocate(&mut object, Some(&old), &context).await?;
        }
        if let Err(status) = judge(write, &mut object, &old, &context).await {
            give_back(hooks, &object, &old, &context).await;
            return Err(status);
        }
    }
    metadata::of(&mut object).remove("resourceVersion");
    if ends_deletion(hooks, &object) {
        return end(write, namespace, name, current, object).await;
    }
    if let Err(status) = write.charge(Operation::Update, &mut object, Some(&old)).await {
        give_back(hooks, &object, &old, &context).await;
        return Err(status);
    }
    managed::keep_times(&mut object, &old);
    let mut stored = stored_form(resource, object);
    let raw = Object::encode(&mut stored);
    if write.unchanged(namespace, name, &raw, current).await? {
        return Ok(Step::Done(current.clone()));
    }
    if write.dry_run {
        return Ok(Step::Done(shown(resource, raw, current.revision())?));
    }
    let outcome = write.replace(namespace, name, &raw, current.revision()).await;
    let new = present(resource, stored);
    // What only the state that lost had is given back: the old one's after a commit, else the new one's.
    let committed = matches!(outcome, Ok(Committed::Done(_)));
    let (lost, stays) = if committed { (&old, &new) } else { (&new, &old) };
    give_back(hooks, lost, stays, &context).await;
    Ok(outcome?.into())
}

/// Gives back what only `lost` has.
async fn give_back(hooks: &dyn Hooks, lost: &Value, stays: &Value, context: &Context<'_>) {
    if let Err(error) = hooks.release(lost, Some(stays), context).await {
        tracing::warn!(key = %context.key, %error, "what a change no longer needs could not be given back");
    }
}

/// Completes a changed object: defaults, admission, what the kind puts back.
async fn shape(
    write: &Write<'_>,
    object: &mut Value,
    old: &Value,
    context: &Context<'_>,
) -> Result<(), Status> {
    let resource = write.resource;
    let hooks = &*resource.kind.hooks;
    write.default(object);
    write.claim(object, Some(old)).await?;
    write.mutate(Operation::Update, object, Some(old)).await?;
    write.warn(metadata::unite_owners(object, true).into_iter().collect());
    // Both say what the change is based on as long as they are looked at.
    metadata::of(object).insert("resourceVersion".into(), old["metadata"]["resourceVersion"].clone());
    metadata::carry(object, old);
    hooks.prepare_update(object, old, write.subresource, context);
    if resource.kind.generation {
        metadata::count_generation(object, old);
    }
    Ok(())
}

/// Judges a changed object by the rules of metadata and of the kind, and asks admission.
async fn judge(
    write: &Write<'_>,
    object: &mut Value,
    old: &Value,
    context: &Context<'_>,
) -> Result<(), Status> {
    let resource = write.resource;
    let hooks = &*resource.kind.hooks;
    let mut errors = metadata::validate_update(object, old, resource.namespaced());
    errors.extend(write.ruled(|| hooks.judge_update(object, old, write.subresource, context)));
    if !errors.is_empty() {
        return Err(write.invalid(&context.key.name, &errors));
    }
    write.warn(hooks.warnings(object, Some(old)));
    write.admit_validated(Operation::Update, object, Some(old)).await
}

impl From<Committed> for Step {
    fn from(outcome: Committed) -> Self {
        match outcome {
            Committed::Done(object) => Self::Done(object),
            Committed::Conflict(newer) => Self::Again(newer),
        }
    }
}

/// Refuses a change that is based on another version of the object.
fn based_on(write: &Write<'_>, name: &str, current: &Object, object: &Value) -> Result<(), Status> {
    let resource = write.resource;
    match metadata::text(object, "resourceVersion") {
        "" | "0" if !resource.kind.unconditional_update => {
            let root = Path::root("metadata");
            let path = root.child("resourceVersion");
            Err(write.invalid(name, &[FieldError::invalid(&path, 0, "must be specified for an update")]))
        }
        "" | "0" => Ok(()),
        text => match text.parse::<u64>() {
            Ok(revision) if revision == current.revision() => Ok(()),
            Ok(_) => Err(Status::stale(resource.group(), resource.name(), name)),
            Err(_) => {
                let root = Path::root("metadata");
                let path = root.child("resourceVersion");
                let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                Err(write.invalid(name, &[FieldError::invalid(&path, text, &why)]))
            }
        },
    }
}

/// Whether a change takes away the last thing that kept a deleted object.
fn ends_deletion(hooks: &dyn Hooks, object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata::deleting(object)
        && metadata::finalizers(object) == 0
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
        && !hooks.held(object)
}

/// Removes the object; the response shows it as the change left it.
async fn end(
    write: &Write<'_>,
    namespace: &str,
    name: &str,
    current: &Object,
    object: Value,
) -> Result<Step, Status> {
    let mut stored = stored_form(write.resource, object);
    let raw = Object::encode(&mut stored);
    let shown = |revision| shown(write.resource, raw.clone(), revision);
    if write.dry_run {
        return Ok(Step::Done(shown(current.revision())?));
    }
    match write.remove(namespace, name, current.revision()).await? {
        Committed::Done(deleted) => {
            let gone = present(write.resource, stored);
            super::delete::released(write, namespace, name, &gone).await;
            Ok(Step::Done(shown(deleted.revision())?))
        }
        outcome => Ok(outcome.into()),
    }
}
