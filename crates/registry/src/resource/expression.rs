//! Expressions that select devices.
//!
//! Answers to the `cel` package of upstream's dynamic-resource-allocation.

use gifee_schema::cel::device::environment;
use gifee_schema::cel::{Sizes, Type};
use serde_json::json;
use std::sync::OnceLock;

/// The most that an expression may be estimated to cost.
const COST_MAXIMUM: u64 = 1_000_000;
/// Attributes and capacities that a device can have.
const ATTRIBUTES_MAXIMUM: u64 = 32;
const DRIVER_MAXIMUM: u64 = 63;
const ATTRIBUTE_MAXIMUM: u64 = 64;

/// What is the matter with an expression.
pub(super) enum Wrong {
    /// It does not compile, or gives no answer.
    Invalid(String),
    /// It could cost too much.
    TooDear,
}

/// How large the parts of a device can be.
fn sizes() -> &'static Sizes {
    static SIZES: OnceLock<Sizes> = OnceLock::new();
    SIZES.get_or_init(|| {
        // Names of drivers and attributes are of ASCII letters; sizes of texts count four bytes each.
        let text = |most: u64| json!({"type": "string", "maxLength": most.div_ceil(4)});
        let of_domains = |value: serde_json::Value| {
            let inner =
                json!({"type": "object", "maxProperties": ATTRIBUTES_MAXIMUM, "additionalProperties": value});
            json!({"type": "object", "maxProperties": ATTRIBUTES_MAXIMUM, "additionalProperties": inner})
        };
        let device = json!({"type": "object", "properties": {
            "driver": text(DRIVER_MAXIMUM),
            "attributes": of_domains(text(ATTRIBUTE_MAXIMUM)),
            "capacity": of_domains(json!({"type": "integer"})),
            "allowMultipleAllocations": {"type": "boolean"},
        }});
        Sizes::of(&device, false).unwrap_or_default()
    })
}

/// Why an expression does not select devices, if it does not.
pub(super) fn selector_error(expression: &str) -> Option<Wrong> {
    match environment().estimate(expression, &[], sizes()) {
        Err(error) => Some(Wrong::Invalid(error.detail())),
        Ok((program, cost)) if matches!(program.kind(), Type::Bool | Type::Dyn) => {
            (cost > COST_MAXIMUM).then_some(Wrong::TooDear)
        }
        Ok((program, _)) => {
            let why = format!("must evaluate to bool or the unknown type, not {}", program.kind());
            Some(Wrong::Invalid(why))
        }
    }
}
