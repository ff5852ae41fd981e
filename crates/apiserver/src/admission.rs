//! The built-in half of admission: the RULES of `policy`, asked about what the pipeline has before it.
//!
//! Answers to upstream's chain of compiled-in admission plugins.

use crate::audit;
use crate::seam::{Admission, Review};
use gifee_base::{ObjectKey, Status};
use gifee_policy::Lookup;
use gifee_policy::admission::{Chain, Charge, Notes, Permits, Request};
use serde_json::Value;
use std::sync::Arc;

/// Admission by RULES.
pub struct Rules {
    chain: Chain,
    permits: Arc<dyn Permits>,
}

impl Rules {
    /// With the rules that are on by default; some of them ask `permits` for further rights of the user.
    pub fn new(permits: Arc<dyn Permits>) -> Self {
        Self { chain: Chain::default(), permits }
    }

    fn ask<T>(
        &self,
        review: &mut Review<'_>,
        ask: impl FnOnce(&Request<'_>, &mut Value) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let attributes = review.attributes;
        let notes = Notes::default();
        let request = Request {
            operation: review.operation,
            gvk: review.gvk,
            resource: &attributes.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            user: &attributes.user,
            old: review.old,
            dry_run: review.dry_run,
            options: review.options,
            permits: &*self.permits,
            notes: &notes,
        };
        let outcome = ask(&request, review.object);
        review.warnings.extend(notes.warnings.into_inner());
        for (key, value) in notes.annotations.into_inner() {
            audit::annotate(&key, &value);
        }
        outcome
    }
}

#[async_trait::async_trait]
impl Admission for Rules {
    async fn mutate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        self.ask(review, |request, object| self.chain.mutate(request, object, lookup))
    }

    async fn validate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        self.ask(review, |request, object| self.chain.validate(request, object, lookup))
    }

    fn charge(
        &self,
        review: &mut Review<'_>,
        lookup: &dyn Lookup,
        only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        self.ask(review, |request, object| self.chain.charge(request, object, lookup, only))
    }
}
