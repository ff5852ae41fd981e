//! Admission policies: their expressions compiled, and what they say about a request.
//!
//! Pure: which policies a request concerns, their parameters and the request's description are given.
//! Invariant: a policy is compiled once per revision; an expression that does not compile is an error of every
//! request it concerns, decided by the failure policy. Answers to apiserver's `admission/plugin/policy`.

mod compile;
mod judge;
mod mutate;
#[cfg(test)]
mod tests;
mod typing;

pub use compile::{Condition, Mutation, MutationKind, Policy, Validation};
pub use judge::{Denial, Input, Published, Verdict, hold, judge, matches};
pub use mutate::{Patch, patch};
pub use typing::warnings;
