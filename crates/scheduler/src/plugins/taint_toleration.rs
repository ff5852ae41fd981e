//! Keeps pods off nodes whose taints they do not tolerate, and prefers nodes without such soft taints.

use super::{Plugin, Scale, Scoring, Verdict, accepts_now};
use crate::node::{Node, Taint};
use crate::pod::Template;

/// TaintToleration
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        Some(Box::new(|index| {
            Verdict::unless(!accepts(&pod.template, view.node(index)), "node(s) had untolerated taint(s)")
        }))
    },
    score: Some(Scoring {
        weight: 3,
        scale: Scale::Lowest,
        prepare: |pod, view, _| {
            let soft =
                |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerated(&pod.template, taint);
            Some(Box::new(move |index| {
                i64::try_from(view.node(index).taints.iter().filter(soft).count()).unwrap_or(i64::MAX)
            }))
        },
    }),
    hint: |pod, event, cluster| accepts_now(event, cluster, |node| accepts(pod, node)),
    advise: |pod, view, index| {
        let borne_not = |taint: &&Taint| {
            matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !tolerated(&pod.template, taint)
        };
        let taints = view.node(index).taints.iter().filter(borne_not);
        let named: Vec<String> = taints
            .map(|taint| format!("a toleration of {}={}:{}", taint.key, taint.value, taint.effect))
            .collect();
        let lack = i64::try_from(named.len()).unwrap_or(i64::MAX).saturating_mul(1 << 20);
        Some((lack, named.join(" and ")))
    },
    ..Plugin::named("TaintToleration")
};

/// Whether the pod bears a node's hard taints.
pub fn accepts(pod: &Template, node: &Node) -> bool {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints.iter().filter(hard).all(|taint| tolerated(pod, taint))
}

fn tolerated(pod: &Template, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|one| one.tolerates(&taint.key, &taint.value, &taint.effect))
}
