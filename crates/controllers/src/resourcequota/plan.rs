//! What a quota's status is to say: its limits, and what the objects in its scope use of them.

use gifee_base::quantity::Format;
use gifee_base::{Object, Quantity};
use gifee_policy::quota::{Quota, count_name, counts, in_scope, usage};
use gifee_policy::resources::{Amounts, add, amounts, tree};
use serde_json::{Value, json};
use std::sync::Arc;

/// Resources that are counted by more than their number, with all that they say.
pub const WHOLE: [(&str, &str); 4] =
    [("", "pods"), ("", "persistentvolumeclaims"), ("", "services"), ("resource.k8s.io", "resourceclaims")];
/// Resources of the core group that are counted under their own names.
const PLAIN: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// Group and resource that a name counts; the first that can, as no two of one name can.
pub fn counted(name: &str) -> Option<(String, String)> {
    let whole = WHOLE.iter().find(|(group, resource)| counts(group, resource, name));
    if let Some((group, resource)) = whole {
        return Some(((*group).to_owned(), (*resource).to_owned()));
    }
    if PLAIN.contains(&name) {
        return Some((String::new(), name.to_owned()));
    }
    let (resource, group) =
        name.strip_prefix("count/").map(|name| name.split_once('.').unwrap_or((name, "")))?;
    Some((group.to_owned(), resource.to_owned()))
}

/// The objects of one resource in the quota's namespace.
pub struct Source {
    /// API group.
    pub group: String,
    /// Plural resource.
    pub resource: String,
    /// All of them.
    pub objects: Vec<Arc<Object>>,
}

/// The status of a quota; `now` in Unix seconds.
pub fn status(quota: &Value, sources: &[Source], now: i64) -> Value {
    let spec = &quota["spec"];
    let hard = amounts(&spec["hard"]);
    let scopes = Quota::of(quota).scopes;
    let mut used = Amounts::new();
    for Source { group, resource, objects } in sources {
        let names: Vec<&String> = hard.keys().filter(|name| counts(group, resource, name)).collect();
        for name in &names {
            used.entry((*name).clone()).or_insert(Quantity::ZERO);
        }
        let number_only = scopes.is_empty() && !WHOLE.contains(&(group, resource));
        if number_only {
            let number = i64::try_from(objects.len()).unwrap_or(i64::MAX);
            let number = Quantity::from_units(number, Format::DecimalSi);
            for name in names {
                used.insert(name.clone(), number);
            }
            continue;
        }
        for object in objects {
            let Ok(object) = object.to_value() else { continue };
            if in_scope(group, resource, &object, &scopes) {
                let mut own = usage(group, resource, &object, Some(now));
                own.retain(|name, _| names.contains(&name));
                add(&mut used, &own);
            }
        }
    }
    debug_assert!(sources.iter().all(|one| !count_name(&one.group, &one.resource).is_empty()));
    json!({ "hard": tree(&hard), "used": tree(&used) })
}

/// Whether less of anything is used by one status than by another.
pub fn less(status: &Value, than: &Value) -> bool {
    let (used, before) = (amounts(&status["used"]), amounts(&than["used"]));
    used.iter().any(|(name, amount)| before.get(name).is_some_and(|before| amount < before))
}
