//! Owners that were found to be gone, so that of ten thousand dependents only the first one asks.
//!
//! Bounded: of more than 1,000 the oldest are forgotten, and asked for again. A UID never comes back, so
//! an entry never becomes wrong.

use super::graph::Claim;
use std::collections::{HashSet, VecDeque};

const MAXIMUM: usize = 1000;

/// Owners that are gone.
#[derive(Default)]
pub struct Absent {
    claims: HashSet<Claim>,
    order: VecDeque<Claim>,
}

impl Absent {
    /// Notes that an owner is gone.
    pub fn add(&mut self, claim: Claim) {
        if !self.claims.insert(claim.clone()) {
            return;
        }
        self.order.push_back(claim);
        if self.order.len() > MAXIMUM
            && let Some(oldest) = self.order.pop_front()
        {
            self.claims.remove(&oldest);
        }
    }

    /// Whether an owner is known to be gone; if it has no namespace, whoever believes in it.
    pub fn has(&self, claim: &Claim) -> bool {
        self.claims.contains(claim) || self.claims.contains(&Claim { namespace: "".into(), ..claim.clone() })
    }
}
