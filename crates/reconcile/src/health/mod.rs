//! Who is well, and who may be repaired: for whatever gives signs of life, be it a node, a machine or a cluster.
//!
//! [`Signs`] tell for how long a member has been silent. What is cheap and harms nobody, a controller does at once; for
//! what is costly it asks [`Zones`], which ration it and refuse it while so many fail that the fault is more likely to
//! be elsewhere. Both are pure.

mod signs;
#[cfg(test)]
mod tests;
mod zones;

pub use signs::Signs;
pub use zones::{Limits, Permit, Shift, Zones};
