//! The API server's admission: the RULES of `policy`.

use gifee_apiserver::seam::{Admission, Operation, Review};
use gifee_base::{ObjectKey, Status};
use gifee_policy::admission::{Chain, Charge, Notes, Request};
use gifee_policy::authorize::Authorizer;
use gifee_policy::{Lookup, admission};
use serde_json::Value;
use std::sync::Arc;

/// Admission by RULES.
pub struct Rules {
    chain: Chain,
    authorizer: Arc<Authorizer>,
}

impl Rules {
    /// With the rules that are on by default; some of them ask for further rights of the user.
    pub fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { chain: Chain::default(), authorizer }
    }

    fn ask<T>(
        &self,
        review: &mut Review<'_>,
        ask: impl FnOnce(&Request<'_>, &mut Value) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let attributes = review.attributes;
        let notes = Notes::default();
        let request = Request {
            operation: match review.operation {
                Operation::Create => admission::Operation::Create,
                Operation::Update => admission::Operation::Update,
                Operation::Delete => admission::Operation::Delete,
                Operation::Connect => admission::Operation::Connect,
            },
            gvk: review.gvk,
            resource: &attributes.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            user: &attributes.user,
            old: review.old,
            dry_run: review.dry_run,
            options: review.options,
            permits: &*self.authorizer,
            notes: &notes,
        };
        let outcome = ask(&request, review.object);
        review.warnings.extend(notes.warnings.into_inner());
        for (key, value) in notes.annotations.into_inner() {
            gifee_apiserver::audit::annotate(&key, &value);
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
