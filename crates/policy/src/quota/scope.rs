//! Scopes of quotas, in both spellings.

use serde_json::Value;

/// One scope, and for classes which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Such as `BestEffort`.
    pub name: String,
    /// `Exists`, `DoesNotExist`, `In`, `NotIn`.
    pub operator: String,
    /// Classes.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether it holds for an object with this class, or with none.
    pub fn holds(&self, class: Option<&str>) -> bool {
        let named = || class.is_some_and(|class| self.values.iter().any(|value| value == class));
        match self.operator.as_str() {
            "Exists" => class.is_some(),
            "DoesNotExist" => class.is_none(),
            "In" => named(),
            "NotIn" => !named(),
            _ => false,
        }
    }
}

/// The scopes of a quota's spec.
pub fn of(spec: &Value) -> Vec<Requirement> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let plain = spec["scopes"].as_array().into_iter().flatten().map(|scope| Requirement {
        name: text(scope),
        operator: "Exists".into(),
        values: Vec::new(),
    });
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let selected = selected.map(|one| Requirement {
        name: text(&one["scopeName"]),
        operator: text(&one["operator"]),
        values: one["values"].as_array().into_iter().flatten().map(text).collect(),
    });
    plain.chain(selected).collect()
}
