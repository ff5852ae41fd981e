//! What a pod is, and what it needs next: pure functions over its spec and what was observed of it.
//!
//! Invariant: nothing here does I/O or asks for the time; the same [`View`] always gives the same [`Plan`] and the
//! same status. Answers to the kubelet's `computePodActions`, `generateAPIPodStatus` and `status/generate.go`.

pub mod back_off;
pub mod conditions;
pub mod members;
pub mod phase;
pub mod plan;
pub mod qos;
pub mod resize;
pub mod status;
#[cfg(test)]
mod tests;
pub mod view;

pub use members::{Member, Restart, Role};
pub use plan::{Action, Plan, Why, plan};
pub use view::{Attempt, AttemptState, ContainerView, Ending, Failure, Sandbox, Setup, View, Work};
