//! How much of a device's capacities a request takes.
//!
//! Answers to consumable capacity of upstream's structured allocator.

use super::object::{Counters, Device};
use gifee_base::Quantity;
use gifee_base::quantity::Format;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a request takes of each capacity of a device, by the names that the device has for them; none if the device
/// lacks one, or does not give it in such amounts.
pub fn consumed(device: &Device, wanted: &Counters) -> Option<Counters> {
    let mut requests: BTreeMap<&str, Quantity> = BTreeMap::new();
    for (name, amount) in wanted {
        requests.insert(published(device, name)?, *amount);
    }
    let mut consumed = Counters::new();
    for (name, capacity) in &device.capacity {
        let amount = amount(requests.get(name.as_str()).copied(), capacity);
        if violates(amount, &capacity["requestPolicy"]) {
            return None;
        }
        consumed.insert(name.as_str().into(), amount);
    }
    Some(consumed)
}

/// Whether a device has so much left, with what is taken of it already.
pub fn fits(device: &Device, more: &Counters, taken: &[&Counters]) -> bool {
    more.iter().all(|(name, amount)| {
        let total = device.capacity.get(&**name).map_or(Quantity::ZERO, |one| quantity(&one["value"]));
        let taken = taken.iter().filter_map(|one| one.get(name));
        taken.fold(*amount, |sum, one| sum.plus(*one)) <= total
    })
}

/// The name that a device has for a capacity: with or without the driver before it.
fn published<'a>(device: &'a Device, name: &str) -> Option<&'a str> {
    let found = |name: &str| device.capacity.get_key_value(name).map(|(name, _)| name.as_str());
    let driver = &*device.id.driver;
    found(name).or_else(|| match name.split_once('/') {
        Some((domain, name)) => found(name).filter(|_| domain == driver),
        None => found(&format!("{driver}/{name}")),
    })
}

fn quantity(value: &Value) -> Quantity {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn amount(wanted: Option<Quantity>, capacity: &Value) -> Quantity {
    let policy = &capacity["requestPolicy"];
    let Some(wanted) = wanted else {
        return quantity(if policy["default"].is_null() { &capacity["value"] } else { &policy["default"] });
    };
    let range = &policy["validRange"];
    if !range["min"].is_null() {
        return round_up(wanted, range);
    }
    let values = policy["validValues"].as_array().into_iter().flatten().map(quantity);
    values.filter(|value| *value >= wanted).min().unwrap_or(wanted)
}

fn round_up(wanted: Quantity, range: &Value) -> Quantity {
    let least = quantity(&range["min"]);
    if wanted <= least || range["step"].is_null() {
        return wanted.max(least);
    }
    let (least, step) = (least.value(), quantity(&range["step"]).value().max(1));
    let above = wanted.value().saturating_sub(least);
    let steps = above / step + i64::from(above % step != 0);
    Quantity::from_units(least.saturating_add(steps.saturating_mul(step)), Format::BinarySi)
}

fn violates(amount: Quantity, policy: &Value) -> bool {
    if policy["default"].is_string() && amount == quantity(&policy["default"]) {
        return false;
    }
    let range = &policy["validRange"];
    if !range.is_null() {
        return !range["max"].is_null() && amount > quantity(&range["max"]);
    }
    let values = policy["validValues"].as_array();
    values.is_some_and(|values| !values.is_empty() && values.iter().all(|value| quantity(value) != amount))
}
