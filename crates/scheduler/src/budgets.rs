//! PodDisruptionBudgets, as far as preemption spares the pods that they protect.

use crate::pod::Template;
use gifee_base::{LabelSelector, Object, ObjectKey};
use gifee_reconcile::nullable;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How many pods of a selector may be disrupted.
#[derive(Clone, Debug)]
pub struct Budget {
    selector: LabelSelector,
    allowed: i64,
    /// Names of pods that the server counts already.
    disrupted: Vec<String>,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    selector: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(deserialize_with = "nullable")]
    disruptions_allowed: i64,
    #[serde(deserialize_with = "nullable")]
    disrupted_pods: BTreeMap<String, serde::de::IgnoredAny>,
}

impl Budget {
    /// Decodes a budget; one whose selector is wrong or empty protects nothing.
    ///
    /// # Errors
    /// If the bytes are no budget.
    pub fn decode(object: &Object) -> Result<Self, serde_json::Error> {
        let whole: Whole = serde_json::from_slice(object.raw())?;
        let selector =
            LabelSelector::from_value(&whole.spec.selector).unwrap_or_else(|_| LabelSelector::nothing());
        let nothing = selector.is_everything();
        Ok(Self {
            selector: if nothing { LabelSelector::nothing() } else { selector },
            allowed: whole.status.disruptions_allowed,
            disrupted: whole.status.disrupted_pods.into_keys().collect(),
        })
    }
}

/// All budgets.
#[derive(Debug, Default)]
pub struct Budgets {
    known: BTreeMap<ObjectKey, Budget>,
    version: u64,
}

impl Budgets {
    /// A budget is new or changed.
    pub fn put(&mut self, key: ObjectKey, budget: Budget) {
        self.known.insert(key, budget);
        self.version += 1;
    }

    /// A budget is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.known.remove(key);
        self.version += 1;
    }

    /// All are to be told anew.
    pub fn clear(&mut self) {
        self.known.clear();
        self.version += 1;
    }

    /// Differs where something has changed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Of pods that would be disrupted one after the other, whether each would violate a budget.
    pub fn violated<'a>(&self, pods: impl Iterator<Item = (&'a ObjectKey, &'a Template)>) -> Vec<bool> {
        let mut left: Vec<i64> = self.known.values().map(|budget| budget.allowed).collect();
        let violated = pods.map(|(key, template)| {
            let mut violates = false;
            for ((of, budget), left) in self.known.iter().zip(&mut left) {
                let counts = of.namespace == key.namespace
                    && budget.selector.matches(|label| template.label(label))
                    && !budget.disrupted.iter().any(|name| **name == *key.name);
                if counts {
                    *left -= 1;
                    violates |= *left < 0;
                }
            }
            violates
        });
        violated.collect()
    }
}
