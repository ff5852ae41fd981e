//! Which addresses of the pod range are taken.
//!
//! Answers to the host-local CNI plugin. Invariant: an address has at most one holder; a freed one is
//! given out again only after all others had their turn, so that connections to its last holder die out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::Cidr;

/// The pod range of a node. The first address of the range, the gateway and the last are never given.
#[derive(Debug)]
pub struct Addresses {
    range: Cidr,
    taken: BTreeSet<u128>,
    next: u128,
}

const FIRST: u128 = 2;

impl Addresses {
    /// A range of which nothing is taken.
    pub fn new(range: Cidr) -> Self {
        Self { range, taken: BTreeSet::new(), next: FIRST }
    }

    fn last(&self) -> u128 {
        self.range.size() - 2
    }

    /// Takes the next free address; `None` if all are taken.
    pub fn take(&mut self) -> Option<IpAddr> {
        let free = |index: &u128| !self.taken.contains(index);
        let index = (self.next..=self.last()).find(free).or_else(|| (FIRST..self.next).find(free))?;
        self.taken.insert(index);
        self.next = index + 1;
        self.range.nth(index)
    }

    /// Takes a given address, as one that was given before a restart. `false` if it has a holder or
    /// cannot be given.
    pub fn adopt(&mut self, address: IpAddr) -> bool {
        let last = self.last();
        let index = self.range.index(address).filter(|index| (FIRST..=last).contains(index));
        let adopted = index.is_some_and(|index| self.taken.insert(index));
        if let (true, Some(index)) = (adopted, index) {
            self.next = self.next.max(index + 1);
        }
        adopted
    }

    /// Frees an address.
    pub fn give_back(&mut self, address: IpAddr) {
        if let Some(index) = self.range.index(address) {
            self.taken.remove(&index);
        }
    }
}
