//! The end of a definition: its objects go first.
//!
//! Invariant: the finalizer is taken away only when the storage is empty and nothing can be created there any more.
//! Answers to apiextensions' `controller/finalizer`.

use super::conditions::{holds, set};
use super::{FINALIZER, change};
use crate::cache::{Cache, Caches, Filter, Next};
use crate::cluster::own_attributes;
use crate::kinds::Resource;
use crate::server::Server;
use crate::write::{DeleteOptions, Write, delete_object};
use gifee_base::clock::format_time;
use gifee_base::{FieldSelector, LabelSelector, ObjectKey, Reason, Status};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;

const TERMINATING: &str = "Terminating";
/// How long it takes until a deletion that failed is tried again, at first and at most: it doubles.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Deletes the objects of a definition, waits until they are gone, and lets the definition go. What fails, such as a
/// conversion, is said in the status and tried again.
pub async fn run(
    server: Weak<Server>,
    name: String,
    stored: Option<Arc<Resource>>,
    cleaning: Arc<Mutex<BTreeSet<String>>>,
) {
    let mut wait = AGAIN.0;
    while let Err(status) = clean(&server, &name, stored.clone()).await {
        let Some(running) = server.upgrade().filter(|_| !status.is(Reason::NotFound)) else { break };
        tracing::warn!(%name, message = %status.message, "the objects of a definition could not be removed");
        let now = format_time(running.config.clock.now());
        let message = format!("could not issue all deletes: {}", status.message);
        let mut failed = |definition: &mut Value| {
            set(definition, TERMINATING, "True", "InstanceDeletionFailed", &message, &now);
        };
        if let Err(status) = change(&running, &name, &mut failed).await {
            tracing::warn!(%name, message = %status.message, "the status of a definition could not be written");
        }
        let stop = running.stopping();
        drop(running);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(AGAIN.1),
        }
    }
    cleaning.lock().remove(&name);
}

async fn clean(server: &Weak<Server>, name: &str, stored: Option<Arc<Resource>>) -> Result<(), Status> {
    let strong = || server.upgrade().ok_or_else(|| Status::unavailable("the server is stopping"));
    let now = || Ok::<_, Status>(format_time(strong()?.config.clock.now()));
    let started = now()?;
    let begun = change(&strong()?, name, &mut |definition| {
        let message = "CustomResource deletion is in progress";
        set(definition, TERMINATING, "True", "InstanceDeletionInProgress", message, &started);
    })
    .await?;
    let definition = begun.object.to_value().map_err(Status::internal)?;
    let (reason, message) = match stored.filter(|_| holds(&definition, "Established")) {
        None => ("NeverEstablished", "resource was never established"),
        Some(resource) => {
            remove_all(&strong()?, &resource).await?;
            let caches = strong()?.caches.clone();
            gone(&caches, &resource).await;
            ("InstanceDeletionCompleted", "removed all instances")
        }
    };
    let ended = now()?;
    change(&strong()?, name, &mut |definition| {
        set(definition, TERMINATING, "False", reason, message, &ended);
        if let Some(list) = definition["metadata"]["finalizers"].as_array_mut() {
            list.retain(|one| one != FINALIZER);
        }
    })
    .await
    .map(drop)
}

/// Deletes every object, as a client's deletion would: finalizers are waited for.
async fn remove_all(server: &Arc<Server>, resource: &Arc<Resource>) -> Result<(), Status> {
    let Some(cache) = &resource.cache else { return Ok(()) };
    for entry in cache.snapshot().objects.values() {
        let key = entry.object.key();
        let attributes = own_attributes("delete", resource.group(), resource.name(), &key);
        let warnings = Mutex::default();
        let write = Write::own(server, resource, &attributes, &warnings);
        let ObjectKey { namespace, name } = &key;
        match delete_object(&write, namespace, name, &DeleteOptions::default()).await {
            Err(status) if !status.is(Reason::NotFound) => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

/// Waits until nothing is left.
async fn gone(caches: &Caches, resource: &Resource) {
    let Some(cache) = &resource.cache else { return };
    let everything = |cache: &Arc<Cache>| {
        let (labels, fields) = (LabelSelector::everything(), FieldSelector::everything());
        Filter::new(&cache.fields, resource.namespaced(), "", None, labels, &fields).ok().map(Arc::new)
    };
    let Some(everything) = everything(cache) else { return };
    loop {
        let reached = caches.progress();
        let snapshot = cache.snapshot();
        if snapshot.objects.is_empty() {
            return;
        }
        let after = snapshot.revision.max(reached);
        let Ok(mut events) = cache.subscribe(&everything, after, false) else { return };
        while !cache.snapshot().objects.is_empty() {
            match poll_fn(|context| events.poll_next(context)).await {
                Next::Closed => return,
                Next::TooOld(_) => break,
                Next::Event(..) | Next::Bookmark(_) => {}
            }
        }
    }
}
