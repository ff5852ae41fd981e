//! What other servers publish, put beside what is served here.
//!
//! Invariant: of another's document only the paths of its group and version count, and the models that they lead to; a
//! model that is known already stays as it is. Answers to kube-openapi's `aggregator` and kube-aggregator's `openapi`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

const DEFINITIONS: &str = "#/definitions/";

/// Another server's OpenAPI v2 document.
#[derive(Clone, Debug)]
pub struct Other {
    /// What its paths begin with, such as `/apis/wardle.example.com/v1alpha1/`.
    pub prefix: String,
    /// The document.
    pub document: Arc<Value>,
}

impl Other {
    /// Its paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = (String, Value)> {
        let all = self.document["paths"].as_object().into_iter().flatten();
        let own = all.filter(|(path, _)| path.starts_with(&self.prefix));
        own.map(|(path, item)| (path.clone(), item.clone()))
    }

    /// The models that its paths lead to.
    fn models(&self) -> BTreeMap<&str, &Value> {
        let models = &self.document["definitions"];
        let mut wanted = BTreeSet::new();
        for (path, item) in self.document["paths"].as_object().into_iter().flatten() {
            if path.starts_with(&self.prefix) {
                references(item, &mut wanted);
            }
        }
        let mut found = BTreeMap::new();
        while let Some(name) = wanted.pop_first() {
            let Some(model) = models.get(name).filter(|_| !found.contains_key(name)) else { continue };
            found.insert(name, model);
            references(model, &mut wanted);
        }
        found
    }
}

/// The models of others that are not known.
pub(super) fn models<'a>(others: &'a [Other], known: &BTreeSet<String>) -> BTreeMap<&'a str, Value> {
    let mut all = BTreeMap::new();
    for other in others {
        for (name, model) in other.models() {
            if !known.contains(name) {
                all.entry(name).or_insert_with(|| model.clone());
            }
        }
    }
    all
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.extend(name.strip_prefix(DEFINITIONS));
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
