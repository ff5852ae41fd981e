//! Whether a range can be used, and whether one that is deleted may go. Pure.

use gifee_base::clock;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// The finalizer that keeps a range.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The label of addresses that were given to Services, and its value.
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Who gives them.
pub const MANAGER: &str = "ipallocator.k8s.io";
/// Until all who allocate have seen that a range is going.
const GRACE: Duration = Duration::from_secs(10);

/// What another range covers.
#[derive(Debug)]
pub struct Range {
    networks: Vec<IpNet>,
}

impl Range {
    /// Reads a ServiceCIDR.
    pub fn read(tree: &Value) -> Self {
        let cidrs = tree["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self { networks: cidrs.filter_map(|cidr| cidr.parse().ok()).collect() }
    }
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// All is as it should be.
    Nothing,
    /// Look again after this time.
    Wait(Duration),
    /// These are to be the finalizers.
    Finalizers(Vec<Value>),
    /// These are to be the conditions.
    Ready(Vec<Value>),
}

/// Plans for a range, beside the other ranges and the addresses that Services have.
pub fn plan(tree: &Value, others: &[Range], addresses: &[IpAddr], now: Timestamp) -> Plan {
    let metadata = &tree["metadata"];
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    let kept = finalizers.iter().any(|one| one == FINALIZER);
    let Some(deleted) = metadata["deletionTimestamp"].as_str().and_then(clock::parse_time) else {
        if !kept {
            finalizers.push(FINALIZER.into());
            return Plan::Finalizers(finalizers);
        }
        return condition(tree, "True", "", "Kubernetes Service CIDR is ready", now);
    };
    if !kept {
        return Plan::Nothing;
    }
    let own = Range::read(tree);
    let covered =
        |network: &IpNet| others.iter().flat_map(|other| &other.networks).any(|one| one.contains(network));
    let within = |address: &&IpAddr, range: &Range| range.networks.iter().any(|one| one.contains(*address));
    let orphan = || {
        addresses
            .iter()
            .any(|address| within(&address, &own) && !others.iter().any(|other| within(&address, other)))
    };
    if !own.networks.iter().all(covered) && orphan() {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        return condition(tree, "False", "Terminating", message, now);
    }
    let since = now.duration_since(deleted).try_into().unwrap_or(Duration::ZERO);
    match GRACE.checked_sub(since).filter(|left| !left.is_zero()) {
        Some(left) => Plan::Wait(left),
        None => {
            finalizers.retain(|one| one != FINALIZER);
            Plan::Finalizers(finalizers)
        }
    }
}

fn condition(tree: &Value, status: &str, reason: &str, message: &str, now: Timestamp) -> Plan {
    let mut conditions = tree["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": clock::format_time(now),
    });
    match conditions.iter_mut().find(|one| one["type"] == "Ready") {
        Some(one) if one["status"] == status => return Plan::Nothing,
        Some(one) => *one = ready,
        None => conditions.push(ready),
    }
    Plan::Ready(conditions)
}
