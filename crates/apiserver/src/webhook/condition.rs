//! Match conditions of a webhook: whether it is to be called about a request that its rules match.
//!
//! Invariant: a webhook without conditions costs one look at an empty list. Answers to apiserver's
//! `webhook/matchconditions`.

use super::call::converted;
use super::matching::{Invocation, Subject};
use crate::policies::ask::{self, Asker};
use gifee_base::Status;
use gifee_policy::policies::hold;
use serde_json::Value;
use std::time::Instant;

/// Whether all conditions of a webhook hold.
///
/// # Errors
/// 403 if they cannot be evaluated and the webhook's failures count.
pub async fn holds(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
    mutating: bool,
    object: &Value,
) -> Result<bool, Status> {
    let hook = invocation.hook;
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let own = subject.write.resource;
    let (outbound, versions) = (&subject.write.server.outbound, (&**own, &*invocation.resource));
    let shown = converted(outbound, versions, &invocation.gvk, object).await?;
    let old = subject.old.unwrap_or(&Value::Null);
    let old = converted(outbound, versions, &invocation.gvk, old).await?;
    let started = Instant::now();
    let asker = Asker::new(subject);
    let request = ask::request(subject, own, &invocation.gvk);
    let outcome = asker
        .asked(|| {
            let input = asker.input((&shown, &old), &Value::Null, &request, &Value::Null);
            hold(&hook.conditions, hook.ignores_failure, &input)
        })
        .await;
    let metrics = &subject.write.server.metrics.admission;
    let holds = outcome.as_ref().ok().copied();
    metrics.conditions(&hook.name, mutating, subject.operation, holds, started.elapsed());
    outcome.map_err(|why| Status::forbidden(own.group(), own.name(), &subject.name, &why))
}
