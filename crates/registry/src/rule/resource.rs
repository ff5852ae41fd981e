//! Rules for names and amounts of resources.

use super::{Errors, NEGATIVE, NOT_POSITIVE, named_text};
use crate::value::{entries, text};
use gifee_base::{FieldError, Path, Quantity, name};
use serde_json::Value;

const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// An amount; what is no amount counts as zero, since decoding has refused it before.
pub(crate) fn quantity(value: &Value) -> Quantity {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        other => other.to_string().parse().unwrap_or_default(),
    }
}

/// Whether it is a size of huge pages.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether the resource is Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(one: &str) -> bool {
    !is_native(one) && !one.starts_with("requests.") && name::qualified(&format!("requests.{one}")).is_empty()
}

/// Whether requests may be lower than limits.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

pub(crate) fn is_quota(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    COUNTED.contains(&name)
        || COMPUTE.contains(&bare)
        || name == "requests.storage"
        || is_huge_page(name)
        || name.starts_with("requests.hugepages-")
}

fn is_standard(name: &str) -> bool {
    is_quota(name) || name == "storage"
}

/// The name of a resource; whether it is right.
pub(crate) fn resource_name(errors: &mut Errors, one: &str, path: &Path<'_>) -> bool {
    let before = errors.len();
    named_text(errors, one, path, name::qualified);
    if errors.len() == before && !one.contains('/') && !is_standard(one) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, one, why));
    }
    errors.len() == before
}

/// The name of a resource that a container uses.
pub(crate) fn container_resource_name(errors: &mut Errors, one: &str, path: &Path<'_>) {
    // The two that nearly every container names.
    if matches!(one, "cpu" | "memory") {
        return;
    }
    resource_name(errors, one, path);
    if !one.contains('/') {
        if !COMPUTE.contains(&one) && !is_huge_page(one) {
            errors.push(FieldError::invalid(path, one, "must be a standard resource for containers"));
        }
    } else if !is_native(one) && !is_extended(one) {
        errors.push(FieldError::invalid(path, one, "doesn't follow extended resource name standard"));
    }
}

/// The name of a resource that a pod may ask for as a whole.
pub(crate) fn pod_resource_name(errors: &mut Errors, one: &str, path: &Path<'_>) {
    let whole = matches!(one, "cpu" | "memory") || is_huge_page(one);
    if !whole && resource_name(errors, one, path) {
        errors.push(FieldError::not_supported(path, one, &["cpu", "hugepages-", "memory"]));
    }
}

/// The name of a resource that a quota limits.
pub(crate) fn quota_resource_name(errors: &mut Errors, one: &str, path: &Path<'_>) {
    resource_name(errors, one, path);
    if !one.contains('/') && !is_quota(one) {
        errors.push(FieldError::invalid(path, one, "must be a standard resource for quota"));
    }
}

/// Reports an amount below zero, or one with a fraction of what is counted.
pub(crate) fn amount(errors: &mut Errors, name: &str, value: &Value, path: &Path<'_>) {
    let quantity = quantity(value);
    if quantity.sign() < 0 {
        errors.push(FieldError::invalid(path, quantity.to_string(), NEGATIVE));
    }
    if is_whole(name) && quantity.milli() % 1000 != 0 {
        errors.push(FieldError::invalid(path, value.clone(), "must be an integer"));
    }
}

/// Reports an amount below zero, whatever it is of.
pub(crate) fn not_negative(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let whole = quantity(value).value();
    if whole < 0 {
        errors.push(FieldError::invalid(path, whole, "must be a valid resource quantity"));
    }
}

/// Reports an amount that is not above zero.
pub(crate) fn positive(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let quantity = quantity(value);
    if quantity.sign() <= 0 {
        errors.push(FieldError::invalid(path, quantity.to_string(), NOT_POSITIVE));
    }
}

fn huge_page(errors: &mut Errors, name: &str, quantity: Quantity, path: &Path<'_>) {
    let size = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    let size = size.map_or(0, |size| size.value());
    if size <= 0 || quantity.value() % size != 0 {
        let why = format!("{quantity} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, quantity.to_string(), &why));
    }
}

fn request(errors: &mut Errors, name: &str, wanted: Quantity, limits: &Value, path: &Path<'_>) {
    match limits.get(name).map(quantity) {
        Some(limit) if wanted != limit && !may_overcommit(name) => {
            let why = format!("must be equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(&path.child("requests"), wanted.to_string(), &why));
        }
        Some(limit) if wanted > limit => {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(&path.child("requests"), wanted.to_string(), &why));
        }
        None if !may_overcommit(name) => {
            let why = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(&path.child("limits"), why));
        }
        _ => {}
    }
}

/// Requests and limits, of resources that a rule for their names allows.
pub(crate) fn requirements(
    errors: &mut Errors,
    resources: &Value,
    rule: fn(&mut Errors, &str, &Path<'_>),
    path: &Path<'_>,
) {
    let (mut compute, mut huge) = (false, false);
    for side in ["limits", "requests"] {
        let side_path = path.child(side);
        for (name, value) in entries(&resources[side]) {
            let at = side_path.key(name);
            rule(errors, name, &at);
            amount(errors, name, value, &at);
            if side == "requests" {
                request(errors, name, quantity(value), &resources["limits"], path);
            }
            if is_huge_page(name) {
                huge = true;
                huge_page(errors, name, quantity(value), &at);
            }
            compute |= matches!(name, "cpu" | "memory");
        }
    }
    if huge && !compute {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// Names and amounts of a quota.
pub(crate) fn quota_list(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (name, value) in entries(list) {
        let at = path.key(name);
        quota_resource_name(errors, name, &at);
        amount(errors, name, value, &at);
    }
}

/// Names of claims that a container uses, among those that the pod has.
pub(crate) fn claims(errors: &mut Errors, list: &Value, known: &[&str], path: &Path<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, claim) in crate::value::items(list).iter().enumerate() {
        let (at, one, request) = (path.index(index), text(&claim["name"]), text(&claim["request"]));
        if one.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        if seen.contains(&(one, "")) {
            errors.push(FieldError::duplicate(&at, one));
        } else {
            if !request.is_empty() {
                named_text(errors, request, &at.child("request"), name::dns_label);
            }
            // A whole claim beside one of its requests comes twice, too.
            if seen.contains(&(one, request)) {
                errors.push(FieldError::duplicate(&at, format!("{one}/{request}")));
            } else if request.is_empty() {
                for _ in seen.iter().filter(|(claim, _)| *claim == one) {
                    errors.push(FieldError::duplicate(&at, one));
                }
            }
            seen.push((one, request));
        }
        if !known.contains(&one) {
            let mut error = FieldError::not_found(&at, one);
            let mut known = known.to_vec();
            known.sort_unstable();
            let among =
                if known.is_empty() { " which is empty".into() } else { format!(": {}", known.join(", ")) };
            error.body.push_str(&format!(": must be one of the names in pod.spec.resourceClaims{among}"));
            errors.push(error);
        }
    }
}
