//! Kubernetes' Common Expression Language: compile once, evaluate often, inside a budget.
//!
//! Declare what expressions may name, compile them with their owner (a custom resource's schema, a policy, a
//! webhook), and evaluate them for each object:
//!
//! ```ignore
//! let environment = Environment::new().variable("self", from_schema(&schema, true)?).variable("oldSelf", kind);
//! let program = environment.compile("self.spec.replicas <= 5", &[Type::Bool])?; // Err prints as upstream prints it
//! let mut budget = Budget::new(PER_OBJECT); // shared by all expressions about one object
//! let mut activation = Activation::new(vec![Value::typed(&object, &kind)?, Value::typed(&old, &kind)?]);
//! let fine = matches!(program.evaluate(&mut activation, &mut budget)?, Value::Bool(true));
//! ```
//!
//! * [`Environment::compile`] parses and type-checks; it takes milliseconds and a thread. [`Compilation`] is
//!   upstream's text with line, column and caret.
//! * [`Value::typed`] reads a JSON tree by a [`Type`] (formats, integers against floats, lists of type set and map),
//!   [`Value::dynamic`] one without: neither copies the tree. [`from_schema`] makes types of OpenAPI schemas.
//! * [`Error::Limit`] and [`Error::Budget`] mean that one evaluation, or all on one budget, cost too much; any
//!   other error is the expression's.
//! * [`Environment::composed`] declares `variables`, whose fields run when they are first asked for.
//! * [`Check::new`] over an [`Authorize`] is the value of `authorizer`; its type is [`Type::opaque`]'s
//!   `kubernetes.authorization.Authorizer`.
//!
//! Invariant: no expression and no input panics, overflows the stack or runs longer than its budget lets it. Parsing
//! is the `cel` crate's; types, costs and libraries are Kubernetes' of version 1.37 and stand here. Answers to the
//! apiserver's `pkg/cel` and to cel-go's checker and interpreter.

pub mod admission;
mod check;
mod compare;
mod cost;
mod declare;
pub mod device;
mod environment;
mod error;
mod estimate;
mod evaluate;
mod functions;
mod kind;
mod literal;
mod macros;
mod names;
mod plan;
mod program;
mod schema;
mod syntax;
#[cfg(test)]
mod tests;

mod unify;
mod value;

pub use environment::Environment;
pub use error::{Compilation, Error, Issue, Stage};
pub use estimate::Sizes;
pub use functions::authorize::{Authorize, Check, Decision, Request};
pub use functions::{format::Format, network::Cidr, regex::Pattern, semver::Semver, url::Url};
pub use kind::{Field, List, Object, Order, Type};
pub use names::{escape, reserved, unescape};
pub use program::{Activation, Budget, PER_CALL, PER_MATCH_CONDITIONS, PER_OBJECT, Program};
pub use schema::from_schema;
pub use value::{Key, Map, Struct, Text, Timestamp, Value};
