//! Reads: from the watch cache, never decoding what is wanted as it is stored.
//!
//! Invariant: a read without a resource version sees every write that was acknowledged before it.

mod continuation;
mod get;
mod list;
mod objects;
mod options;
mod pieces;
pub(crate) mod socket;
mod watch;

pub use get::{get, newest, respond_object};
pub use list::list;
pub use objects::{AsObjects, Event, Events};
pub use options::filter;
pub use watch::watch;
