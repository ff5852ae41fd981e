//! Mutating webhooks: one after the other, and again those that want it if somebody changed the object after them.
//!
//! Answers to upstream's `webhook/mutating` and to the reinvocation of the admission chain.

use super::call::{Failure, call, converted};
use super::index::Index;
use super::matching::{Invocation, Subject};
use super::{annotate, condition};
use crate::metrics::{Plugin, Waited};
use crate::seam::Operation;
use crate::write::{Lent, Write};
use gifee_base::Status;
use gifee_schema::{check, patch};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is known of the calls of a request so far.
#[derive(Default)]
struct Calls {
    /// Webhooks that were called and want to be called again.
    previous: BTreeSet<usize>,
    /// Those that are to be.
    again: BTreeSet<usize>,
    /// Whether this is the second round.
    second: bool,
    /// Whether a webhook changed the object.
    changed: bool,
}

impl Calls {
    fn require(&mut self) {
        self.again.append(&mut self.previous);
    }
}

/// Asks the mutating webhooks that want a write.
///
/// # Errors
/// The refusal, or 500 if one cannot be asked whose failure counts.
pub async fn mutate(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if !write.admitted {
        return Ok(());
    }
    let Some(index) = write.server.webhooks.mutating.wanted(write.resource.name(), operation) else {
        return Ok(());
    };
    let mut lent = Lent::new(write, object, old);
    let asked = Box::pin(rounds(write, &index, operation, &mut lent.object, lent.old.as_deref()));
    let outcome = write.measured(Plugin::MutatingWebhook, operation, asked).await;
    lent.give_back(write, object);
    outcome
}

async fn rounds(
    write: &Write<'_>,
    index: &Index,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let namespace = object["metadata"]["namespace"].clone();
    let mut calls = Calls::default();
    round(write, index, operation, object, old, &mut calls).await?;
    if calls.changed {
        let left = object.clone();
        if write.subresource != "scale" {
            write.admit(operation, object, old, true).await?;
        }
        if *object != left {
            calls.require();
        }
        calls.second = true;
        round(write, index, operation, object, old, &mut calls).await?;
    }
    if object["metadata"]["namespace"] != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    Ok(())
}

async fn round(
    write: &Write<'_>,
    index: &Index,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    calls: &mut Calls,
) -> Result<(), Status> {
    let subject = Subject::new(write, operation, object, old);
    if subject.is_exempt() {
        return Ok(());
    }
    for (position, hook) in index.hooks.iter().enumerate() {
        let Some(invocation) = subject.invocation(hook, object)? else { continue };
        if !condition::holds(&subject, &invocation, true, object).await?
            || calls.second && !calls.again.contains(&position)
        {
            continue;
        }
        let place = (usize::from(calls.second), position);
        let outcome = one(&subject, &invocation, object, place).await;
        annotate::mutated(hook, place, matches!(outcome, Ok(true)));
        if matches!(outcome, Ok(true)) {
            calls.require();
            calls.changed = true;
        }
        if hook.reinvoked {
            calls.previous.insert(position);
        }
        match outcome {
            Ok(_) => {}
            Err(Failure::Calling(why)) if hook.ignores_failure => {
                annotate::failed_open(hook, "mutation", place);
                tracing::warn!(configuration = hook.configuration, webhook = hook.name, %why, "a webhook could not be called, and is passed over");
            }
            Err(failure) => return Err(failure.status(&hook.name)),
        }
    }
    Ok(())
}

/// Asks one webhook and applies its patch; whether the object changed.
async fn one(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
    object: &mut Value,
    place: (usize, usize),
) -> Result<bool, Failure> {
    let (own, other, gvk) = (subject.write.resource, &invocation.resource, &invocation.gvk);
    let outbound = &subject.write.server.outbound;
    let old = subject.old.unwrap_or(&Value::Null);
    let shown = converted(outbound, (own, other), gvk, object).await.map_err(Failure::Refused)?;
    let old = converted(outbound, (own, other), gvk, old).await.map_err(Failure::Refused)?;
    let waits = subject.write.waited.map(Waited::wait);
    let decision = call(subject, invocation, true, &shown, &old).await?;
    drop(waits);
    let Some(patch) = decision.patch else { return Ok(false) };
    let patch: Value = serde_json::from_slice(&patch).map_err(|error| {
        Failure::Calling(format!("received undecodable patch in webhook response: {error}"))
    })?;
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    if object.is_null() {
        let hook = &invocation.hook.name;
        return Err(Failure::Refused(Status::internal(format!(
            "admission webhook {hook:?} attempted to modify the object, which is not supported for this operation"
        ))));
    }
    let internal = |error: gifee_schema::Error| Failure::Refused(Status::internal(error));
    let mut new = patch::json(shown.into_owned(), &patch).map_err(internal)?;
    if !new["metadata"].is_object() && object["metadata"].is_object() {
        return Err(Failure::Refused(Status::internal("the patch leaves no metadata")));
    }
    new["kind"] = (&*gvk.kind).into();
    new["apiVersion"] = gvk.api_version().into();
    let mut new =
        converted(outbound, (other, own), &subject.gvk, &new).await.map_err(Failure::Refused)?.into_owned();
    settle(subject, &mut new).map_err(internal)?;
    annotate::patched(invocation.hook, place, &patch);
    let changed = new != *object;
    *object = new;
    Ok(changed)
}

/// Drops what the kind does not have, and completes what it has: a patch is no body of a client.
pub(crate) fn settle(subject: &Subject<'_>, object: &mut Value) -> Result<(), gifee_schema::Error> {
    let write = subject.write;
    if subject.gvk == write.resource.kind.gvk {
        if let Some(schema) = &write.resource.schema {
            check::check(schema, object)?;
        }
        write.default(object);
    } else if let Some(schema) = (write.server.config.schemas)(&subject.gvk) {
        check::check(&schema, object)?;
    }
    Ok(())
}
