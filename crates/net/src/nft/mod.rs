//! Service rules: compiled from plain structs, applied to the kernel's nftables by netlink.
//!
//! Answers to kube-proxy's nftables mode. `service` and `base` compile, `model` knows the difference
//! between two states, `encode` and `expression` speak the kernel's language, `kernel` applies.

mod base;
mod encode;
mod expression;
pub mod ir;
mod kernel;
mod model;
mod removals;
mod service;
#[cfg(test)]
mod tests;
mod text;

pub use base::{compile_base, compile_pod};
pub use expression::Family;
pub use kernel::{Rules, remove};
pub use model::{Model, Owner};
pub use removals::Removals;
pub use service::{Scope, compile_service};
