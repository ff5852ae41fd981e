//! Rules of slices of devices: what devices there are, what they are like, and where.

use super::capacity::request_policy;
use super::device::{binding_conditions, pool_name, qualified_name, taint};
use crate::podspec::node_selector;
use crate::podspec::source::csi_driver_name;
use crate::rule::list::{each, each_once};
use crate::rule::{Errors, SPEC, immutable, named, named_text, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{entries, int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const DEVICES_MAXIMUM: usize = 128;
const DEVICES_MAXIMUM_WITH_MORE: usize = 64;
const COUNTER_SETS_MAXIMUM: usize = 8;
const COUNTERS_MAXIMUM: usize = 32;
const PROPERTIES_MAXIMUM: usize = 32;
const TAINTS_MAXIMUM: usize = 16;
const CONSUMPTIONS_MAXIMUM: usize = 2;
const ATTRIBUTE_MAXIMUM: usize = 64;
const ONE_PLACE: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const ONE_PLACE_EACH: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// Rules of ResourceSlices.
pub(crate) const SLICE: Rules = Rules {
    create: |slice, context| stamp(slice, None, context.now),
    update: |slice, old, _, context| stamp(slice, Some(old), context.now),
    validate_create: |errors, slice| spec(errors, &slice["spec"], &Value::Null),
    validate_update: |errors, slice, old| spec(errors, &slice["spec"], &old["spec"]),
    ..RULES
};

/// A taint that says not since when it is there is there since now.
fn stamp(slice: &mut Value, old: Option<&Value>, now: &str) {
    let before = old.map(|old| old["spec"]["devices"].clone()).unwrap_or_default();
    let Some(devices) = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut) else { return };
    for device in devices {
        let known =
            items(&before).iter().find(|old| old["name"] == device["name"]).cloned().unwrap_or_default();
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten() {
            if taint["timeAdded"].is_null() {
                let same = |old: &&Value| {
                    ["key", "value", "effect"].iter().all(|field| old[*field] == taint[*field])
                };
                let since = items(&known["taints"]).iter().find(same).map(|old| old["timeAdded"].clone());
                taint["timeAdded"] = since.filter(Value::is_string).unwrap_or_else(|| now.into());
            }
        }
    }
}

fn spec(errors: &mut Errors, spec: &Value, old: &Value) {
    csi_driver_name(errors, &spec["driver"], &SPEC.child("driver"));
    let at = SPEC.child("pool");
    pool_name(errors, &spec["pool"]["name"], &at.child("name"));
    let count = int(&spec["pool"]["resourceSliceCount"]);
    if count <= 0 {
        errors.push(FieldError::invalid(&at.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    let generation = int(&spec["pool"]["generation"]);
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&at.child("generation"), generation, why));
    }
    if !old.is_null() {
        immutable(errors, &spec["pool"]["name"], &old["pool"]["name"], &at.child("name"));
        for field in ["driver", "nodeName"] {
            immutable(errors, &spec[field], &old[field], &SPEC.child(field));
        }
    }
    place(errors, spec);
    if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(&SPEC, "", why));
    }
    let more = |device: &Value| !is_empty(&device["taints"]) || !is_empty(&device["consumesCounters"]);
    let maximum =
        if items(&spec["devices"]).iter().any(more) { DEVICES_MAXIMUM_WITH_MORE } else { DEVICES_MAXIMUM };
    let name_of = |one: &Value| text(&one["name"]).to_owned();
    each_once(errors, &spec["devices"], maximum, &SPEC.child("devices"), name_of, |errors, one, path| {
        let before = items(&old["devices"]).iter().find(|old| old["name"] == one["name"]);
        device(errors, one, before, spec["perDeviceNodeSelection"] == true, path);
    });
    let at = SPEC.child("sharedCounters");
    each_once(errors, &spec["sharedCounters"], COUNTER_SETS_MAXIMUM, &at, name_of, |errors, one, path| {
        required_name(errors, &one["name"], &path.child("name"), name::dns_label);
        counters(errors, &one["counters"], &path.child("counters"));
    });
}

fn place(errors: &mut Errors, spec: &Value) {
    let mut set = Vec::new();
    if !spec["nodeName"].is_null() {
        let at = SPEC.child("nodeName");
        if is_empty(&spec["nodeName"]) {
            let why = "must be either unset or set to a non-empty string";
            errors.push(FieldError::invalid(&at, "", why));
        } else {
            set.push("`nodeName`");
            named(errors, &spec["nodeName"], &at, name::dns_subdomain);
        }
    }
    if !spec["nodeSelector"].is_null() {
        set.push("`nodeSelector`");
        let at = SPEC.child("nodeSelector");
        node_selector(errors, &spec["nodeSelector"], &at);
        let terms = &spec["nodeSelector"]["nodeSelectorTerms"];
        if items(terms).len() != 1 {
            let why = "must have exactly one node selector term";
            errors.push(FieldError::invalid(&at.child("nodeSelectorTerms"), terms.clone(), why));
        }
    }
    for (field, quoted) in
        [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        if spec[field] == true {
            set.push(quoted);
        } else if spec[field] == false {
            let why = "must be either unset or set to true";
            errors.push(FieldError::invalid(&SPEC.child(field), false, why));
        }
    }
    match set.len() {
        0 => errors.push(FieldError::required(&SPEC, ONE_PLACE)),
        1 => {}
        _ => {
            let why = format!("{ONE_PLACE}, but multiple fields are set");
            errors.push(FieldError::invalid(&SPEC, format!("{{{}}}", set.join(", ")), &why));
        }
    }
}

fn counters(errors: &mut Errors, map: &Value, path: &Path<'_>) {
    let count = entries(map).count();
    if count == 0 {
        return errors.push(FieldError::required(path, ""));
    }
    if count > COUNTERS_MAXIMUM {
        return errors.push(FieldError::too_many(path, count, COUNTERS_MAXIMUM));
    }
    for (one, _) in entries(map) {
        named_text(errors, one, &path.key(one), name::dns_label);
    }
}

fn device(errors: &mut Errors, device: &Value, old: Option<&Value>, place_each: bool, path: &Path<'_>) {
    named_text(errors, text(&device["name"]), &path.child("name"), name::dns_label);
    let (attributes, capacity) = (&device["attributes"], &device["capacity"]);
    let total = entries(attributes).count() + entries(capacity).count();
    if total > PROPERTIES_MAXIMUM {
        let why =
            format!("the total number of attributes and capacities must not exceed {PROPERTIES_MAXIMUM}");
        errors.push(FieldError::invalid(path, total, &why));
    }
    let at = path.child("attributes");
    for (one, value) in entries(attributes) {
        let at = at.key(one);
        qualified_name(errors, one, &at);
        attribute(errors, value, &at);
    }
    let at = path.child("capacity");
    for (one, value) in entries(capacity) {
        let at = at.key(one);
        qualified_name(errors, one, &at);
        let policy = &value["requestPolicy"];
        if policy.is_null() {
            continue;
        }
        if device["allowMultipleAllocations"] == true {
            request_policy(errors, policy, &value["value"], &at.child("requestPolicy"));
        } else {
            let why = "allowMultipleAllocations must be true";
            errors.push(FieldError::forbidden(&at.child("requestPolicy"), why));
        }
    }
    if old.is_none_or(|old| old["taints"] != device["taints"]) {
        each(errors, &device["taints"], TAINTS_MAXIMUM, &path.child("taints"), |errors, one, path| {
            taint(errors, one, None, path);
        });
    }
    let at = path.child("consumesCounters");
    let set_of = |one: &Value| text(&one["counterSet"]).to_owned();
    each_once(errors, &device["consumesCounters"], CONSUMPTIONS_MAXIMUM, &at, set_of, |errors, one, path| {
        required_name(errors, &one["counterSet"], &path.child("counterSet"), name::dns_label);
        counters(errors, &one["counters"], &path.child("counters"));
    });
    device_place(errors, device, place_each, path);
    binding_conditions(errors, device, path);
}

fn device_place(errors: &mut Errors, device: &Value, place_each: bool, path: &Path<'_>) {
    let fields = [("nodeName", "`nodeName`"), ("nodeSelector", "`nodeSelector`"), ("allNodes", "`allNodes`")];
    if !place_each {
        if fields.iter().any(|(field, _)| !device[*field].is_null()) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, Value::Null, why));
        }
        return;
    }
    if !device["nodeName"].is_null() {
        let at = path.child("nodeName");
        if is_empty(&device["nodeName"]) {
            errors.push(FieldError::invalid(&at, "", "must not be empty"));
        } else {
            named(errors, &device["nodeName"], &at, name::dns_subdomain);
        }
    }
    if !device["nodeSelector"].is_null() {
        node_selector(errors, &device["nodeSelector"], &path.child("nodeSelector"));
    }
    if device["allNodes"] == false {
        let why = "must be either unset or set to true";
        errors.push(FieldError::invalid(&path.child("allNodes"), false, why));
    }
    let set: Vec<&str> = fields
        .iter()
        .filter(|(field, _)| !is_empty(&device[*field]) && device[*field] != false)
        .map(|(_, quoted)| *quoted)
        .collect();
    match set.len() {
        0 => errors.push(FieldError::required(path, ONE_PLACE_EACH)),
        1 => {}
        _ => errors.push(FieldError::invalid(path, format!("{{{}}}", set.join(", ")), ONE_PLACE_EACH)),
    }
}

fn attribute(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    for field in ["string", "version"] {
        let (given, at) = (&value[field], path.child(field));
        if given.is_null() {
            continue;
        }
        if field == "version" && !semantic_version(text(given)) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(&at, text(given), why));
        }
        if text(given).len() > ATTRIBUTE_MAXIMUM {
            errors.push(FieldError::too_long(&at, ATTRIBUTE_MAXIMUM));
        }
    }
    let set = ["bool", "int", "string", "version"].iter().filter(|field| !value[**field].is_null()).count();
    if set != 1 {
        let shown = if set == 0 { Value::from("") } else { value.clone() };
        errors.push(FieldError::invalid(path, shown, "exactly one value must be specified"));
    }
}

/// Whether a text is a version of semver.org, 2.0.0.
fn semantic_version(given: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let (rest, build) = given.split_once('+').map_or((given, None), |(rest, build)| (rest, Some(build)));
    let (numbers, before) = rest.split_once('-').map_or((rest, None), |(rest, before)| (rest, Some(before)));
    numbers.split('.').count() == 3
        && numbers.split('.').all(plain)
        && before.is_none_or(|all| all.split('.').all(|part| word(part) && (!digits(part) || plain(part))))
        && build.is_none_or(|all| all.split('.').all(word))
}
