//! Requests and limits of a container as numbers.
//!
//! Answers to `api/v1/resource.ExtractContainerResourceValue`: divided by the divisor and rounded up.

use std::collections::BTreeMap;

use gifee_base::Quantity as Amount;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::pod::{members, qos};

/// The value asked for; `None` for a resource or container that does not exist.
pub fn value(
    pod: &Pod,
    own: &Container,
    selector: &ResourceFieldSelector,
    allocatable: &BTreeMap<String, Amount>,
) -> Option<String> {
    let spec = members::spec(pod);
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            spec.init_containers.iter().flatten().chain(&spec.containers).find(|one| one.name == name)?
        }
        None => own,
    };
    let (kind, name) = selector.resource.split_once('.')?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return None;
    }
    let amount = match kind {
        "requests" => qos::request(container, name),
        "limits" => {
            let limit = qos::limit(container, name);
            if limit.is_zero() { allocatable.get(name).copied().unwrap_or(Amount::ZERO) } else { limit }
        }
        _ => return None,
    };
    let divisor = selector.divisor.as_ref().and_then(|divisor| divisor.0.parse::<Amount>().ok());
    let divisor = divisor.filter(|divisor| !divisor.is_zero()).unwrap_or_else(|| Amount::from_milli(1000));
    // CPU is exact to a thousandth; the rest are whole numbers that would overflow as thousandths.
    let (number, by) =
        if name == "cpu" { (amount.milli(), divisor.milli()) } else { (amount.value(), divisor.value()) };
    let by = by.max(1);
    Some((number / by + i64::from(number % by > 0)).to_string())
}
