//! The typed side of the API: the one place that encodes and decodes k8s-openapi types, and what every
//! controller is made of: shared caches, a driver, expectations, claims of dependents, events, leases.
//!
//! Invariant: nothing below this crate names a kind. Answers to client-go's `tools` and
//! kube-controller-manager's `controller` package.

mod caches;
mod codec;
mod context;
mod driver;
mod error;
pub mod events;
pub mod expectations;
pub mod health;
pub mod lease;
pub mod owner;
pub mod patch;
pub mod pod;
pub mod rollout;
#[cfg(test)]
mod tests;

pub use caches::{BY_CLAIM, BY_CONTROLLER, BY_NODE, Caches};
pub use codec::{decode, encode, gvk, gvr, gvr_of, nullable, part};
pub use context::Context;
pub use driver::{Counts, Outcome, Reconcile, work};
pub use error::{Error, Result};
pub use events::{Recorder, Reference};
pub use expectations::Expectations;
pub use k8s_openapi;
