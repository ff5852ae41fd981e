//! The priority of a pod, or of a group of pods, is its PriorityClass's; at most one class is the default.
//!
//! Answers to upstream's `Priority`. The two system classes are always there, whether or not they are stored.

use super::{Operation, Request, Rule, decoded};
use crate::Lookup;
use gifee_base::{Object, ObjectKey, Status};
use serde_json::Value;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// The rule.
pub struct Priority;

impl Rule for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn half(&self) -> super::Half {
        super::Half::Both
    }

    fn mutate(&self, request: &Request<'_>, object: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let of_pod = request.is("", "pods");
        if !(of_pod || request.is(GROUP, "podgroups")) || !request.writes() {
            return Ok(());
        }
        if request.operation == Operation::Update {
            keep(request, object);
            return Ok(());
        }
        let class = object["spec"]["priorityClassName"].as_str().unwrap_or_default();
        let (name, value, policy) = if class.is_empty() {
            default_class(lookup)
        } else if let Some((name, value)) = SYSTEM.iter().find(|(name, _)| *name == class) {
            ((*name).to_owned(), *value, PREEMPT.to_owned())
        } else {
            let Some(found) = decoded(lookup.get(GROUP, "priorityclasses", &ObjectKey::cluster(class)))
            else {
                return Err(request.forbidden(&format!("no PriorityClass with name {class} was found")));
            };
            parts(&found)
        };
        let asked = object["spec"]["priority"].as_i64();
        if asked.is_some_and(|asked| asked != value) {
            return Err(request.forbidden(&format!(
                "the integer value of priority ({}) must not be provided in {} spec; priority admission controller computed {value} from the given PriorityClass name",
                asked.unwrap_or_default(),
                if of_pod { "pod" } else { "pod group" }
            )));
        }
        if !name.is_empty() {
            object["spec"]["priorityClassName"] = name.into();
        }
        object["spec"]["priority"] = value.into();
        if !of_pod {
            // Groups have no policy of their own yet.
            return Ok(());
        }
        match object["spec"]["preemptionPolicy"].as_str() {
            Some(asked) if asked != policy => {
                return Err(request.forbidden(&format!(
                    "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
                )));
            }
            _ => object["spec"]["preemptionPolicy"] = policy.into(),
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, class: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let write = matches!(request.operation, Operation::Create | Operation::Update);
        if !request.is(GROUP, "priorityclasses") || !write || class["globalDefault"] != true {
            return Ok(());
        }
        let other = lookup
            .list(GROUP, "priorityclasses", "")
            .into_iter()
            .find(|other| other.name() != class["metadata"]["name"] && is_default(other));
        match other {
            Some(other) => Err(request.forbidden(&format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name()
            ))),
            None => Ok(()),
        }
    }
}

/// A client that does not know of priorities leaves them as they are.
fn keep(request: &Request<'_>, object: &mut Value) {
    let Some(old) = request.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        if object["spec"][field].is_null() && !old["spec"][field].is_null() {
            object["spec"][field] = old["spec"][field].clone();
        }
    }
}

fn parts(class: &Value) -> (String, i64, String) {
    (
        class["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        class["value"].as_i64().unwrap_or_default(),
        class["preemptionPolicy"].as_str().unwrap_or(PREEMPT).to_owned(),
    )
}

fn is_default(class: &Object) -> bool {
    class.value_at(&["globalDefault"]) == Some(b"true")
}

fn default_class(lookup: &dyn Lookup) -> (String, i64, String) {
    let classes = lookup.list(GROUP, "priorityclasses", "");
    let defaults = classes.iter().filter(|class| is_default(class)).filter_map(|class| class.to_value().ok());
    // Two defaults can come from a race; the lower counts, as upstream.
    defaults.map(|class| parts(&class)).min_by_key(|class| class.1).unwrap_or((
        String::new(),
        0,
        PREEMPT.to_owned(),
    ))
}
