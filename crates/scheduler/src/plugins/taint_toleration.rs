//! Keeps pods off nodes whose taints they do not tolerate, and prefers nodes without such soft taints.

use super::{Plugin, Scale, Scoring, Verdict, accepts_now};
use crate::node::{Node, Taint};
use crate::pod::Pod;

/// TaintToleration
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, cluster| {
        Some(Box::new(|index| {
            Verdict::unless(!accepts(pod, cluster.node(index)), "node(s) had untolerated taint(s)")
        }))
    },
    score: Some(Scoring {
        weight: 3,
        scale: Scale::Lowest,
        prepare: |pod, cluster| {
            let soft = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerated(pod, taint);
            Some(Box::new(move |index| {
                i64::try_from(cluster.node(index).taints.iter().filter(soft).count()).unwrap_or(i64::MAX)
            }))
        },
    }),
    hint: |pod, event, cluster| accepts_now(event, cluster, |node| accepts(pod, node)),
    ..Plugin::named("TaintToleration")
};

fn accepts(pod: &Pod, node: &Node) -> bool {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints.iter().filter(hard).all(|taint| tolerated(pod, taint))
}

fn tolerated(pod: &Pod, taint: &Taint) -> bool {
    pod.template.tolerations.iter().any(|one| one.tolerates(&taint.key, &taint.value, &taint.effect))
}
