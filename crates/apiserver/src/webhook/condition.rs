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

/// Whether all conditions of a webhook hold.
///
/// # Errors
/// 403 if they cannot be evaluated and the webhook's failures count.
pub async fn holds(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
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
    let asker = Asker::new(subject);
    let request = ask::request(subject, own, &invocation.gvk);
    let outcome = asker
        .asked(|| {
            let input = asker.input((&shown, &old), &Value::Null, &request, &Value::Null);
            hold(&hook.conditions, hook.ignores_failure, &input)
        })
        .await;
    outcome.map_err(|why| Status::forbidden(own.group(), own.name(), &subject.name, &why))
}
