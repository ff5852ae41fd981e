//! Names and values shared by every crate: kinds and keys, objects as bytes with an index of their
//! metadata, selectors, quantities, the `Status` error, time.
//!
//! Invariant: nothing here does I/O, spawns, or knows a particular kind.

pub mod clock;
pub mod encode;
pub mod field;
pub mod gvk;
pub mod labels;
pub mod name;
pub mod nodes;
pub mod object;
pub mod quantity;
pub mod scan;
pub mod selector;
pub mod status;

#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use field::{FieldError, Path};
pub use gvk::{Gvk, Gvr, ObjectKey};
pub use labels::LabelSelector;
pub use nodes::NodeSelector;
pub use object::{Object, Owner};
pub use quantity::Quantity;
pub use selector::FieldSelector;
pub use status::{Cause, Reason, Status};
