//! CustomResourceDefinitions at work: what they define is served while they are there.
//!
//! One task follows the definitions' cache. For each that changed it settles the names, makes rows and caches, puts
//! them into the index, and only then says in the status that it is established. Invariant: what the index holds of a
//! definition is what its newest form says, or it says in its status why not. Answers to apiextensions-apiserver's
//! controllers and `customresource_handler`.

mod cleanup;
mod conditions;
mod rows;

use crate::cache::{Caches, Filter, Next, store_failed};
use crate::cluster::own_status;
use crate::server::Server;
use crate::upkeep::Command;
use crate::write::Updated;
use conditions::{Taken, holds};
use gifee_base::clock::format_time;
use gifee_base::{FieldSelector, LabelSelector, Reason, Status};
use parking_lot::Mutex;
use rows::Made;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Group of the definitions.
pub const GROUP: &str = "apiextensions.k8s.io";
/// Resource of the definitions.
pub const RESOURCE: &str = "customresourcedefinitions";
/// What keeps a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Makes the resources of all definitions that are established, with empty caches in their places: before the
/// caches are filled.
pub fn prepare(caches: &Caches, stored: Vec<Value>) -> Vec<(String, Made)> {
    let mut all = Vec::new();
    for definition in stored {
        let name = name(&definition);
        if !holds(&definition, "Established") {
            continue;
        }
        match rows::make(caches, &definition, None) {
            Ok(Some(made)) => {
                caches.put(&made.cache);
                all.push((name, made));
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%name, %error, "a definition cannot be served"),
        }
    }
    all
}

fn name(definition: &Value) -> String {
    definition["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The task's memory.
struct Task {
    server: Weak<Server>,
    commands: mpsc::Sender<Command>,
    made: HashMap<String, Made>,
    cleaning: Arc<Mutex<BTreeSet<String>>>,
}

/// Follows the definitions until the server stops. `made` is what is served already.
pub async fn run(server: Weak<Server>, commands: mpsc::Sender<Command>, made: Vec<(String, Made)>) {
    let mut task = Task { server, commands, made: made.into_iter().collect(), cleaning: Arc::default() };
    let Some(caches) = task.server.upgrade().map(|server| server.caches.clone()) else { return };
    let Some(cache) = caches.find(GROUP, RESOURCE) else { return };
    let everything = Filter::new(
        &cache.fields,
        false,
        "",
        None,
        LabelSelector::everything(),
        &FieldSelector::everything(),
    );
    let Ok(everything) = everything.map(Arc::new) else { return };
    loop {
        let reached = caches.progress();
        let snapshot = cache.snapshot();
        let after = snapshot.revision.max(reached);
        let Ok(mut events) = cache.subscribe(&everything, after, false) else {
            tracing::error!("the history of definitions does not reach back to now");
            return;
        };
        let known = task.made.keys().cloned();
        let there = snapshot.objects.values().map(|entry| entry.object.name().to_owned());
        let all: BTreeSet<String> = there.chain(known).collect();
        task.work(&cache, all).await;
        loop {
            let mut changed = BTreeSet::new();
            let ended = poll_fn(|context| {
                loop {
                    match events.poll_next(context) {
                        Poll::Ready(Next::Event(delivery, _)) => {
                            changed.insert(delivery.event.entry.object.name().to_owned());
                        }
                        Poll::Ready(Next::Bookmark(_)) => {}
                        Poll::Ready(Next::TooOld(_)) => return Poll::Ready(Some(false)),
                        Poll::Ready(Next::Closed) => return Poll::Ready(Some(true)),
                        Poll::Pending if changed.is_empty() => return Poll::Pending,
                        Poll::Pending => return Poll::Ready(None),
                    }
                }
            });
            match ended.await {
                Some(true) => return,
                Some(false) => break,
                None => task.work(&cache, changed).await,
            }
            if task.server.strong_count() == 0 {
                return;
            }
        }
    }
}

impl Task {
    /// Brings these definitions, and those that their names were in the way of, to where they ought to be.
    async fn work(&mut self, cache: &Arc<crate::cache::Cache>, mut names: BTreeSet<String>) {
        while let Some(name) = names.pop_first() {
            let Some(server) = self.server.upgrade() else { return };
            let entry = cache.get(name.as_bytes());
            let Some(definition) = entry.and_then(|entry| entry.object.to_value().ok()) else {
                names.extend(self.unserve(&server, cache, &name).await);
                continue;
            };
            match self.sync(&server, cache, definition).await {
                Ok(freed) => names.extend(freed),
                Err(status) if status.is(Reason::NotFound) => {}
                Err(status) => {
                    tracing::error!(%name, message = %status.message, "a definition is not served as it says");
                }
            }
        }
    }

    /// Definitions of a group whose names were not all free.
    fn waiting(cache: &crate::cache::Cache, group: &str, own: &str) -> Vec<String> {
        let mut waiting = Vec::new();
        for entry in cache.snapshot().objects.values() {
            let Ok(definition) = entry.object.to_value() else { continue };
            let other = entry.object.name() != own && definition["spec"]["group"] == group;
            if other && !holds(&definition, "NamesAccepted") {
                waiting.push(entry.object.name().to_owned());
            }
        }
        waiting
    }

    async fn unserve(
        &mut self,
        server: &Arc<Server>,
        cache: &crate::cache::Cache,
        name: &str,
    ) -> Vec<String> {
        let Some(made) = self.made.remove(name) else { return Vec::new() };
        server.serve_custom(name, Vec::new());
        let (group, plural) = &made.cache.storage;
        server.caches.take_away(group, plural);
        Self::waiting(cache, group, name)
    }

    async fn sync(
        &mut self,
        server: &Arc<Server>,
        cache: &crate::cache::Cache,
        definition: Value,
    ) -> Result<Vec<String>, Status> {
        let name = name(&definition);
        let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let mut taken = Taken::default();
        for entry in cache.snapshot().objects.values() {
            if entry.object.name() != name && entry.object.name().ends_with(&group) {
                let other = entry.object.to_value().unwrap_or_default();
                if other["spec"]["group"] == *group {
                    taken.add(&other);
                }
            }
        }
        let now = format_time(server.config.clock.now());
        let mut settled = definition.clone();
        conditions::settle(&mut settled, &taken, &now);
        let mut freed = Vec::new();
        if holds(&settled, "Established") {
            self.serve(server, &settled).await?;
        }
        if settled["status"] != definition["status"] {
            change(server, &name, &mut |definition| conditions::settle(definition, &taken, &now)).await?;
            if settled["status"]["acceptedNames"] != definition["status"]["acceptedNames"] {
                freed = Self::waiting(cache, &group, &name);
            }
        }
        let finalizers = definition["metadata"]["finalizers"].as_array().into_iter().flatten();
        let deleting = definition["metadata"]["deletionTimestamp"].is_string();
        if deleting
            && finalizers.into_iter().any(|one| one == FINALIZER)
            && self.cleaning.lock().insert(name.clone())
        {
            let stored = self.made.get(&name).map(|made| made.stored.clone());
            tokio::spawn(cleanup::run(self.server.clone(), name, stored, self.cleaning.clone()));
        }
        Ok(freed)
    }

    /// Puts what a definition defines into the index.
    async fn serve(&mut self, server: &Arc<Server>, definition: &Value) -> Result<(), Status> {
        let name = name(definition);
        let before = self.made.get(&name);
        let terminating = definition["metadata"]["deletionTimestamp"].is_string();
        if before
            .is_some_and(|one| one.essence == rows::essence(definition) && one.terminating == terminating)
        {
            return Ok(());
        }
        let started = Instant::now();
        let made = rows::make(&server.caches, definition, before).map_err(Status::internal)?;
        let Some(made) = made else { return Ok(()) };
        if made.stored.ruled {
            server.metrics.expressions.compilation.observe(started.elapsed().as_secs_f64());
        }
        if before.is_none_or(|before| !Arc::ptr_eq(&before.cache, &made.cache)) {
            let (done, installed) = oneshot::channel();
            let command = Command::Install(made.cache.clone(), done);
            let stopping = || Status::unavailable("the server is stopping");
            self.commands.send(command).await.map_err(|_| stopping())?;
            installed.await.map_err(|_| stopping())?.map_err(store_failed)?;
        }
        server.serve_custom(&name, made.served.clone());
        self.made.insert(name, made);
        Ok(())
    }
}

/// Changes a definition's status or finalizers on behalf of the server.
///
/// # Errors
/// As the API gives them.
async fn change(
    server: &Arc<Server>,
    name: &str,
    edit: &mut (dyn FnMut(&mut Value) + Send),
) -> Result<Updated, Status> {
    own_status(server, [GROUP, RESOURCE], name, crate::write::SERVER, edit).await
}
