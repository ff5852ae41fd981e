//! What is created in a namespace stays within the namespace's quotas.
//!
//! Invariant: nothing is decided on a quota of which the controller has not yet said what is used; whoever
//! commits the charge does so at the revision it was computed from, so that two cannot be granted the same
//! rest. Answers to apiserver's `resourcequota` plugin.

use super::{Charge, Operation, Request, Rule};
use crate::Lookup;
use crate::quota::{self, Quota};
use crate::resources::{Amounts, add, tree};
use gifee_base::{Object, ObjectKey, Status};
use serde_json::Value;
use std::sync::Arc;

/// The rule.
pub struct ResourceQuota;

impl Rule for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn half(&self) -> super::Half {
        super::Half::Charges
    }

    fn charge(
        &self,
        request: &Request<'_>,
        object: &Value,
        lookup: &dyn Lookup,
        only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        if request.namespace.is_empty() || !handles(request, object) {
            return Ok(Vec::new());
        }
        let mut quotas = lookup.list("", "resourcequotas", request.namespace);
        if !only.is_empty() {
            quotas.retain(|quota| only.iter().any(|key| *key.name == *quota.name()));
        }
        if quotas.is_empty() {
            return Ok(Vec::new());
        }
        decide(request, object, &quotas)
    }
}

/// Whether a request can change what is counted.
fn handles(request: &Request<'_>, object: &Value) -> bool {
    let group = &*request.gvk.group;
    if quota::ignored(group, request.resource) {
        return false;
    }
    match (group, request.resource, request.subresource, request.operation) {
        ("", "pods", "resize", Operation::Update)
        | ("", "persistentvolumeclaims" | "services", "", Operation::Update)
        | ("resource.k8s.io", "resourceclaims", "", Operation::Update)
        | (_, _, "", Operation::Create) => true,
        ("", "persistentvolumeclaims", "status", Operation::Update) => {
            request.old.is_some_and(|old| quota::claim_recounts(object, old))
        }
        _ => false,
    }
}

/// The quotas that hold an object, each with what it would use.
fn decide(request: &Request<'_>, object: &Value, quotas: &[Arc<Object>]) -> Result<Vec<Charge>, Status> {
    let (group, resource) = (&*request.gvk.group, request.resource);
    let mut interesting = Vec::new();
    for held in quotas {
        let quota = Quota::of(&held.to_value().map_err(Status::internal)?);
        let names: Vec<&String> =
            quota.hard.keys().filter(|name| quota::counts(group, resource, name)).collect();
        if names.is_empty() || !quota::in_scope(group, resource, object, &quota.scopes) {
            continue;
        }
        if let Some(why) = quota::missing(group, resource, object, &names) {
            return Err(request.forbidden(&format!("failed quota: {}: {why}", held.name())));
        }
        if names.iter().any(|name| !quota.used.contains_key(*name)) {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            let why = format!("status unknown for quota: {}, resources: {}", held.name(), names.join(","));
            return Err(request.forbidden(&why));
        }
        interesting.push((held, quota));
    }
    if interesting.is_empty() {
        return Ok(Vec::new());
    }
    let usage = quota::usage(group, resource, object, None);
    let negative: Vec<&str> =
        usage.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        let why = format!("quota usage is negative for resource(s): {}", negative.join(","));
        return Err(request.forbidden(&why));
    }
    let mut charges = Vec::new();
    for (held, quota) in interesting {
        let mut delta = usage.clone();
        if let Some(old) = request.old
            && quota::in_scope(group, resource, old, &quota.scopes)
        {
            grown(&mut delta, &quota::usage(group, resource, old, None));
        }
        delta.retain(|name, amount| !amount.is_zero() && quota.hard.contains_key(name));
        if delta.is_empty() {
            continue;
        }
        let mut used = quota.used.clone();
        add(&mut used, &delta);
        if request.subresource != "status" {
            within(request, held.name(), &quota, &delta, &used)?;
        }
        charges.push(Charge { key: held.key(), revision: held.revision(), used: tree(&used) });
    }
    Ok(charges)
}

/// Leaves of what is counted what was not counted before.
fn grown(usage: &mut Amounts, before: &Amounts) {
    for (name, amount) in usage.iter_mut() {
        if let Some(before) = before.get(name) {
            *amount = if *before < *amount { amount.minus(*before) } else { gifee_base::Quantity::ZERO };
        }
    }
}

fn within(
    request: &Request<'_>,
    name: &str,
    quota: &Quota,
    delta: &Amounts,
    used: &Amounts,
) -> Result<(), Status> {
    let exceeded = |name: &String| quota.hard.get(name).is_some_and(|hard| used.get(name) > Some(hard));
    let names: Vec<&String> = delta.keys().filter(|name| exceeded(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let shown = |amounts: &Amounts| {
        let all = names.iter().filter_map(|name| Some(format!("{name}={}", amounts.get(*name)?)));
        all.collect::<Vec<_>>().join(",")
    };
    Err(request.forbidden(&format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        shown(delta),
        shown(&quota.used),
        shown(&quota.hard)
    )))
}
