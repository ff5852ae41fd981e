//! The pools of devices that a node can use.
//!
//! Invariant: only the newest slices of a pool count. Answers to `GatherPools` of upstream's structured allocator.

use super::object::{Device, Nodes, PoolKey, Slice};
use crate::node::Node;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A pool as a node sees it.
#[derive(Debug)]
pub struct Pool<'a> {
    /// Driver and name.
    pub key: &'a PoolKey,
    /// Whether some of its slices are missing.
    pub incomplete: bool,
    /// Whether it contradicts itself.
    pub invalid: bool,
    /// Its devices for the node; those that need conditions come last.
    pub devices: Vec<&'a Device>,
    /// All its slices.
    pub slices: Vec<&'a Slice>,
    /// Whether pods wait for one of its devices.
    conditional: bool,
}

/// All slices.
#[derive(Debug, Default)]
pub struct Slices {
    by_name: HashMap<Box<str>, Arc<Slice>>,
    /// Names of slices by pool.
    pools: BTreeMap<PoolKey, BTreeSet<Box<str>>>,
    /// Pools with a slice for one node alone.
    local: HashMap<Arc<str>, BTreeSet<PoolKey>>,
    /// How many slices of a pool are not for one node alone.
    wide: BTreeMap<PoolKey, usize>,
}

impl Slices {
    /// A slice is new or changed.
    pub fn put(&mut self, slice: Slice) {
        self.remove(&slice.name);
        self.pools.entry(slice.pool.clone()).or_default().insert(slice.name.clone());
        match &slice.nodes {
            Nodes::One(node) => {
                self.local.entry(node.clone()).or_default().insert(slice.pool.clone());
            }
            _ => *self.wide.entry(slice.pool.clone()).or_default() += 1,
        }
        self.by_name.insert(slice.name.clone(), Arc::new(slice));
    }

    /// A slice is gone.
    pub fn remove(&mut self, name: &str) {
        let Some(old) = self.by_name.remove(name) else { return };
        if let Some(names) = self.pools.get_mut(&old.pool) {
            names.remove(name);
            if names.is_empty() {
                self.pools.remove(&old.pool);
            }
        }
        match &old.nodes {
            Nodes::One(node) => {
                let others = self.pools.get(&old.pool).into_iter().flatten();
                let stays =
                    others.filter_map(|name| self.by_name.get(name)).any(|one| one.nodes == old.nodes);
                if !stays && let Some(pools) = self.local.get_mut(node) {
                    pools.remove(&old.pool);
                    if pools.is_empty() {
                        self.local.remove(node);
                    }
                }
            }
            _ => {
                if let Some(count) = self.wide.get_mut(&old.pool) {
                    *count -= 1;
                    if *count == 0 {
                        self.wide.remove(&old.pool);
                    }
                }
            }
        }
    }

    /// All slices.
    pub fn all(&self) -> impl Iterator<Item = &Slice> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// The pools that a node can use, in order.
    pub fn of(&self, node: &Node) -> Vec<Pool<'_>> {
        let local = self.local.get(&node.name).into_iter().flatten();
        let keys: BTreeSet<&PoolKey> = local.chain(self.wide.keys()).collect();
        let mut pools: Vec<Pool<'_>> = keys.into_iter().filter_map(|key| self.pool(key, node)).collect();
        pools.sort_by_key(|pool| (pool.conditional, pool.key));
        pools
    }

    fn pool<'a>(&'a self, key: &'a PoolKey, node: &Node) -> Option<Pool<'a>> {
        let slices = || self.pools.get(key).into_iter().flatten().filter_map(|name| self.by_name.get(name));
        let newest = slices().map(|slice| slice.generation).max()?;
        let slices: Vec<&Slice> =
            slices().filter(|slice| slice.generation == newest).map(Arc::as_ref).collect();
        let for_node: Vec<&Slice> = slices.iter().filter(|slice| slice.admits(node)).copied().collect();
        let first = for_node.first()?;
        let mut names = HashSet::new();
        let twice = slices.iter().flat_map(|slice| &slice.devices).any(|one| !names.insert(&one.id.device));
        let of_node = for_node.iter().flat_map(|slice| {
            let each = slice.nodes == Nodes::PerDevice;
            slice.devices.iter().filter(move |device| !each || device.nodes.admit(node))
        });
        let mut devices: Vec<&Device> = of_node.collect();
        let conditional = devices.iter().any(|device| !device.conditions.is_empty());
        devices.sort_by_key(|device| !device.conditions.is_empty());
        let incomplete = slices.len() != first.count;
        Some(Pool { key, incomplete, invalid: twice || dangles(&slices), devices, slices, conditional })
    }
}

/// Whether a device of a pool takes of counters that the pool does not have.
fn dangles(slices: &[&Slice]) -> bool {
    let has = |name: &str| slices.iter().flat_map(|slice| &slice.counters).any(|(set, _)| **set == *name);
    let consumed = slices.iter().flat_map(|slice| &slice.devices).flat_map(|device| &device.consumes);
    consumed.into_iter().any(|(set, _)| !has(set))
}
