//! Which IP families a Service has.
//!
//! Answers to `initIPFamilyFields` of upstream's `pkg/registry/core/service/storage/alloc.go`.

use super::{Service, is_headless, needs_address};
use crate::kind::Context;
use crate::rule::SPEC;
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Status};
use serde_json::Value;
use std::net::IpAddr;

/// The family of an address.
pub(super) fn of(address: &str) -> Option<&'static str> {
    let address: IpAddr = address.parse().ok()?;
    Some(if address.is_ipv4() { "IPv4" } else { "IPv6" })
}

pub(super) fn invalid(context: &Context<'_>, errors: &[FieldError]) -> Status {
    Status::invalid("", "Service", &context.key.name, errors)
}

impl Service {
    /// Fills in families and policy: from the addresses that are asked for, else the cluster's own.
    pub(super) fn set_families(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        if !needs_address(service) {
            return Ok(());
        }
        let known: Vec<&str> = self.ranges.iter().map(super::Range::family).collect();
        let Some(first) = known.first().copied() else {
            return Err(Status::internal("no range of cluster addresses is configured"));
        };
        let spec = &service["spec"];
        let headless = is_headless(service);
        let everywhere = headless && is_empty(&spec["selector"]);
        let mut families: Vec<String> =
            items(&spec["ipFamilies"]).iter().map(|one| text(one).to_owned()).collect();
        for (index, address) in items(&spec["clusterIPs"]).iter().enumerate() {
            if let (Some(family), true) = (of(text(address)), index == families.len()) {
                families.push(family.to_owned());
            }
        }
        let policy = match text(&spec["ipFamilyPolicy"]) {
            "" if everywhere || families.len() > 1 => "RequireDualStack",
            "" => "SingleStack",
            policy => policy,
        }
        .to_owned();
        if families.is_empty() {
            families.push(first.to_owned());
        }
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        let two = match policy.as_str() {
            "RequireDualStack" => true,
            "PreferDualStack" => everywhere || known.len() > 1,
            _ => false,
        };
        if two && families.len() == 1 {
            families.push(other.to_owned());
        }
        if !everywhere {
            self.check_families(&families, &policy, &known, context)?;
        }
        let downgraded = old.is_some_and(|old| items(&old["spec"]["ipFamilies"]).len() > families.len());
        if policy == "SingleStack" && (families.len() == 1 || downgraded) {
            families.truncate(1);
            if !headless && items(&service["spec"]["clusterIPs"]).len() > 1 {
                let kept = service["spec"]["clusterIPs"][0].clone();
                service["spec"]["clusterIPs"] = vec![kept].into();
            }
        }
        service["spec"]["ipFamilies"] = families.into();
        service["spec"]["ipFamilyPolicy"] = policy.into();
        Ok(())
    }

    fn check_families(
        &self,
        families: &[String],
        policy: &str,
        known: &[&str],
        context: &Context<'_>,
    ) -> Result<(), Status> {
        let at = SPEC.child("ipFamilies");
        let mut errors: Vec<FieldError> = Vec::new();
        if policy == "RequireDualStack" && known.len() < 2 {
            let why = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy, why));
        } else {
            for (index, family) in families.iter().enumerate() {
                if !known.contains(&family.as_str()) {
                    let why = "not configured on this cluster";
                    errors.push(FieldError::invalid(&at.index(index), family.as_str(), why));
                }
            }
        }
        if policy == "SingleStack" && families.len() > 1 {
            let why = "must be RequireDualStack or PreferDualStack when multiple IP families are specified";
            errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy, why));
        }
        if errors.is_empty() { Ok(()) } else { Err(invalid(context, &errors)) }
    }
}
