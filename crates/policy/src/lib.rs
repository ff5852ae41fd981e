//! Who is asking, may they, and is what they ask acceptable: authentication, authorization and the ordered
//! admission RULES, as decisions over a lookup of other objects.
//!
//! Invariant: no I/O. A decision is a function of the request and of what the lookup shows.

pub mod admission;
pub mod audit;
pub mod authenticate;
pub mod authorize;
pub mod expression;
pub mod lookup;
pub mod placement;
mod podsecurity;
pub mod policies;
pub mod quota;
pub mod request;
pub mod resources;

pub use lookup::Lookup;
pub use request::{Attributes, User};
