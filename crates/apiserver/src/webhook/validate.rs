//! Validating webhooks: all at once, after everything else has accepted the object.
//!
//! Answers to upstream's `webhook/validating`.

use super::call::{Failure, call, converted};
use super::index::Index;
use super::matching::{Invocation, Subject};
use super::{annotate, condition};
use futures_util::future::join_all;
use gifee_base::Status;
use serde_json::Value;

/// Asks the validating webhooks that want a write of a kind.
///
/// # Errors
/// The first refusal, or 500 if one cannot be asked whose failure counts.
pub async fn validate(subject: &Subject<'_>, index: &Index, object: &Value) -> Result<(), Status> {
    let mut invocations = Vec::new();
    for hook in &index.hooks {
        let Some(invocation) = subject.invocation(hook, object)? else { continue };
        if condition::holds(subject, &invocation, false, object).await? {
            invocations.push(invocation);
        }
    }
    let calls = invocations.iter().enumerate();
    let outcomes = join_all(calls.map(|(place, invocation)| one(subject, invocation, object, place))).await;
    outcomes.into_iter().collect()
}

async fn one(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
    object: &Value,
    place: usize,
) -> Result<(), Status> {
    let (own, other, gvk) = (subject.write.resource, &invocation.resource, &invocation.gvk);
    let outbound = &subject.write.server.outbound;
    let shown = converted(outbound, (own, other), gvk, object).await?;
    let old = converted(outbound, (own, other), gvk, subject.old.unwrap_or(&Value::Null)).await?;
    let hook = invocation.hook;
    match call(subject, invocation, false, &shown, &old).await {
        Ok(_) => Ok(()),
        Err(Failure::Calling(why)) if hook.ignores_failure => {
            annotate::failed_open(hook, "validating", (0, place));
            tracing::warn!(configuration = hook.configuration, webhook = hook.name, %why, "a webhook could not be called, and is passed over");
            Ok(())
        }
        Err(failure) => Err(failure.status(&hook.name)),
    }
}
