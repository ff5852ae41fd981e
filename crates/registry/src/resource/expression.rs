//! Expressions that select devices.
//!
//! Answers to the `cel` package of upstream's dynamic-resource-allocation. What an expression would cost at most is not
//! estimated.

use gifee_schema::cel::{Environment, Type};
use std::sync::OnceLock;

/// What an expression about a device may name: the device.
fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let of_domains = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
        let quantity = Type::opaque("kubernetes.Quantity").unwrap_or(Type::Dyn);
        let device = Type::object(
            "kubernetes.DRADevice",
            [
                ("driver", Type::String),
                ("attributes", of_domains(Type::Dyn)),
                ("capacity", of_domains(quantity)),
                ("allowMultipleAllocations", Type::Bool),
            ],
        );
        Environment::new().variable("device", device)
    })
}

/// Why an expression does not select devices, if it does not.
pub(super) fn selector_error(expression: &str) -> Option<String> {
    match environment().compile(expression, &[]) {
        Err(error) => Some(error.detail()),
        Ok(program) if matches!(program.kind(), Type::Bool | Type::Dyn) => None,
        Ok(program) => Some(format!("must evaluate to bool or the unknown type, not {}", program.kind())),
    }
}
