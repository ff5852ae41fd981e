//! Server-side apply: sets of fields, the merge of applied configurations, and who owns what.
//!
//! Invariant: pure functions of objects, schemas and `managedFields`; nothing here knows a kind. Objects are trees as
//! [`check`](crate::check) leaves them, which is as Go writes its types. Recursion is as deep as the trees are, which
//! parsing bounds. Answers to structured-merge-diff and apimachinery's `managedfields`.

mod atomics;
mod compare;
mod configure;
mod created;
mod element;
mod extract;
mod managers;
mod merge;
mod record;
mod scale;
mod set;
#[cfg(test)]
mod tests;
mod typing;
mod wire;

pub use atomics::atomics;
pub use compare::{Comparison, compare};
pub use configure::{Applied, Conflict, Refused, apply};
pub use created::created;
pub use element::Element;
pub use extract::{field_set, validate};
pub use managers::{
    Entry, MAXIMUM_MANAGER_BYTES, MAXIMUM_UPDATERS, Misnamed, Operation, decode, encode, is_reset, misnamed,
    same_but_times, unprintable,
};
pub use merge::{merge, remove};
pub use record::{Change, Recorded, Versions, record, record_created};
pub use scale::{from_scale, to_scale};
pub use set::{Filter, Set, path_text};
