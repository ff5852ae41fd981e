//! The rollout engine: how many of a pool's members may be missing or too many, which are taken next, when
//! one counts as available, how long a rollout may stand still, and the numbers and names of its revisions.
//!
//! Invariants: all of it is pure; nothing here knows what a member is, so that pods, machines and clusters
//! roll out by the same rules. Answers to what upstream's Deployment, StatefulSet and DaemonSet controllers
//! each have of their own: `deploymentutil`, `getStatefulSetMaxUnavailable`, `rollingUpdate`, `history`.

pub mod availability;
pub mod bounds;
pub mod pick;
pub mod revision;
#[cfg(test)]
mod tests;
pub mod window;

pub use bounds::{Bounds, Round, scaled};
pub use pick::{Group, Room, grow, pick};
pub use window::Window;
