//! KINDS: a row per built-in kind, the hooks of the few kinds that need them, an example object of each.
//!
//! Invariant: a kind is data. The API server holds one engine that is driven by these rows; a
//! CustomResourceDefinition makes the same row at run time.

pub mod kind;

pub use kind::Kind;
