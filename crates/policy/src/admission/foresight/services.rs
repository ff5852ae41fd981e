//! Services that select nothing although what they seem to be meant for is there.

use super::super::Request;
use super::TEMPLATES;
use crate::Lookup;
use serde_json::{Map, Value};

/// No more templates of a kind than this are looked at; where none of so many is selected, nothing is said.
const OBJECTS: usize = 1_000;

/// Why a service has no endpoints: no pod and no template of its namespace has its labels, but one that has its name,
/// or some of its labels, has others.
pub fn unmatched(request: &Request<'_>, service: &Value, lookup: &dyn Lookup) -> Option<String> {
    let selector = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty())?;
    if request.old.is_some_and(|old| old["spec"]["selector"] == service["spec"]["selector"]) {
        return None;
    }
    let namespace = request.namespace;
    let all = |has: &dyn Fn(&str) -> Option<String>| {
        selector.iter().all(|(key, value)| has(key).as_deref() == value.as_str())
    };
    let pods = lookup.any("", "pods", namespace, &mut |pod| all(&|key| pod.label(key).map(str::to_owned)));
    if pods {
        return None;
    }
    let mut near = None;
    for (group, resource, path) in TEMPLATES {
        let mut seen = 0;
        let meant = lookup.any(group, resource, namespace, &mut |object| {
            seen += 1;
            if seen > OBJECTS {
                return true;
            }
            let Ok(value) = object.to_value() else { return false };
            let empty = Map::new();
            let labels = value.pointer(path).and_then(|template| template["metadata"]["labels"].as_object());
            let labels = labels.unwrap_or(&empty);
            if all(&|key| labels.get(key).and_then(Value::as_str).map(str::to_owned)) {
                return true;
            }
            let shares = selector.iter().any(|(key, value)| labels.get(key) == Some(value));
            if near.is_none() && (shares || service["metadata"]["name"] == object.name()) {
                let pairs =
                    labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
                let pairs = pairs.collect::<Vec<_>>().join(",");
                let kind = value["kind"].as_str().unwrap_or(resource).to_owned();
                near = Some(format!("{kind} \"{}\" makes pods with {pairs}", object.name()));
            }
            false
        });
        if meant {
            return None;
        }
    }
    let wanted = selector.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let wanted = wanted.collect::<Vec<_>>().join(",");
    near.map(|near| {
        format!("spec.selector: {wanted} selects no pod and no template of the namespace; {near}")
    })
}
