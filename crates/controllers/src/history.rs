//! Keeps the ControllerRevisions of an owner: one per template that it ever had, up to a limit.
//!
//! Invariant: a revision is found by its content, so that a crash between making one and using it, or a
//! cache that lags, never makes two. Answers to upstream's `history.Interface`.

use crate::pods::Control;
use gifee_base::{Gvk, Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, PatchKind, Queue, Scope};
use gifee_reconcile::owner::{self, Claims};
use gifee_reconcile::rollout::revision::{self, Revision};
use gifee_reconcile::{BY_CONTROLLER, Context, Error, Expectations, Result, patch};
use serde_json::{Value, json};
use std::sync::Arc;

/// The label of a pod, and of a DaemonSet's revision, that says which revision it is of.
pub(crate) const REVISION_HASH: &str = "controller-revision-hash";

fn resource() -> Gvr {
    Gvr::new("apps", "v1", "controllerrevisions")
}

/// The revisions of one kind of owner.
pub(crate) struct History {
    context: Context,
    cache: Arc<Cache>,
    pub(crate) expected: Expectations,
    owners: Gvr,
    kind: Gvk,
    /// The label of a revision with its hash.
    hash_label: &'static str,
}

/// The revision that an owner wants now.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    /// Its name.
    pub(crate) name: String,
    /// Its hash.
    pub(crate) hash: String,
    /// How often a name was found taken.
    pub(crate) collisions: i64,
    /// Others with the same content, which are not needed.
    pub(crate) duplicates: Vec<Revision>,
}

impl History {
    pub(crate) fn new(context: &Context, owners: Gvr, kind: Gvk, hash_label: &'static str) -> Self {
        let cache = context.caches.scope(Scope::all(resource()));
        cache.add_index(BY_CONTROLLER);
        let expected = Expectations::new(cache.clone());
        Self { context: context.clone(), cache, expected, owners, kind, hash_label }
    }

    pub(crate) async fn synced(&self) {
        self.cache.synced().await;
    }

    /// Brings the owner of a changed revision; of an orphan, all owners of its namespace. One that somebody
    /// else makes for an owner is nothing to it until it looks again, so that both can be seen, as upstream.
    pub(crate) fn listen(self: &Arc<Self>, owners: &Arc<Cache>, queue: &Arc<Queue<ObjectKey>>) {
        let (this, owners, queue) = (self.clone(), owners.clone(), queue.clone());
        self.cache.subscribe(move |change: &Change<'_>| {
            for one in change.sides() {
                match one.controller() {
                    Some(owner) if *owner.kind == *this.kind.kind => {
                        let key = ObjectKey::new(one.namespace(), owner.name);
                        if change.old.is_some() || this.expected.waits(&key) {
                            queue.add(key);
                        }
                    }
                    Some(_) => {}
                    None => {
                        for owner in owners.read().namespace(one.namespace()) {
                            queue.add(owner.key());
                        }
                    }
                }
            }
        });
    }

    /// The owner's revisions, those to be adopted among them, oldest first.
    pub(crate) fn observe(
        &self,
        owner: &Object,
        selector: &LabelSelector,
    ) -> Result<(Claims, Vec<Revision>)> {
        let cache = self.cache.read();
        let orphans = format!("/{}", owner.namespace());
        let candidates =
            cache.indexed(&BY_CONTROLLER, owner.uid()).chain(cache.indexed(&BY_CONTROLLER, &orphans));
        let claims = owner::claim(candidates, owner.uid(), owner.deleting(), selector);
        let all = claims.owned.iter().chain(&claims.adopt);
        let mut revisions = all.map(Revision::read).collect::<Result<Vec<_>>>()?;
        revisions.sort_by_cached_key(revision::order);
        Ok((claims, revisions))
    }

    pub(crate) async fn claim(&self, owner: &Object, claims: &Claims) -> Result<()> {
        let (context, kind) = (&self.context, self.kind.clone());
        let lists = (claims.adopt.as_slice(), claims.release.as_slice());
        let control = Control { context, owner, kind, expected: &self.expected };
        control.claim_any(&resource(), &self.owners, lists, None).await
    }

    pub(crate) fn hash_of(&self, revision: &Object) -> String {
        revision.label(self.hash_label).unwrap_or(revision.name()).to_owned()
    }

    /// Finds the revision of the owner's template, gives it the last number, or makes it.
    pub(crate) async fn ensure(
        &self,
        owner: &Object,
        tree: &Value,
        revisions: &[Revision],
    ) -> Result<Current> {
        let data = revision::data(&tree["spec"]["template"]);
        let collisions = tree["status"]["collisionCount"].as_i64().unwrap_or_default();
        let decision = revision::decide(revisions, &data);
        let Some(keep) = decision.keep.and_then(|at| revisions.get(at)) else {
            return self.create(owner, tree, data, (decision.number, collisions)).await;
        };
        if keep.number < decision.number {
            let change = patch::pinned(&keep.object, json!({ "revision": decision.number }));
            let client = &self.context.client;
            // Adoption may have moved it on; then the next try knows.
            let object = client.patch(&resource(), &keep.object.key(), PatchKind::Merge, change).await?;
            self.expected.wrote(&owner.key(), object.revision());
        }
        Ok(Current {
            name: keep.object.name().to_owned(),
            hash: self.hash_of(&keep.object),
            collisions,
            duplicates: decision.duplicates.iter().map(|at| revisions[*at].clone()).collect(),
        })
    }

    async fn create(
        &self,
        owner: &Object,
        tree: &Value,
        data: Value,
        (number, mut collisions): (i64, i64),
    ) -> Result<Current> {
        let client = &self.context.client;
        loop {
            let hash = revision::hash(&data, collisions);
            let name = revision::name(owner.name(), &hash);
            let body = self.body(owner, tree, (&name, &hash), json!({ "data": data, "revision": number }));
            let current = Current { name: name.clone(), hash, collisions, duplicates: Vec::new() };
            match client.create(&resource(), owner.namespace(), &body).await {
                Ok(object) => {
                    self.expected.wrote(&owner.key(), object.revision());
                    return Ok(current);
                }
                Err(error) if error.is_already_exists() => {
                    // Either the very revision, which the cache did not show yet, or another.
                    let taken = client.get(&resource(), &ObjectKey::new(owner.namespace(), &name)).await?;
                    let taken = Arc::new(taken);
                    self.expected.wrote(&owner.key(), taken.revision());
                    if owner::controls(owner.uid(), &taken) && Revision::read(&taken)?.data == data {
                        return Ok(current);
                    }
                    collisions += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn body(&self, owner: &Object, tree: &Value, (name, hash): (&str, &str), mut body: Value) -> Value {
        let mut metadata = json!({
            "name": name, "namespace": owner.namespace(),
            "ownerReferences": [owner::controller_reference(owner, &self.kind)],
        });
        metadata["labels"] = tree["spec"]["template"]["metadata"]["labels"].clone();
        metadata["labels"][self.hash_label] = hash.into();
        if !tree["metadata"]["annotations"].is_null() {
            metadata["annotations"] = tree["metadata"]["annotations"].clone();
        }
        body["apiVersion"] = "apps/v1".into();
        body["kind"] = "ControllerRevision".into();
        body["metadata"] = metadata;
        body
    }

    pub(crate) async fn delete(&self, owner: &Object, revisions: &[Arc<Object>]) -> Result<()> {
        let key = owner.key();
        for one in revisions {
            self.expected.deleting(&key, &one.key(), one.uid());
            let options = DeleteOptions::of_uid(one.uid());
            match self.context.client.delete(&resource(), &one.key(), &options).await {
                Err(error) if !error.is_not_found() => {
                    self.expected.kept(&key, one.uid());
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The selector of an owner.
///
/// # Errors
/// If it cannot be understood.
pub(crate) fn selector(owner: &Object, tree: &Value) -> Result<LabelSelector> {
    LabelSelector::from_value(&tree["spec"]["selector"])
        .map_err(|why| Error::invalid(owner.key(), format!("selector: {why}")))
}
