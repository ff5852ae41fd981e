//! Pods claimed, made and deleted in the name of an owner: growing batches, expectations, events.
//!
//! Invariant: what is written here is expected before the owner is planned on again. Answers to upstream's `PodControl`
//! and `PodControllerRefManager`.

use bytes::Bytes;
use futures_util::future::join_all;
use gifee_base::{Gvk, Gvr, Object};
use gifee_client::{DeleteOptions, Error as ClientError, PatchKind};
use gifee_reconcile::owner;
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{Context, Error, Expectations, Reference, Result};
use std::sync::Arc;

/// The first batch of creations; each that succeeds doubles it.
const FIRST_BATCH: usize = 1;

/// Whom to adopt, and whom to release.
pub(crate) type Lists<'a> = (&'a [Arc<Object>], &'a [Arc<Object>]);

/// Claims, makes and deletes the pods of one owner.
pub(crate) struct Control<'a> {
    pub(crate) context: &'a Context,
    pub(crate) owner: &'a Object,
    pub(crate) kind: Gvk,
    /// About pods, by the key of their owner.
    pub(crate) expected: &'a Expectations,
}

impl Control<'_> {
    /// Adopts and releases pods; with a finalizer that those who are adopted bear, and those who are released do not.
    pub(crate) async fn claim(&self, of: &Gvr, lists: Lists<'_>, finalizer: Option<&str>) -> Result<()> {
        self.claim_any(&Gvr::core("pods"), of, lists, finalizer).await
    }

    /// Adopts and releases dependents of any kind; only pods may come with a finalizer.
    pub(crate) async fn claim_any(
        &self,
        dependents: &Gvr,
        of: &Gvr,
        (adopt, release): Lists<'_>,
        finalizer: Option<&str>,
    ) -> Result<()> {
        let (client, key) = (&self.context.client, self.owner.key());
        if !adopt.is_empty() {
            // The cache may still show an owner that is gone, or another of its name.
            let live = client.get(of, &key).await?;
            if live.uid() != self.owner.uid() || live.deleting() {
                return Err(Error::invalid(&key, "it was deleted or replaced, and adopts nothing"));
            }
        }
        let reference = owner::controller_reference(self.owner, &self.kind);
        let adoptions = adopt.iter().map(|one| (one, true, owner::adopt_patch(one, reference.clone())));
        let releases = release.iter().map(|one| (one, false, owner::release_patch(one, self.owner.uid())));
        for (one, adopted, change) in adoptions.chain(releases) {
            let mut change = change?;
            if let Some(finalizer) = finalizer {
                let mut finalizers = Brief::read(one)?.finalizers;
                finalizers.retain(|one| one != finalizer);
                finalizers.extend(adopted.then(|| finalizer.to_owned()));
                change["metadata"]["finalizers"] = finalizers.into();
            }
            match client.patch(dependents, &one.key(), PatchKind::Merge, change).await {
                Ok(object) => self.expected.wrote(&key, object.revision()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Creates in growing batches, so that what fails for one reason does not fail hundreds of times. How many
    /// were made, and why the rest was not; nothing is wrong if the namespace is going away, and the owner with it.
    pub(crate) async fn create(&self, bodies: &[Bytes]) -> (usize, Result<()>) {
        let reference = Reference::new(self.owner, &self.kind);
        let (mut left, mut batch, mut made) = (bodies, FIRST_BATCH, 0);
        let mut outcome = Ok(());
        while !left.is_empty() && outcome.is_ok() {
            let (now, later) = left.split_at(batch.min(left.len()));
            for created in join_all(now.iter().map(|body| self.create_one(body.clone()))).await {
                match created {
                    Ok(name) => {
                        made += 1;
                        let message = format!("Created pod: {name}");
                        self.context.events.normal(reference.clone(), "SuccessfulCreate", message);
                    }
                    Err(error) if namespace_terminating(&error) => return (made, Ok(())),
                    Err(error) if outcome.is_ok() => {
                        let message = format!("Error creating: {error}");
                        self.context.events.warning(reference.clone(), "FailedCreate", message);
                        outcome = Err(error.into());
                    }
                    Err(_) => {}
                }
            }
            (left, batch) = (later, batch * 2);
        }
        (made, outcome)
    }

    async fn create_one(&self, body: Bytes) -> gifee_client::Result<String> {
        let created = self.context.client.create(&Gvr::core("pods"), self.owner.namespace(), body).await?;
        self.expected.wrote(&self.owner.key(), created.revision());
        Ok(created.name().to_owned())
    }

    /// Deletes a pod by UID; one that is gone is no failure.
    pub(crate) async fn delete(&self, pod: &Object) -> Result<(), ClientError> {
        let (events, reference) = (&self.context.events, Reference::new(self.owner, &self.kind));
        let outcome = self.remove(pod).await;
        match &outcome {
            Ok(true) => {
                events.normal(reference, "SuccessfulDelete", format!("Deleted pod: {}", pod.name()));
            }
            Ok(false) => {}
            Err(error) => events.warning(reference, "FailedDelete", format!("Error deleting: {error}")),
        }
        outcome.map(drop)
    }

    /// Deletes a pod by UID without an event; false if it was gone.
    pub(crate) async fn remove(&self, pod: &Object) -> Result<bool, ClientError> {
        let key = self.owner.key();
        self.expected.deleting(&key, &pod.key(), pod.uid());
        let options = DeleteOptions::of_uid(pod.uid());
        match self.context.client.delete(&Gvr::core("pods"), &pod.key(), &options).await {
            Ok(_) => Ok(true),
            Err(error) => {
                self.expected.kept(&key, pod.uid());
                if error.is_not_found() { Ok(false) } else { Err(error) }
            }
        }
    }
}

/// Makes calls in growing batches; what comes after a batch that failed is not made.
pub(crate) async fn batches<F: Future<Output = Result<()>>>(calls: Vec<F>) -> Result<()> {
    let (mut calls, mut size) = (calls.into_iter(), FIRST_BATCH);
    loop {
        let batch: Vec<F> = calls.by_ref().take(size).collect();
        if batch.is_empty() {
            return Ok(());
        }
        join_all(batch).await.into_iter().collect::<Result<()>>()?;
        size *= 2;
    }
}

/// Whether a creation was refused because its namespace is being deleted.
pub(crate) fn namespace_terminating(error: &ClientError) -> bool {
    let details = error.status().and_then(|status| status.details.as_deref());
    let causes = details.into_iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
