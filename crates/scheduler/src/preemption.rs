//! Whether a pod without a place could have one if pods of lower priority went away.
//!
//! Answers to DefaultPreemption.

use crate::cluster::Cluster;
use crate::placement::{Diagnosis, unavailable};
use crate::plugins::Text;
use crate::pod::Pod;
use std::collections::BTreeMap;

/// Why nobody is pushed out, in upstream's words.
pub fn message(cluster: &Cluster, pod: &Pod, diagnosis: &Diagnosis) -> String {
    if !pod.template.preempts {
        return "preemption: not eligible due to preemptionPolicy=Never.".into();
    }
    let mut reasons: BTreeMap<Text, usize> = BTreeMap::new();
    let helpless = diagnosis.nodes - diagnosis.resolvable.len();
    if helpless > 0 {
        reasons.insert("Preemption is not helpful for scheduling".into(), helpless);
    }
    let lower = |index: &usize| {
        let mut pods = cluster.load(*index).pods.iter().filter_map(|key| cluster.placed(key));
        pods.any(|placed| placed.template.priority < pod.template.priority)
    };
    let without = diagnosis.resolvable.iter().filter(|index| !lower(index)).count();
    if without > 0 {
        reasons.insert("No preemption victims found for incoming pod".into(), without);
    }
    format!("preemption: {}", unavailable(diagnosis.nodes, &reasons))
}
