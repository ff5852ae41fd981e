//! The API server's admission: the RULES of `policy`.

use gifee_apiserver::seam::{Admission, Operation, Review};
use gifee_base::Status;
use gifee_policy::{Lookup, admission};
use serde_json::Value;

/// Admission by RULES.
pub struct Rules;

fn request<'a>(review: &'a Review<'_>) -> admission::Request<'a> {
    let attributes = review.attributes;
    admission::Request {
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
    }
}

#[async_trait::async_trait]
impl Admission for Rules {
    async fn mutate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        let mut object = std::mem::replace(review.object, Value::Null);
        let outcome = admission::mutate(&request(review), &mut object, lookup);
        *review.object = object;
        outcome
    }

    async fn validate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        admission::validate(&request(review), review.object, lookup)
    }
}
