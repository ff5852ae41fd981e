//! What a write is counted by is committed before the write itself, at the revision it was decided on.
//!
//! Invariant: two writes are never granted the same rest of a quota: writes of a namespace that are counted come
//! one after the other, and whoever else changes the quota makes the commit fail, upon which it is decided
//! anew. A write that fails afterwards has been counted; the quota controller finds that when it counts again.
//! Answers to the retries of apiserver's `resourcequota` plugin.

use super::{Operation, Write, metadata, update_object};
use crate::cluster::own_attributes;
use gifee_base::{ObjectKey, Reason, Status};
use gifee_policy::admission::Charge;
use parking_lot::Mutex;
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::{Mutex as Turn, MutexGuard};

/// How often a decision is made anew because a quota changed meanwhile.
const ATTEMPTS: usize = 16;
/// Namespaces that share a turn by chance wait for each other.
const TURNS: usize = 64;

/// Whose turn it is to be counted, by namespace.
pub struct Turns {
    turns: Vec<Turn<()>>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: (0..TURNS).map(|_| Turn::new(())).collect(), hasher: RandomState::new() }
    }
}

impl Turns {
    async fn take(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one(namespace);
        let index = usize::try_from(hash % TURNS as u64).unwrap_or_default();
        self.turns[index].lock().await
    }
}

impl Write<'_> {
    /// Counts an accepted write.
    ///
    /// # Errors
    /// The refusal, or a conflict if a quota changes all the time.
    pub(super) async fn charge(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        // Nearly every write is counted by nothing, and takes no turn to find that.
        if !self.admitted || self.charges(operation, object, old, &[])?.is_empty() || self.dry_run {
            return Ok(());
        }
        Box::pin(self.charge_in_turn(operation, object, old)).await
    }

    async fn charge_in_turn(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let _turn = self.server.turns.take(&self.attributes.namespace).await;
        let mut only = Vec::new();
        for _ in 0..ATTEMPTS {
            let charges = self.charges(operation, object, old, &only)?;
            only.clear();
            for charge in charges {
                match self.commit_charge(&charge).await {
                    Ok(()) => {}
                    // A quota that is gone limits nothing.
                    Err(status) if status.is(Reason::NotFound) => {}
                    Err(status) if status.is(Reason::Conflict) => only.push(charge.key),
                    Err(status) => return Err(status),
                }
            }
            if only.is_empty() {
                return Ok(());
            }
            self.server.caches.fresh().await?;
        }
        let name = only.first().map(|key| key.name.to_string()).unwrap_or_default();
        Err(Status::stale("", "resourcequotas", &name))
    }

    fn charges(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        let mut warnings = Vec::new();
        let mut review = self.review(operation, object, old, &mut warnings);
        self.server.config.admission.charge(&mut review, &*self.server.caches, only)
    }

    async fn commit_charge(&self, charge: &Charge) -> Result<(), Status> {
        let kinds = self.server.kinds.load_full();
        let quotas = kinds.preferred("", "resourcequotas").ok_or_else(Status::no_such_path)?;
        let attributes = own_attributes("update", "", "resourcequotas", &charge.key);
        let warnings = Mutex::default();
        let write = Write {
            subresource: "status",
            trusted: true,
            ..Write::own(self.server, quotas, &attributes, &warnings)
        };
        let mut edit = |quota: &Value| {
            let mut quota = quota.clone();
            quota["status"]["used"] = charge.used.clone();
            metadata::of(&mut quota).insert("resourceVersion".into(), charge.revision.to_string().into());
            Ok(quota)
        };
        update_object(&write, &charge.key.namespace, &charge.key.name, &mut edit, false).await.map(drop)
    }
}
