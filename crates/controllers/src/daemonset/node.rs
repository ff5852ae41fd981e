//! Which nodes a DaemonSet's pods belong on. Pure.
//!
//! Invariant: what is decided here and what the scheduler does about the pod made for a node agree, so that
//! no pod is made that can never be bound. Answers to upstream's `NodeShouldRunDaemonPod`.

use gifee_base::Object;
use gifee_base::labels::{Operator, Requirement};
use gifee_reconcile::pod::Toleration;
use gifee_reconcile::{Error, Result};
use serde::{Deserialize, Deserializer};
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

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
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
    /// Terms one of which must match; none: every node does.
    required: Option<Vec<Term>>,
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

#[derive(Clone, Debug)]
struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
    valid: bool,
}

impl Place {
    /// Reads what a pod template asks.
    pub fn read(template: &Value) -> Self {
        let spec = &template["spec"];
        let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let terms = terms["nodeSelectorTerms"].as_array();
        let selector = spec["nodeSelector"].as_object().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = tolerations(spec);
        Self {
            node_name: text(&spec["nodeName"]),
            selector: selector.map(|(key, value)| (key.clone(), text(value))).collect(),
            required: terms.map(|terms| terms.iter().map(term).collect()),
            tolerations: serde_json::from_value(all.into()).unwrap_or_default(),
        }
    }

    /// Whether the pod belongs on a node.
    pub fn verdict(&self, node: &Node) -> Verdict {
        let here = self.node_name.is_empty() || self.node_name == node.name;
        let selected = self.selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let wanted = |terms: &Vec<Term>| terms.iter().any(|term| term.matches(node));
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

impl Term {
    fn matches(&self, node: &Node) -> bool {
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
        self.valid
            && !(self.labels.is_empty() && self.fields.is_empty())
            && self.labels.iter().all(|one| one.matches(label(&one.key)))
            && self.fields.iter().all(|one| one.matches(field(&one.key)))
    }
}

fn term(term: &Value) -> Term {
    let mut valid = true;
    let mut all = |name: &str, fields: bool| {
        let expressions = term[name].as_array().into_iter().flatten();
        let understood: Vec<_> = expressions.map(|one| requirement(one, fields)).collect();
        valid &= understood.iter().all(Option::is_some);
        understood.into_iter().flatten().collect()
    };
    let labels = all("matchExpressions", false);
    let fields = all("matchFields", true);
    Term { labels, fields, valid }
}

fn requirement(expression: &Value, field: bool) -> Option<Requirement> {
    let operator = match expression["operator"].as_str()? {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" if !field => Operator::Exists,
        "DoesNotExist" if !field => Operator::DoesNotExist,
        "Gt" if !field => Operator::GreaterThan,
        "Lt" if !field => Operator::LessThan,
        _ => return None,
    };
    let key = expression["key"].as_str()?.to_owned();
    let values = expression["values"].as_array().into_iter().flatten();
    let values: Vec<String> = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
    if field {
        // A node's name need not be a label's value.
        return (values.len() == 1).then_some(Requirement { key, operator, values });
    }
    Requirement::new(&key, operator, values).ok()
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
    let affinity = pod.value_at(&["spec", "affinity", "nodeAffinity"])?;
    let affinity: Value = serde_json::from_slice(affinity).ok()?;
    let terms = &affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let fields =
        terms.as_array()?.iter().flat_map(|term| term["matchFields"].as_array().into_iter().flatten());
    let mut named = fields.filter(|field| field["key"] == "metadata.name" && field["operator"] == "In");
    let values = named.next()?["values"].as_array()?.clone();
    (values.len() == 1).then(|| values[0].as_str().map(str::to_owned)).flatten()
}

/// Nodes by name, decoded once per change.
pub type Nodes = BTreeMap<String, Arc<Node>>;
