//! Node selectors: terms one of which a node must meet, each of requirements on its labels and its name.
//!
//! Invariant: a term without requirements, or with one that cannot be understood, is met by no node. Answers to
//! component-helpers' `scheduling/corev1/nodeaffinity`.

use crate::labels::{Operator, Requirement};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The only field of nodes that terms can name.
const NAME: &str = "metadata.name";

/// Nodes that meet all of some requirements.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "RawTerm")]
pub struct Term {
    /// On labels.
    pub labels: Vec<Requirement>,
    /// On the name.
    pub fields: Vec<Requirement>,
    /// Whether all requirements could be understood.
    pub valid: bool,
}

/// A term with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Preference {
    /// From 1 to 100.
    #[serde(default)]
    pub weight: i32,
    /// The term.
    #[serde(default, rename = "preference", deserialize_with = "nullable")]
    pub term: Term,
}

/// Terms one of which a node must meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeSelector {
    /// The terms; none: no node is selected.
    #[serde(default, rename = "nodeSelectorTerms", deserialize_with = "nullable")]
    pub terms: Vec<Term>,
}

/// Which nodes a pod must have, and which it would rather have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct NodeAffinity {
    /// What a node must meet; none: every node does.
    #[serde(default, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    /// What it had better meet.
    #[serde(
        default,
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "nullable"
    )]
    pub preferred: Vec<Preference>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawTerm {
    #[serde(deserialize_with = "nullable")]
    match_expressions: Vec<Expression>,
    #[serde(deserialize_with = "nullable")]
    match_fields: Vec<Expression>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    #[serde(deserialize_with = "nullable")]
    values: Vec<String>,
}

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Default for Term {
    fn default() -> Self {
        RawTerm::default().into()
    }
}

impl From<RawTerm> for Term {
    fn from(raw: RawTerm) -> Self {
        let mut valid = true;
        let mut all = |expressions: Vec<Expression>, fields: bool| {
            let requirements = expressions.into_iter().map(|one| requirement(one, fields));
            let understood: Vec<Option<Requirement>> = requirements.collect();
            valid &= understood.iter().all(Option::is_some);
            understood.into_iter().flatten().collect()
        };
        let labels = all(raw.match_expressions, false);
        let fields = all(raw.match_fields, true);
        Self { labels, fields, valid }
    }
}

fn requirement(expression: Expression, field: bool) -> Option<Requirement> {
    let operator = match expression.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" if !field => Operator::Exists,
        "DoesNotExist" if !field => Operator::DoesNotExist,
        "Gt" if !field => Operator::GreaterThan,
        "Lt" if !field => Operator::LessThan,
        _ => return None,
    };
    if field {
        // A node's name need not be a label's value.
        let one = expression.values.len() == 1 && expression.key == NAME;
        return one.then_some(Requirement { key: expression.key, operator, values: expression.values });
    }
    Requirement::new(&expression.key, operator, expression.values).ok()
}

impl Term {
    /// Whether a node of this name is selected; `label` finds the value of one of its labels.
    pub fn matches<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.valid
            && !(self.labels.is_empty() && self.fields.is_empty())
            && self.labels.iter().all(|one| one.matches(label(&one.key)))
            && self.fields.iter().all(|one| one.matches(Some(name)))
    }
}

impl NodeSelector {
    /// From the JSON of a `v1.NodeSelector`; one that is none selects nothing.
    pub fn from_value(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// What the affinity in the JSON of a pod's spec requires; none: every node will do.
    pub fn required(spec: &Value) -> Option<Self> {
        let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        (!required.is_null()).then(|| Self::from_value(required))
    }

    /// Whether a node of this name meets one of the terms; `label` finds the value of one of its labels.
    pub fn matches<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().any(|term| term.matches(name, &label))
    }

    /// The one name that a term demands first of all, if it is about a name.
    pub fn named(&self) -> Option<&str> {
        let mut fields = self.terms.iter().flat_map(|term| &term.fields);
        let first = fields.find(|one| one.operator == Operator::In)?;
        first.values.first().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn terms_select_nodes() {
        let check = |terms: Value, expect: bool| {
            let spec = json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                { "nodeSelectorTerms": terms } } } });
            let selector = NodeSelector::required(&spec).unwrap();
            let label = |key: &str| match key {
                "zone" => Some("a"),
                "rank" => Some("7"),
                _ => None,
            };
            assert_eq!(selector.matches("one", label), expect, "{spec}");
        };
        let labels = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let fields = |operator: &str, values: &[&str]| json!({ "matchFields": [{ "key": "metadata.name", "operator": operator, "values": values }] });
        check(json!([labels("zone", "In", &["a", "b"])]), true);
        check(json!([labels("zone", "In", &["b"])]), false);
        check(json!([labels("zone", "In", &["b"]), labels("zone", "Exists", &[])]), true);
        check(json!([labels("other", "NotIn", &["b"])]), true);
        check(json!([labels("other", "DoesNotExist", &[])]), true);
        check(json!([labels("rank", "Gt", &["6"])]), true);
        check(json!([labels("rank", "Lt", &["7"])]), false);
        check(json!([fields("In", &["one"])]), true);
        check(json!([fields("NotIn", &["one"])]), false);
        // What cannot be understood, and what asks for nothing, selects nothing.
        check(json!([fields("In", &["one", "two"])]), false);
        check(json!([fields("Exists", &[])]), false);
        check(json!([labels("rank", "Gt", &["many"])]), false);
        check(json!([labels("zone", "Near", &["a"])]), false);
        check(json!([{}]), false);
        check(json!([null]), false);
        check(json!([]), false);
        check(Value::Null, false);
    }

    #[test]
    fn who_requires_nothing_takes_every_node() {
        assert_eq!(NodeSelector::required(&json!({ "affinity": { "nodeAffinity": null } })), None);
        let name = json!({ "nodeSelectorTerms": [
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["one"] }] }] });
        assert_eq!(NodeSelector::from_value(&name).named(), Some("one"));
        assert_eq!(NodeSelector::from_value(&json!({ "nodeSelectorTerms": [{}] })).named(), None);
    }
}
