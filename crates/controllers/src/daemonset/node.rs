//! Which nodes a DaemonSet's pods belong on. Pure.
//!
//! Invariant: what is decided here and what the scheduler does about the pod made for a node agree, so that
//! no pod is made that can never be bound. Answers to upstream's `NodeShouldRunDaemonPod`.

use gifee_base::{NodeSelector, Object};
use gifee_reconcile::pod::Toleration;
use gifee_reconcile::{Error, Result, nullable};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const NO_EXECUTE: &str = "NoExecute";
const NO_SCHEDULE: &str = "NoSchedule";

/// A node, as far as DaemonSets look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Taint {
    #[serde(deserialize_with = "nullable")]
    key: String,
    #[serde(deserialize_with = "nullable")]
    value: String,
    #[serde(deserialize_with = "nullable")]
    effect: String,
}

impl Node {
    /// Reads a node.
    ///
    /// # Errors
    /// If the bytes are no node.
    pub fn read(object: &Object) -> Result<Self> {
        let taints = match object.value_at(&["spec", "taints"]) {
            Some(bytes) => serde_json::from_slice::<Option<Vec<Taint>>>(bytes)
                .map_err(|error| Error::invalid(object.key(), error))?
                .unwrap_or_default(),
            None => Vec::new(),
        };
        let labels = object.labels().map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(Self { name: object.name().to_owned(), labels: labels.collect(), taints })
    }
}

/// What a set asks of nodes.
#[derive(Clone, Debug)]
pub struct Place {
    node_name: String,
    selector: Vec<(String, String)>,
    /// What its affinity requires; none: every node will do.
    required: Option<NodeSelector>,
    tolerations: Vec<Toleration>,
}

/// Whether a set's pod belongs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether one is made if there is none.
    pub run: bool,
    /// Whether one that is there stays.
    pub stay: bool,
}

impl Place {
    /// Reads what a pod template asks.
    pub fn read(template: &Value) -> Self {
        let spec = &template["spec"];
        let selector = spec["nodeSelector"].as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = tolerations(spec);
        Self {
            node_name: text(&spec["nodeName"]),
            selector: selector.map(|(key, value)| (key.clone(), text(value))).collect(),
            required: NodeSelector::required(spec),
            tolerations: serde_json::from_value(all.into()).unwrap_or_default(),
        }
    }

    /// Whether the pod belongs on a node.
    pub fn verdict(&self, node: &Node) -> Verdict {
        let here = self.node_name.is_empty() || self.node_name == node.name;
        let selected = self.selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let wanted = |terms: &NodeSelector| terms.matches(&node.name, label);
        if !here || !selected || !self.required.as_ref().is_none_or(wanted) {
            return Verdict { run: false, stay: false };
        }
        let repelled = |effects: &[&str]| {
            node.taints.iter().filter(|taint| effects.contains(&taint.effect.as_str())).any(|taint| {
                let bears = |one: &Toleration| one.tolerates(&taint.key, &taint.value, &taint.effect);
                !self.tolerations.iter().any(bears)
            })
        };
        Verdict { run: !repelled(&[NO_SCHEDULE, NO_EXECUTE]), stay: !repelled(&[NO_EXECUTE]) }
    }
}

/// The tolerations of a pod, with those that every daemon has: it stays on a node that is in trouble, and
/// comes to one that takes no others.
pub fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let mut add = |name: &str, effect: &str| {
        let key = format!("node.kubernetes.io/{name}");
        let one = json!({ "key": key, "operator": "Exists", "effect": effect });
        // The same but for the seconds is replaced.
        let same = |present: &Value| {
            present["key"] == one["key"]
                && present["operator"] == "Exists"
                && present["effect"] == one["effect"]
                && present["value"].as_str().unwrap_or_default().is_empty()
        };
        match all.iter_mut().find(|present| same(present)) {
            Some(present) => *present = one,
            None => all.push(one),
        }
    };
    for (name, effect) in [
        ("not-ready", NO_EXECUTE),
        ("unreachable", NO_EXECUTE),
        ("disk-pressure", NO_SCHEDULE),
        ("memory-pressure", NO_SCHEDULE),
        ("pid-pressure", NO_SCHEDULE),
        ("unschedulable", NO_SCHEDULE),
    ] {
        add(name, effect);
    }
    if spec["hostNetwork"] == true {
        add("network-unavailable", NO_SCHEDULE);
    }
    all
}

/// The node that a pod is on, or is meant for.
pub fn target(pod: &Object) -> Option<String> {
    if let Some(name) = pod.text_at(&["spec", "nodeName"]).filter(|name| !name.is_empty()) {
        return Some(name.into_owned());
    }
    const REQUIRED: &[&str] =
        &["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let required: NodeSelector = pod.decode_at(REQUIRED).ok()?;
    required.named().map(str::to_owned)
}

/// Nodes by name, decoded once per change.
pub type Nodes = BTreeMap<String, Arc<Node>>;
