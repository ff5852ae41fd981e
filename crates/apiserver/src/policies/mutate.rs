//! MutatingAdmissionPolicies: one after the other, and again those that want it if somebody changed the object after
//! them. Answers to apiserver's `policy/mutating`.

use super::ask::{self, Asker};
use super::bound::{Binding, Bound};
use super::index::Index;
use super::params;
use crate::kinds::Resource;
use crate::metrics::Plugin;
use crate::seam::Operation;
use crate::webhook::call::converted;
use crate::webhook::matching::Subject;
use crate::write::{Lent, Write};
use gifee_base::{Cause, Gvk, Reason, Status};
use gifee_policy::policies::{Patch, matches, patch};
use gifee_schema::{Schema, apply};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// What is to be remembered after the first round, if a policy may have to be asked again.
pub struct Round {
    index: Arc<Index>,
    /// Policy, binding and set of parameters of those that were asked and want to be asked again.
    asked: BTreeSet<(usize, usize, usize)>,
    /// The object as the policies left it.
    left: Value,
    /// Whether a policy has changed the object after one of them.
    changed: bool,
}

/// Asks the policies that want a write. What it gives is to be handed to [`mutate_again`] after others have had
/// their turn.
///
/// # Errors
/// The refusal.
pub async fn mutate(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Round>, Status> {
    if !write.admitted || object.is_null() {
        return Ok(None);
    }
    let Some(index) = write.server.policies.mutating.wanted(write.resource.name(), operation) else {
        return Ok(None);
    };
    let mut round = Round { index, asked: BTreeSet::new(), left: Value::Null, changed: false };
    let before = object.clone();
    let asked = Box::pin(run(write, operation, object, old, &mut round, None));
    write.measured(Plugin::MutatingPolicy, operation, asked).await?;
    if *object != before && write.subresource != "scale" {
        // What is built in has its say about what policies made of the object.
        write.admit(operation, object, old, true).await?;
    }
    if round.asked.is_empty() {
        return Ok(None);
    }
    round.left = object.clone();
    Ok(Some(round))
}

/// Asks once more those that want it, if the object is not as they left it.
///
/// # Errors
/// The refusal.
pub async fn mutate_again(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    round: Option<Round>,
) -> Result<(), Status> {
    let Some(mut round) = round else { return Ok(()) };
    if !round.changed && *object == round.left {
        return Ok(());
    }
    let only = std::mem::take(&mut round.asked);
    Box::pin(run(write, operation, object, old, &mut round, Some(&only))).await
}

async fn run(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    round: &mut Round,
    only: Option<&BTreeSet<(usize, usize, usize)>>,
) -> Result<(), Status> {
    let mut lent = Lent::new(write, object, old);
    let outcome = all(write, operation, &mut lent.object, lent.old.as_deref(), round, only).await;
    lent.give_back(write, object);
    outcome
}

async fn all(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    round: &mut Round,
    only: Option<&BTreeSet<(usize, usize, usize)>>,
) -> Result<(), Status> {
    let subject = Subject::new(write, operation, object, old);
    if subject.is_exempt() {
        return Ok(());
    }
    let index = round.index.clone();
    let mut errors: Vec<(String, Option<Reason>)> = Vec::new();
    for (position, bound) in index.bound.iter().enumerate() {
        let invocation = Invocation { subject: &subject, bound };
        for (key, error) in invocation.run(object, round, position, only).await? {
            if !bound.policy.ignores_failure {
                errors.push((key, error));
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let resource = write.resource;
    let mut status = Status::forbidden(resource.group(), resource.name(), &subject.name, "");
    status.message.clone_from(&errors[0].0);
    if let Some(reason) = errors[0].1 {
        status.reason = reason;
    }
    if let Some(details) = &mut status.details {
        details.causes =
            errors.into_iter().map(|(message, _)| Cause { message, ..Cause::default() }).collect();
    }
    Err(status)
}

/// One policy and one request.
struct Invocation<'a> {
    subject: &'a Subject<'a>,
    bound: &'a Bound,
}

/// What went wrong, and the reason if there is one of its own.
type Wrong = Vec<(String, Option<Reason>)>;

impl Invocation<'_> {
    fn error(&self, binding: Option<&Binding>, why: &str) -> String {
        let policy = &self.bound.policy.name;
        match binding {
            Some(binding) => {
                format!("policy '{policy}' with binding '{}' denied request: {why}", binding.name)
            }
            None => format!("policy {policy:?} denied request: {why}"),
        }
    }

    fn misconfigured(&self, binding: Option<&Binding>, why: &str) -> (String, Option<Reason>) {
        let part = if binding.is_some() { "binding" } else { "policy" };
        (self.error(binding, &format!("failed to configure {part}: {why}")), None)
    }

    async fn run(
        &self,
        object: &mut Value,
        round: &mut Round,
        position: usize,
        only: Option<&BTreeSet<(usize, usize, usize)>>,
    ) -> Result<Wrong, Status> {
        let (resource, gvk) = match self.bound.target.matched(self.subject, object) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => return Ok(vec![self.misconfigured(None, &error.message)]),
        };
        let write = self.subject.write;
        let params = match params::resource(write, &self.bound.policy) {
            Ok(params) => params,
            Err(why) => return Ok(vec![self.misconfigured(None, &why)]),
        };
        let mut wrong = Vec::new();
        for (place, binding) in self.bound.bindings.iter().enumerate() {
            match binding.matches(self.subject, object) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    wrong.push(self.misconfigured(Some(binding), &error.message));
                    continue;
                }
            }
            let sets = match params::collect(write, params.as_ref(), binding, &self.subject.namespace) {
                Ok(sets) => sets,
                Err(why) => {
                    wrong.push(self.misconfigured(Some(binding), &why));
                    continue;
                }
            };
            for (number, set) in sets.iter().enumerate() {
                let key = (position, place, number);
                if only.is_some_and(|only| !only.contains(&key)) {
                    continue;
                }
                let before = object.clone();
                let asked = self.mutations(object, (&resource, &gvk), binding, set, &mut wrong).await?;
                round.changed |= *object != before && !round.asked.is_empty();
                if asked && self.bound.policy.reinvoked {
                    round.asked.insert(key);
                }
            }
        }
        Ok(wrong)
    }

    /// Runs all mutations in their order; whether the policy's conditions let it.
    async fn mutations(
        &self,
        object: &mut Value,
        (resource, gvk): (&Arc<Resource>, &Gvk),
        binding: &Binding,
        params: &Value,
        wrong: &mut Wrong,
    ) -> Result<bool, Status> {
        let subject = self.subject;
        let (own, outbound) = (subject.write.resource, &subject.write.server.outbound);
        let policy = &self.bound.policy;
        let asker = Asker::new(subject);
        let namespace = ask::namespace(subject)?;
        let request = ask::request(subject, resource, gvk);
        let old = converted(outbound, (own, resource), gvk, subject.old.unwrap_or(&Value::Null)).await?;
        let mut shown = converted(outbound, (own, resource), gvk, object).await?.into_owned();
        let matched =
            asker.asked(|| matches(policy, &asker.input((&shown, &old), &namespace, &request, params))).await;
        match matched {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => {
                wrong.push((self.error(Some(binding), &why), Some(Reason::Invalid)));
                return Ok(false);
            }
        }
        for mutation in &policy.mutations {
            let started = Instant::now();
            let outcome = asker
                .asked(|| patch(mutation, &asker.input((&shown, &old), &namespace, &request, params)))
                .await;
            let outcome = outcome.and_then(|patch| applied(subject, resource, gvk, &shown, patch));
            let mistake = outcome.as_ref().err().map(String::as_str);
            let metrics = &subject.write.server.metrics.expressions;
            metrics.mutated((&policy.name, &binding.name), mistake, started.elapsed());
            match outcome {
                Ok(new) => {
                    shown = new;
                    let mut new =
                        converted(outbound, (resource, own), &subject.gvk, &shown).await?.into_owned();
                    crate::webhook::settle(subject, &mut new).map_err(Status::internal)?;
                    *object = new;
                    shown = converted(outbound, (own, resource), gvk, object).await?.into_owned();
                }
                Err(why) => wrong.push((self.error(Some(binding), &why), Some(Reason::Invalid))),
            }
        }
        Ok(true)
    }
}

/// The object with a patch applied.
fn applied(
    subject: &Subject<'_>,
    resource: &Resource,
    gvk: &Gvk,
    object: &Value,
    patch: Patch,
) -> Result<Value, String> {
    match patch {
        Patch::Json(operations) => match gifee_schema::patch::json(object.clone(), &operations) {
            Ok(new) => Ok(new),
            // A test that fails means that there is nothing to be done.
            Err(error) if error.to_string().ends_with("test failed") => Ok(object.clone()),
            Err(error) => Err(format!("JSON Patch: {error}")),
        },
        Patch::Apply(mut configuration) => {
            let builtin;
            let schema: Option<&Schema> = if *gvk == resource.kind.gvk {
                resource.schema.as_ref()
            } else {
                builtin = (subject.write.server.config.schemas)(gvk);
                builtin.as_ref()
            };
            if let Some(tree) = configuration.as_object_mut() {
                tree.insert("apiVersion".into(), object["apiVersion"].clone());
                tree.insert("kind".into(), object["kind"].clone());
            }
            merged(schema, object, &configuration).map_err(|why| format!("error applying patch: {why}"))
        }
    }
}

/// The object with a configuration in it, which may not replace anything whole by accident.
fn merged(schema: Option<&Schema>, object: &Value, configuration: &Value) -> Result<Value, String> {
    apply::validate(schema, configuration)
        .map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let whole = apply::atomics(schema, configuration);
    if whole.is_empty() {
        return Ok(apply::merge(schema, object, configuration));
    }
    let whole = whole.join(", ");
    Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {whole}"))
}
