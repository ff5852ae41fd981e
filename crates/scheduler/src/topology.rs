//! Domains of nodes by the value of a label: a number per node, so that counting by domain touches no text.
//!
//! Invariant: nodes share a number exactly if they share the value; 0 is a node without the label, and a node that
//! is not known. A key is numbered from the moment that somebody counts by it.

use crate::node::Node;
use std::collections::HashMap;
use std::sync::Arc;

/// So many numbers more than nodes may be in use before they are given out anew.
const SLACK: usize = 4096;

/// The domains of one key.
#[derive(Debug)]
pub struct Topology {
    key: Arc<str>,
    of: Vec<u32>,
    numbers: HashMap<Box<str>, u32>,
    /// How many nodes each domain has.
    sizes: Vec<u32>,
    /// How many domains have several nodes.
    shared: usize,
}

impl Topology {
    fn new(key: &Arc<str>, nodes: &[Node], known: &[usize]) -> Self {
        let (of, numbers, sizes) = (Vec::new(), HashMap::new(), vec![0]);
        let mut topology = Self { key: key.clone(), of, numbers, sizes, shared: 0 };
        for index in known {
            topology.put(*index, nodes[*index].label(key));
        }
        topology
    }

    /// The domain of a node.
    pub fn domain(&self, node: usize) -> usize {
        self.of.get(node).copied().unwrap_or_default() as usize
    }

    /// One more than the highest number.
    pub fn limit(&self) -> usize {
        self.sizes.len()
    }

    /// Whether every domain is a single node.
    pub fn is_of_single_nodes(&self) -> bool {
        self.shared == 0
    }

    fn put(&mut self, node: usize, value: Option<&str>) {
        if self.of.len() <= node {
            self.of.resize(node + 1, 0);
        }
        let number = match value {
            None => 0,
            Some(value) => match self.numbers.get(value) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
                    self.numbers.insert(value.into(), number);
                    self.sizes.push(0);
                    number
                }
            },
        };
        let old = std::mem::replace(&mut self.of[node], number);
        if old == number {
            return;
        }
        if old != 0 {
            let size = &mut self.sizes[old as usize];
            *size -= 1;
            self.shared -= usize::from(*size == 1);
        }
        if number != 0 {
            let size = &mut self.sizes[number as usize];
            *size += 1;
            self.shared += usize::from(*size == 2);
        }
    }
}

/// The domains of all keys in use: as many as pods name in their terms.
#[derive(Debug, Default)]
pub struct Topologies(Vec<Topology>);

impl Topologies {
    /// The number of a key, if it is in use.
    pub fn find(&self, key: &str) -> Option<usize> {
        self.0.iter().position(|one| *one.key == *key)
    }

    /// A key comes into use.
    pub fn add(&mut self, key: &Arc<str>, nodes: &[Node], known: &[usize]) -> usize {
        self.0.push(Topology::new(key, nodes, known));
        self.0.len() - 1
    }

    /// The domains of a key by its number.
    pub fn get(&self, number: usize) -> &Topology {
        &self.0[number]
    }

    /// A node is new or changed, or none any more.
    pub fn put(&mut self, index: usize, node: Option<&Node>) {
        for topology in &mut self.0 {
            topology.put(index, node.and_then(|node| node.label(&topology.key)));
        }
    }

    /// Gives numbers out anew where many are of values that no node has any more.
    pub fn tidy(&mut self, nodes: &[Node], known: &[usize]) {
        for topology in &mut self.0 {
            if topology.limit() > 2 * topology.of.len() + SLACK {
                *topology = Topology::new(&topology.key, nodes, known);
            }
        }
    }
}
