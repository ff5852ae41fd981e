//! Which IP families a Service has.
//!
//! Invariant: what is wrong with addresses and families is said alone, before anything is taken and before the rest is
//! judged. Answers to `initIPFamilyFields` of upstream's `pkg/registry/core/service/storage/alloc.go`.

use super::{Service, kind, needs_address, validate};
use crate::kind::Context;
use crate::rule::{SPEC, collect};
use crate::value::{is_empty, items, same, text};
use gifee_base::{FieldError, Status};
use serde_json::{Value, json};
use std::net::IpAddr;

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// The family of an address.
pub(super) fn of(address: &str) -> Option<&'static str> {
    let address: IpAddr = address.parse().ok()?;
    Some(if address.is_ipv4() { "IPv4" } else { "IPv6" })
}

pub(super) fn invalid(context: &Context<'_>, errors: &[FieldError]) -> Status {
    Status::invalid("", "Service", &context.key.name, errors)
}

fn refused(context: &Context<'_>, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(invalid(context, errors)) }
}

fn count(service: &Value, field: &str) -> usize {
    items(&service["spec"][field]).len()
}

/// Whether it stays as the cluster was when it was made: who prefers two families and changes nothing gets no other.
fn is_settled(service: &Value, old: &Value) -> bool {
    let prefers = |service: &Value| service["spec"]["ipFamilyPolicy"] == PREFER;
    kind(service) == kind(old)
        && needs_address(service)
        && prefers(service)
        && prefers(old)
        && ["clusterIPs", "ipFamilies"]
            .iter()
            .all(|field| same(&service["spec"][*field], &old["spec"][*field]))
}

/// An update that asks for one family keeps the first; one that does not may not leave the second out.
fn reduce(errors: &mut Vec<FieldError>, service: &mut Value, old: &Value) {
    let policy = service["spec"]["ipFamilyPolicy"].clone();
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (count(service, field), count(old, field));
        if policy != SINGLE && now > 0 && now < before {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy.clone(), &why));
        }
        if policy == SINGLE && now > 1 && same(&service["spec"][field], &old["spec"][field]) {
            service["spec"][field] = json!([service["spec"][field][0]]);
        }
    }
}

impl Service {
    /// Fills in families and policy: from the addresses that are asked for, else the cluster's own.
    pub(super) fn set_families(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        if kind(service) == "ExternalName" || old.is_some_and(|old| is_settled(service, old)) {
            return Ok(());
        }
        let known: Vec<&str> = self.ranges.iter().map(super::Range::family).collect();
        let Some(first) = known.first().copied() else {
            return Err(Status::internal("no range of cluster addresses is configured"));
        };
        // What selects nothing and has no address may be in families that the cluster lacks.
        let everywhere = service["spec"]["clusterIP"] == "None" && is_empty(&service["spec"]["selector"]);
        if is_empty(&service["spec"]["ipFamilyPolicy"]) {
            let before = old.map(|old| &old["spec"]["ipFamilyPolicy"]).filter(|policy| !is_empty(policy));
            let own = if everywhere { REQUIRE } else { SINGLE };
            service["spec"]["ipFamilyPolicy"] = before.cloned().unwrap_or_else(|| own.into());
        }
        refused(context, &collect(|errors| validate::addresses(errors, service)))?;
        infer(service, old, &known, context)?;
        let policy = text(&service["spec"]["ipFamilyPolicy"]).to_owned();
        if !everywhere {
            check(service, &policy, &known, context)?;
        }
        let mut families = items(&service["spec"]["ipFamilies"]).to_vec();
        if families.is_empty() {
            families.push(first.into());
        }
        if policy != SINGLE && families.len() == 1 && (everywhere || known.len() > 1) {
            families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.into());
        }
        service["spec"]["ipFamilies"] = families.into();
        Ok(())
    }
}

/// Families that are not said are those of the addresses.
fn infer(
    service: &mut Value,
    old: Option<&Value>,
    known: &[&str],
    context: &Context<'_>,
) -> Result<(), Status> {
    let mut errors = Vec::new();
    if let Some(old) = old {
        reduce(&mut errors, service, old);
    }
    let policy = service["spec"]["ipFamilyPolicy"].clone();
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy == SINGLE && count(service, field) == 2 {
            let why =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy.clone(), &why));
        }
    }
    let addresses = service["spec"]["clusterIPs"].clone();
    let mut families = items(&service["spec"]["ipFamilies"]).to_vec();
    let at = SPEC.child("clusterIPs");
    for (index, address) in items(&addresses).iter().enumerate().skip(families.len()) {
        let Some(family) = of(text(address)) else { break };
        if known.contains(&family) {
            families.push(family.into());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.push(FieldError::invalid(&at.index(index), addresses.clone(), &why));
        }
    }
    refused(context, &errors)?;
    if !families.is_empty() {
        service["spec"]["ipFamilies"] = families.into();
    }
    Ok(())
}

/// The cluster has what is asked for.
fn check(service: &Value, policy: &str, known: &[&str], context: &Context<'_>) -> Result<(), Status> {
    let mut errors: Vec<FieldError> = Vec::new();
    if policy == REQUIRE && known.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy, why));
    }
    let at = SPEC.child("ipFamilies");
    for (index, family) in items(&service["spec"]["ipFamilies"]).iter().enumerate() {
        if !known.contains(&text(family)) {
            let why = "not configured on this cluster";
            errors.push(FieldError::invalid(&at.index(index), text(family), why));
        }
    }
    refused(context, &errors)
}
