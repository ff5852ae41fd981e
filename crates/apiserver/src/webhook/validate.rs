//! Validating webhooks: all at once, after everything else has accepted the object.
//!
//! Answers to upstream's `webhook/validating`.

use super::call::{Failure, call, converted};
use super::index::Index;
use super::matching::{Invocation, Subject};
use crate::seam::Operation;
use crate::write::Write;
use futures_util::future::join_all;
use gifee_base::Status;
use serde_json::Value;

/// Asks the validating webhooks that want a write.
///
/// # Errors
/// The first refusal, or 500 if one cannot be asked whose failure counts.
pub async fn validate(
    write: &Write<'_>,
    operation: Operation,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if !write.admitted {
        return Ok(());
    }
    let Some(index) = write.server.webhooks.validating.wanted(write.resource.name(), operation) else {
        return Ok(());
    };
    let Some(scale) = super::mutate::scale(write, object) else {
        let (object, old) = (crate::write::unfolded(object), old.map(crate::write::unfolded));
        return Box::pin(all(write, &index, operation, &object, old.as_deref())).await;
    };
    let old = old.and_then(|old| crate::write::shown(write.resource, old));
    Box::pin(all(write, &index, operation, &scale, old.as_ref())).await
}

async fn all(
    write: &Write<'_>,
    index: &Index,
    operation: Operation,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let subject = Subject::new(write, operation, object, old);
    if subject.is_exempt() {
        return Ok(());
    }
    let mut invocations = Vec::new();
    for hook in &index.hooks {
        invocations.extend(subject.invocation(hook, object)?);
    }
    let outcomes = join_all(invocations.iter().map(|invocation| one(&subject, invocation, object))).await;
    outcomes.into_iter().collect()
}

async fn one(subject: &Subject<'_>, invocation: &Invocation<'_>, object: &Value) -> Result<(), Status> {
    let (own, other, gvk) = (subject.write.resource, &invocation.resource, &invocation.gvk);
    let shown = converted(own, other, gvk, object)?;
    let old = converted(own, other, gvk, subject.old.unwrap_or(&Value::Null))?;
    let hook = invocation.hook;
    match call(subject, invocation, false, &shown, &old).await {
        Ok(_) => Ok(()),
        Err(Failure::Calling(why)) if hook.ignores_failure => {
            tracing::warn!(configuration = hook.configuration, webhook = hook.name, %why, "a webhook could not be called, and is passed over");
            Ok(())
        }
        Err(failure) => Err(failure.status(&hook.name)),
    }
}
