//! What would have to change for a pod to fit: the least of what single nodes lack.
//!
//! Has no counterpart upstream.

use crate::cluster::Cluster;
use crate::placement::{View, prepare};
use crate::plugins::{PLUGINS, Set, Verdict};
use crate::pod::Pod;
use crate::profile::Profile;
use crate::relations::Relations;

/// So many nodes are looked at.
const NODES_MAXIMUM: usize = 200;

/// The advice; none if no single change to one of the nodes looked at would do.
pub fn advise(cluster: &Cluster, profile: &Profile, pod: &Pod, rejected: Set) -> Option<String> {
    // What other nodes' pods are in the way of is not seen here.
    if rejected.is_relational() {
        return None;
    }
    let relations = Relations::default();
    let view = View { cluster, relations: &relations, profile, supposed: None };
    let filters = prepare(pod, &view, false);
    let nodes = cluster.known().iter().take(NODES_MAXIMUM);
    let advised = nodes.filter_map(|node| {
        let mut rejecting = filters.iter().filter(|(_, filter)| filter(*node) != Verdict::Fits);
        let (plugin, _) = rejecting.next()?;
        let (lack, what) =
            rejecting.next().is_none().then(|| (PLUGINS[*plugin].advise)(pod, &view, *node))??;
        Some((lack, what, *node))
    });
    let (_, what, node) = advised.min_by_key(|(lack, _, _)| *lack)?;
    Some(format!("It would fit on {} with {what}.", cluster.node(node).name))
}
