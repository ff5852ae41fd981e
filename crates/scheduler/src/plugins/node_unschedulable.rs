//! Keeps pods off cordoned nodes, unless they tolerate the taint that stands for it.

use super::{Plugin, Verdict, accepts_now};
use crate::node::Node;
use crate::pod::Pod;

/// NodeUnschedulable
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, cluster| {
        if tolerates(pod) {
            return None;
        }
        Some(Box::new(|index| {
            Verdict::unless(cluster.node(index).unschedulable, "node(s) were unschedulable")
        }))
    },
    hint: |pod, event, cluster| {
        accepts_now(event, cluster, |node: &Node| !node.unschedulable || tolerates(pod))
    },
    ..Plugin::named("NodeUnschedulable")
};

fn tolerates(pod: &Pod) -> bool {
    let taint = ("node.kubernetes.io/unschedulable", "", "NoSchedule");
    pod.template.tolerations.iter().any(|one| one.tolerates(taint.0, taint.1, taint.2))
}
