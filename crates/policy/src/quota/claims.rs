//! What claims count: of volumes their storage, also by class; of devices their number by class.

use super::one;
use super::scope::Requirement;
use crate::resources::{Amounts, amounts, raise};
use gifee_base::Quantity;
use gifee_base::quantity::Format;
use serde_json::Value;

const BY_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// As many devices a request for all of them can get at most.
const ALL_DEVICES: i64 = 32;

/// Whether claims of volumes can count as `name`.
pub fn counts(name: &str) -> bool {
    let of_class = name.split_once(BY_STORAGE_CLASS).map_or(name, |(_, name)| name);
    NAMES.contains(&of_class) || name == "count/persistentvolumeclaims"
}

/// Whether claims of devices can count as `name`.
pub fn counts_devices(name: &str) -> bool {
    name.ends_with(BY_DEVICE_CLASS)
}

/// Adds what a claim of a volume counts.
pub fn usage(claim: &Value, usage: &mut Amounts) {
    let spec = &claim["spec"];
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotated.or(spec["storageClassName"].as_str()).unwrap_or_default();
    let mut count = |name: &str, amount: Quantity| {
        usage.insert(name.to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{BY_STORAGE_CLASS}{name}"), amount);
        }
    };
    count("persistentvolumeclaims", one());
    let whole = |list: &Value| amounts(list).remove("storage").map(whole_bytes);
    if let Some(asked) = whole(&spec["resources"]["requests"]) {
        let given = whole(&claim["status"]["allocatedResources"]);
        count("requests.storage", given.filter(|given| *given > asked).unwrap_or(asked));
    }
}

/// A fraction of a byte counts as one, because quotas hold whole bytes.
fn whole_bytes(amount: Quantity) -> Quantity {
    let up = Quantity::from_units(amount.value(), Format::DecimalSi);
    if up == amount { amount } else { up }
}

/// The classes of attributes that a claim refers to: wanted, current, and on the way.
fn attribute_classes(claim: &Value) -> Vec<&str> {
    let all = [
        &claim["spec"]["volumeAttributesClassName"],
        &claim["status"]["currentVolumeAttributesClassName"],
        &claim["status"]["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    all.into_iter().filter_map(Value::as_str).filter(|class| !class.is_empty()).collect()
}

/// Whether a scope holds for a claim of a volume.
pub fn in_scope(claim: &Value, scope: &Requirement) -> bool {
    if scope.name != "VolumeAttributesClass" {
        return false;
    }
    let classes = attribute_classes(claim);
    if classes.is_empty() { scope.holds(None) } else { classes.iter().any(|class| scope.holds(Some(class))) }
}

/// Whether a change of a claim's status changes what it counts.
pub fn recounts(claim: &Value, old: &Value) -> bool {
    let allocated = |claim: &Value| claim["status"]["allocatedResources"]["storage"].clone();
    let sorted = |claim| {
        let mut classes = attribute_classes(claim);
        classes.sort_unstable();
        classes.dedup();
        classes
    };
    allocated(claim) != allocated(old) || sorted(claim) != sorted(old)
}

/// Adds what a claim of devices counts.
pub fn devices(claim: &Value, usage: &mut Amounts) {
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let mut own = Amounts::new();
        if request["exactly"].is_object() {
            request_devices(&request["exactly"], &mut own);
        }
        for alternative in request["firstAvailable"].as_array().into_iter().flatten() {
            let mut one = Amounts::new();
            request_devices(alternative, &mut one);
            // Any of them may be chosen: the highest of each class counts.
            raise(&mut own, &one);
        }
        crate::resources::add(usage, &own);
    }
}

fn request_devices(request: &Value, usage: &mut Amounts) {
    let class = request["deviceClassName"].as_str().unwrap_or_default();
    let number = match request["allocationMode"].as_str() {
        Some("All") => ALL_DEVICES,
        _ => request["count"].as_i64().unwrap_or(1),
    };
    usage.insert(format!("{class}{BY_DEVICE_CLASS}"), Quantity::from_units(number, Format::DecimalSi));
}
