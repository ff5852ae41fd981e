//! A cache of the objects of one resource, kept by list and watch.
//!
//! Invariants: an object costs its bytes and its metadata index, never a decoded tree; a reader sees one
//! state of the whole cache; handlers see every change exactly once, in order, after readers can see it,
//! and are meant to enqueue keys, nothing more. Answers to client-go's reflector and shared informer.

mod reflector;
mod store;
#[cfg(test)]
mod tests;

use crate::api::Client;
use gifee_base::{FieldSelector, Gvr, LabelSelector, Object, ObjectKey};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
pub use reflector::{Sink, follow};
use std::sync::Arc;
use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Which objects a cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The resource.
    pub gvr: Gvr,
    /// Only this namespace, unless empty.
    pub namespace: String,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Only objects with these field values.
    pub fields: FieldSelector,
    /// Only metadata.
    pub metadata_only: bool,
}

impl Scope {
    /// All objects of a resource.
    pub fn all(gvr: Gvr) -> Self {
        Self {
            gvr,
            namespace: String::new(),
            labels: LabelSelector::everything(),
            fields: FieldSelector::everything(),
            metadata_only: false,
        }
    }

    /// Only the metadata of all objects of a resource.
    pub fn metadata(gvr: Gvr) -> Self {
        Self { metadata_only: true, ..Self::all(gvr) }
    }
}

/// Calls back with each value that an object is found under.
pub type Values = fn(&Object, &mut dyn FnMut(&str));

/// A way to find objects: under each of the values that a function gives for an object.
#[derive(Clone, Copy)]
pub struct Index {
    /// Name, unique within a cache.
    pub name: &'static str,
    /// Must depend on the object alone.
    pub values: Values,
}

/// Objects by the UID of each of their owners.
pub const BY_OWNER: Index =
    Index { name: "owner", values: |object, add| object.owners().for_each(|owner| add(owner.uid)) };

/// What happened to one object; at least one side is there.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The state before; for a deletion the last one.
    pub old: Option<&'a Arc<Object>>,
    /// The state now; none after a deletion.
    pub new: Option<&'a Arc<Object>>,
}

impl<'a> Change<'a> {
    /// The state now, or the last one.
    pub fn object(&self) -> &'a Arc<Object> {
        self.new.or(self.old).expect("a change has a side")
    }

    /// Both states that there are.
    pub fn sides(&self) -> impl Iterator<Item = &'a Arc<Object>> {
        self.old.into_iter().chain(self.new)
    }
}

/// Before and after.
type Sides = (Option<Arc<Object>>, Option<Arc<Object>>);

type Handler = Box<dyn Fn(&Change<'_>) + Send + Sync>;

/// How far a cache has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: bool,
    revision: u64,
}

/// A cache of objects.
pub struct Cache {
    scope: Scope,
    store: RwLock<Store>,
    /// Held while a change is applied and told, so that a handler that comes late misses nothing.
    handlers: Mutex<Vec<Handler>>,
    progress: Mutex<Progress>,
    /// Who waits for it, told in the order of their coming.
    moved: Notify,
}

impl Cache {
    /// An empty cache that nothing fills but its methods; for tests and for states of one's own.
    pub fn detached(scope: Scope) -> Arc<Self> {
        Arc::new(Self {
            scope,
            store: RwLock::new(Store::default()),
            handlers: Mutex::new(Vec::new()),
            progress: Mutex::default(),
            moved: Notify::new(),
        })
    }

    /// A cache that a task of its own keeps until the shutdown. Add indexes and handlers at any time.
    pub fn start(client: Client, scope: Scope, shutdown: CancellationToken) -> Arc<Self> {
        let cache = Self::detached(scope);
        tokio::spawn(follow(client, cache.scope.clone(), cache.clone(), shutdown));
        cache
    }

    /// Which objects it holds.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Adds an index, unless there is one of its name.
    pub fn add_index(&self, index: Index) {
        self.store.write().add_index(index);
    }

    /// Calls `handler` for every object that is there, then for every change. It must not block, and must
    /// not subscribe.
    pub fn subscribe(&self, handler: impl Fn(&Change<'_>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        let present: Vec<_> = self.store.read().all().cloned().collect();
        for object in &present {
            handler(&Change { old: None, new: Some(object) });
        }
        handlers.push(Box::new(handler));
    }

    /// A consistent view; the cache does not change while it is held, so do not hold it for long.
    pub fn read(&self) -> Snapshot<'_> {
        Snapshot { store: self.store.read() }
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.read().get(&key.namespace, &key.name).cloned()
    }

    /// The resource version up to which all changes are in.
    pub fn revision(&self) -> u64 {
        self.progress.lock().revision
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        self.progress.lock().synced
    }

    /// Waits until the first list is in.
    pub async fn synced(&self) {
        self.wait(|progress| progress.synced).await;
    }

    /// Waits until all changes up to a resource version are in.
    pub async fn reached(&self, revision: u64) {
        self.wait(|progress| progress.synced && progress.revision >= revision).await;
    }

    async fn wait(&self, far_enough: impl Fn(&Progress) -> bool) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // It counts as waiting before it looks, so that no move is missed.
            moved.as_mut().enable();
            if far_enough(&self.progress.lock()) {
                return;
            }
            moved.await;
        }
    }

    /// Puts an object in, replacing an older state.
    pub fn apply(&self, object: Object) {
        let handlers = self.handlers.lock();
        let revision = object.revision();
        let object = Arc::new(object);
        let old = self.store.write().insert(object.clone());
        self.advance(revision);
        tell(&handlers, &Change { old: old.as_ref(), new: Some(&object) });
    }

    /// Takes an object out; `last` is its last state.
    pub fn remove(&self, last: Object) {
        let handlers = self.handlers.lock();
        let revision = last.revision();
        let last = Arc::new(last);
        let old = self.store.write().remove(&last);
        self.advance(revision);
        if old.is_some() {
            tell(&handlers, &Change { old: Some(&last), new: None });
        }
    }

    /// Replaces everything by a list read at a resource version, telling only the differences.
    pub fn replace(&self, objects: Vec<Object>, revision: u64) {
        let handlers = self.handlers.lock();
        let mut changes: Vec<Sides> = Vec::new();
        {
            let mut store = self.store.write();
            let mut fresh = Store::like(&store);
            for object in objects {
                match store.get(object.namespace(), object.name()) {
                    Some(old) if old.revision() == object.revision() && old.uid() == object.uid() => {
                        let old = old.clone();
                        fresh.insert(old);
                    }
                    old => {
                        let object = Arc::new(object);
                        changes.push((old.cloned(), Some(object.clone())));
                        fresh.insert(object);
                    }
                }
            }
            for old in store.all() {
                if fresh.get(old.namespace(), old.name()).is_none() {
                    changes.push((Some(old.clone()), None));
                }
            }
            *store = fresh;
        }
        *self.progress.lock() = Progress { synced: true, revision };
        self.moved.notify_waiters();
        for (old, new) in &changes {
            tell(&handlers, &Change { old: old.as_ref(), new: new.as_ref() });
        }
    }

    /// Notes that all changes up to a resource version are in.
    fn advance(&self, revision: u64) {
        {
            let mut progress = self.progress.lock();
            if revision <= progress.revision {
                return;
            }
            progress.revision = revision;
        }
        self.moved.notify_waiters();
    }
}

fn tell(handlers: &[Handler], change: &Change<'_>) {
    for handler in handlers {
        handler(change);
    }
}

/// A view of a cache at one moment.
pub struct Snapshot<'a> {
    store: RwLockReadGuard<'a, Store>,
}

impl<'a> Snapshot<'a> {
    /// One object; the namespace is empty for cluster scope.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.store.get(namespace, name)
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.store.all()
    }

    /// The objects of a namespace, by name.
    pub fn namespace<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Arc<Object>> {
        self.store.namespace(namespace)
    }

    /// The objects that an index has under a value, by namespace and name. An index that was never added
    /// has none.
    pub fn indexed<'s>(
        &'s self,
        index: &Index,
        value: &str,
    ) -> impl Iterator<Item = &'s Arc<Object>> + use<'s, 'a> {
        self.store.indexed(index, value)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
