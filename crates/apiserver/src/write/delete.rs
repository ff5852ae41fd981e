//! Deletion: at once, after a grace period, or when the last finalizer is gone.
//!
//! Answers to the generic store's `Delete`, `rest.BeforeDelete` and the finalizers of garbage collection.

use super::commit::{Committed, shown, stored_form};
pub use super::options::DeleteOptions;
use super::{Write, metadata};
use crate::body::Body;
use crate::cluster::Inside;
use crate::kinds::Resource;
use crate::negotiate::Offer;
use crate::read::{newest, respond_object};
use crate::render::present;
use crate::request::Request;
use crate::respond;
use crate::seam::Operation;
use gifee_base::clock::{format_time, parse_time};
use gifee_base::{Object, ObjectKey, Status};
use http::Response;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// How often a deletion is tried again when the object changed meanwhile.
const ATTEMPTS: usize = 10;
/// Kinds whose deletion answers the object that is gone, not a status.
const RETURNS_DELETED: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
];

/// The outcome of a deletion.
pub struct Deleted {
    /// The object as it is now, or as it last was.
    pub object: Arc<Object>,
    /// Whether it is gone.
    pub gone: bool,
}

/// Answers a delete.
pub async fn delete(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let mut write = Write::new(request, resource, "")?;
    let options = DeleteOptions::read(request, body).await?;
    write.dry_run = options.dry_run;
    write.options = Cow::Owned(options.to_value());
    let namespace = request.info.namespace_of(resource);
    let deleted = delete_object(&write, namespace, &request.info.name, &options).await?;
    let returns = RETURNS_DELETED.contains(&(resource.group(), resource.name()));
    if deleted.gone && !returns {
        return Ok(respond::value(200, &accept, &success(resource, &deleted.object)));
    }
    let code = if !deleted.gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
    respond_object(request, resource, &accept, code, &deleted.object)
}

fn success(resource: &Resource, object: &Object) -> Value {
    let mut details = json!({ "name": object.name(), "kind": resource.name(), "uid": object.uid() });
    if !resource.group().is_empty() {
        details["group"] = resource.group().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Deletes an object, or begins to.
///
/// # Errors
/// As the API gives them.
pub async fn delete_object(
    write: &Write<'_>,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let resource = write.resource;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let current = newest(write.server, cache, namespace, name).await?;
    let mut current = resource.shown_if(&write.server.outbound, current).await?;
    let mut admitted = false;
    for _ in 0..ATTEMPTS {
        let object = current.ok_or_else(|| write.not_found(name))?;
        preconditions(write, name, &object, options)?;
        let old = present(resource, object.to_tree().map_err(Status::internal)?);
        if !std::mem::replace(&mut admitted, true) {
            write.mutate(Operation::Delete, &mut Value::Null, Some(&old)).await?;
            write.admit_validated(Operation::Delete, &mut Value::Null, Some(&old)).await?;
        }
        let outcome = match plan(write, &old, options) {
            Plan::Nothing => return Ok(Deleted { object, gone: false }),
            Plan::Remove if write.dry_run => return Ok(Deleted { object, gone: true }),
            Plan::Remove => match write.remove(namespace, name, object.revision()).await? {
                Committed::Done(deleted) => {
                    released(write, namespace, name, &old).await;
                    return Ok(Deleted { object: Arc::new(object.at(deleted.revision())), gone: true });
                }
                conflict => conflict,
            },
            Plan::Mark(marked) => {
                let mut stored = stored_form(resource, marked);
                let raw = Object::encode(&mut stored);
                if write.dry_run || write.unchanged(namespace, name, &raw, &object).await? {
                    return Ok(Deleted { object: shown(resource, raw, object.revision())?, gone: false });
                }
                write.replace(namespace, name, &raw, object.revision()).await?
            }
        };
        match outcome {
            Committed::Done(object) => return Ok(Deleted { object, gone: false }),
            Committed::Conflict(newer) => current = newer,
        }
    }
    Err(Status::stale(resource.group(), resource.name(), name))
}

fn preconditions(
    write: &Write<'_>,
    name: &str,
    object: &Object,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let conflict =
        |why: &str| Err(Status::conflict(write.resource.group(), write.resource.name(), name, why));
    if let Some(uid) = &options.uid
        && uid != object.uid()
    {
        return conflict(&format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            object.uid()
        ));
    }
    if let Some(version) = &options.resource_version
        && *version != object.revision().to_string()
    {
        return conflict(&format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            object.revision()
        ));
    }
    Ok(())
}

/// What a deletion does to an object.
enum Plan {
    /// It is being deleted already, and no sooner than asked for.
    Nothing,
    /// It goes now.
    Remove,
    /// It stays for now, marked.
    Mark(Value),
}

fn plan(write: &Write<'_>, old: &Value, options: &DeleteOptions) -> Plan {
    let hooks = &*write.resource.kind.hooks;
    let deleting = metadata::deleting(old);
    let pending_grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let grace = hooks.grace_period_seconds(old, options.grace_period_seconds);
    let mut new = old.clone();
    let graceful = match (deleting, grace, pending_grace) {
        (_, None, _) | (true, _, None) => None,
        (false, Some(grace), _) => Some(grace.max(0)),
        (true, Some(_), Some(pending)) => match options.grace_period_seconds {
            Some(asked) if asked < pending => Some(asked.max(0)),
            _ => return Plan::Nothing,
        },
    };
    let kept = garbage_finalizers(hooks.default_propagation(), &mut new, options) || hooks.held(&new);
    match graceful {
        Some(0) | None if !kept => Plan::Remove,
        Some(grace) => {
            mark(write, &mut new, pending_grace, grace);
            Plan::Mark(new)
        }
        None => {
            if !deleting {
                mark(write, &mut new, None, 0);
            }
            hooks.mark_deleting(&mut new);
            Plan::Mark(new)
        }
    }
}

/// Sets the finalizers that garbage collection is told by; whether any finalizer is left.
fn garbage_finalizers(by_default: Option<&str>, object: &mut Value, options: &DeleteOptions) -> bool {
    let list = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let old: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
    let (orphan, foreground) = (options.orphans(&old, by_default), options.foreground(&old));
    let mut new: Vec<String> = old.clone();
    new.retain(|one| match one.as_str() {
        "orphan" => orphan,
        "foregroundDeletion" => foreground,
        _ => true,
    });
    for (wanted, name) in [(orphan, "orphan"), (foreground, "foregroundDeletion")] {
        if wanted && !new.iter().any(|one| one == name) {
            new.push(name.to_owned());
        }
    }
    let left = !new.is_empty();
    if new != old {
        let metadata = metadata::of(object);
        if left {
            metadata.insert("finalizers".into(), new.into());
        } else {
            metadata.remove("finalizers");
        }
    }
    left
}

/// Sets when the object is to be gone: `grace` seconds from now, or from when its deletion began.
fn mark(write: &Write<'_>, object: &mut Value, pending: Option<i64>, grace: i64) {
    let counts = object["metadata"]["generation"].as_i64().filter(|generation| *generation > 0);
    let deleting = metadata::deleting(object);
    let now = write.server.config.clock.now();
    let begun = match (pending, parse_time(metadata::text(object, "deletionTimestamp"))) {
        (Some(pending), Some(end)) if deleting => end - SignedDuration::from_secs(pending),
        _ => now,
    };
    let end = begun.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    let metadata = metadata::of(object);
    metadata.insert("deletionTimestamp".into(), format_time(end).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if let (Some(generation), false) = (counts, deleting) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}

/// Gives back what a gone object had allocated.
pub(super) async fn released(write: &Write<'_>, namespace: &str, name: &str, object: &Value) {
    let key = ObjectKey::new(namespace, name);
    let inside = Inside::new(write.server, write.dry_run);
    let context = write.context(&key, &inside);
    if let Err(error) = write.resource.kind.hooks.release(object, None, &context).await {
        tracing::warn!(%key, %error, "what a deleted object had allocated could not be given back");
    }
}
