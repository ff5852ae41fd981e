//! What is special about classes of devices and about taints of devices.
//!
//! Answers to upstream's `pkg/apis/resource/validation`, as its neighbours do for claims and slices.

use super::device::{CONFIGS_MAXIMUM, configuration, pool_name, selectors, taint};
use crate::podspec::source::csi_driver_name;
use crate::rule::list::each;
use crate::rule::{Errors, SPEC, required_name};
use crate::rules::{RULES, Rules};
use crate::value::text;
use gifee_base::{FieldError, name};
use serde_json::Value;

pub(super) use super::claim::{CLAIM, CLAIM_TEMPLATE};
pub(super) use super::slice::SLICE;

/// Rules of DeviceClasses.
pub(crate) const DEVICE_CLASS: Rules = Rules {
    validate_create: |errors, class| class_spec(errors, &class["spec"], &Value::Null),
    validate_update: |errors, class, old| class_spec(errors, &class["spec"], &old["spec"]),
    ..RULES
};

fn class_spec(errors: &mut Errors, spec: &Value, old: &Value) {
    selectors(errors, &spec["selectors"], &old["selectors"], &SPEC.child("selectors"));
    each(errors, &spec["config"], CONFIGS_MAXIMUM, &SPEC.child("config"), configuration);
    let extended = &spec["extendedResourceName"];
    if !extended.is_null() && !is_extended(text(extended)) {
        let why = "must be a valid extended resource name";
        errors.push(FieldError::invalid(&SPEC.child("extendedResourceName"), text(extended), why));
    }
}

/// Whether a name is that of a resource that others than Kubernetes define.
fn is_extended(one: &str) -> bool {
    let native = !one.contains('/') || one.contains("kubernetes.io/");
    !native && !one.starts_with("requests.") && name::qualified(&format!("requests.{one}")).is_empty()
}

/// Rules of DeviceTaintRules.
pub(crate) const TAINT_RULE: Rules = Rules {
    status_only: true,
    create: |rule, context| {
        if rule["spec"]["taint"].is_object() && rule["spec"]["taint"]["timeAdded"].is_null() {
            rule["spec"]["taint"]["timeAdded"] = context.now.into();
        }
    },
    validate_create: |errors, rule| taint_rule(errors, &rule["spec"], None),
    validate_update: |errors, rule, old| taint_rule(errors, &rule["spec"], Some(&old["spec"])),
    ..RULES
};

fn taint_rule(errors: &mut Errors, spec: &Value, old: Option<&Value>) {
    let (selector, at) = (&spec["deviceSelector"], SPEC.child("deviceSelector"));
    if !selector["driver"].is_null() {
        csi_driver_name(errors, &selector["driver"], &at.child("driver"));
    }
    if !selector["pool"].is_null() {
        pool_name(errors, &selector["pool"], &at.child("pool"));
    }
    if !selector["device"].is_null() {
        required_name(errors, &selector["device"], &at.child("device"), name::dns_label);
    }
    taint(errors, &spec["taint"], old.map(|old| &old["taint"]), &SPEC.child("taint"));
}
