//! Keeps pods off cordoned nodes, unless they tolerate the taint that stands for it.

use super::{Plugin, Verdict, accepts_now};
use crate::node::Node;
use crate::pod::Template;

/// How much it counts that a person must act on the node; more than any lack of resources.
const ACT: i64 = 1 << 40;

/// NodeUnschedulable
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        if tolerates(&pod.template) {
            return None;
        }
        Some(Box::new(|index| Verdict::unless(view.node(index).unschedulable, "node(s) were unschedulable")))
    },
    hint: |pod, event, cluster| {
        accepts_now(event, cluster, |node: &Node| !node.unschedulable || tolerates(pod))
    },
    advise: |_, view, index| Some((ACT, format!("`kubectl uncordon {}`", view.node(index).name))),
    ..Plugin::named("NodeUnschedulable")
};

fn tolerates(pod: &Template) -> bool {
    let taint = ("node.kubernetes.io/unschedulable", "", "NoSchedule");
    pod.tolerations.iter().any(|one| one.tolerates(taint.0, taint.1, taint.2))
}
