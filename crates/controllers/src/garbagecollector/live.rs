//! What the server itself says about objects, and the changes made to them.
//!
//! Invariant: nothing is deleted or changed whose UID and owner references are not the ones that the plan
//! was made on: every write carries UID and resource version.

use super::graph::{Claim, Finalizer, Uid, View};
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Client, DeleteOptions, PatchKind, Propagation};
use gifee_reconcile::{Error, Result};
use serde_json::{Value, json};

/// How often a write meets another writer before the object is put back.
const TRIES_MAXIMUM: u32 = 5;

/// An object to be changed.
pub struct Target<'a> {
    /// Calls the API.
    pub client: &'a Client,
    /// Its resource.
    pub gvr: &'a Gvr,
    /// Namespace and name.
    pub key: &'a ObjectKey,
    /// UID.
    pub uid: &'a str,
}

impl Target<'_> {
    /// Its metadata; none if it is gone, even if there is another of its name.
    pub async fn get(&self) -> Result<Option<Object>> {
        match self.client.get_metadata(self.gvr, self.key).await {
            Ok(live) => Ok((live.uid() == self.uid).then_some(live)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes its metadata; the change says what the metadata should be, none if they are right.
    async fn change(&self, change: impl Fn(&Value) -> Option<Value>) -> Result<Option<u64>> {
        let mut tries = 0;
        loop {
            let Some(live) = self.get().await? else { return Ok(None) };
            let tree = live.to_value().map_err(|error| Error::invalid(self.key, error))?;
            let Some(mut metadata) = change(&tree["metadata"]) else { return Ok(Some(live.revision())) };
            metadata["uid"] = self.uid.into();
            metadata["resourceVersion"] = live.revision().to_string().into();
            let patch = json!({ "metadata": metadata });
            tries += 1;
            match self.client.patch(self.gvr, self.key, PatchKind::Merge, patch).await {
                Ok(object) => return Ok(Some(object.revision())),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) if error.is_conflict() && tries < TRIES_MAXIMUM => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a finalizer away.
    pub async fn finish(&self, finalizer: Finalizer) -> Result<()> {
        let without = |metadata: &Value| {
            let all = metadata["finalizers"].as_array().cloned().unwrap_or_default();
            let rest: Vec<Value> = all.iter().filter(|one| **one != finalizer.as_str()).cloned().collect();
            (rest.len() < all.len()).then(|| json!({ "finalizers": rest }))
        };
        self.change(without).await.map(|_| ())
    }

    /// Takes the references to owners away.
    pub async fn release(&self, owners: &[Uid]) -> Result<()> {
        let without = |metadata: &Value| {
            let all = metadata["ownerReferences"].as_array().cloned().unwrap_or_default();
            let stays = |one: &&Value| !owners.iter().any(|uid| one["uid"] == **uid);
            let rest: Vec<Value> = all.iter().filter(stays).cloned().collect();
            let changed = rest.len() < all.len();
            let rest = if rest.is_empty() { Value::Null } else { rest.into() };
            changed.then(|| json!({ "ownerReferences": rest }))
        };
        self.change(without).await.map(|_| ())
    }

    /// Lets its owners go without it; the resource version after that.
    async fn unblock(&self) -> Result<Option<u64>> {
        let unblocked = |metadata: &Value| {
            let mut all = metadata["ownerReferences"].as_array().cloned().unwrap_or_default();
            let mut changed = false;
            for reference in all.iter_mut().filter(|one| one["blockOwnerDeletion"] == true) {
                reference["blockOwnerDeletion"] = false.into();
                changed = true;
            }
            changed.then(|| json!({ "ownerReferences": all }))
        };
        self.change(unblocked).await
    }

    /// Deletes it, provided that its owners are still those of the view.
    pub async fn delete(&self, view: &View, propagation: Propagation, unblock: bool) -> Result<()> {
        let mut revision = view.revision;
        if unblock {
            match self.unblock().await? {
                Some(later) => revision = later,
                None => return Ok(()),
            }
        }
        let mut tries = 0;
        loop {
            let options = DeleteOptions {
                resource_version: Some(revision.to_string()),
                propagation: Some(propagation),
                ..DeleteOptions::of_uid(self.uid)
            };
            tries += 1;
            let error = match self.client.delete(self.gvr, self.key, &options).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => error,
            };
            if !error.is_conflict() || tries == TRIES_MAXIMUM {
                return Err(error.into());
            }
            // Only what was decided on must not have changed.
            let Some(live) = self.get().await?.filter(|live| !live.deleting()) else { return Ok(()) };
            if !same_owners(view, &live) || Finalizer::of(&live) != view.finalizer {
                return Err(error.into());
            }
            revision = live.revision();
        }
    }
}

fn same_owners(view: &View, live: &Object) -> bool {
    let is = |((claim, _), owner): (&(Claim, bool), gifee_base::Owner<'_>)| {
        *claim.uid == *owner.uid
            && *claim.name == *owner.name
            && *claim.named.kind == *owner.kind
            && *claim.named.api_version == *owner.api_version
    };
    view.owners.len() == live.owners().count() && view.owners.iter().zip(live.owners()).all(is)
}
