//! Containers and claims ask for amounts within the limits of their namespace, by default for the default ones.
//!
//! Invariant: a value that an object has already is not judged again. Answers to upstream's `LimitRanger`.

use super::{Operation, Request, Rule, aggregate, decoded};
use crate::Lookup;
use crate::resources::{Amounts, Counting, amounts, limits, requests, tree};
use gifee_base::{Quantity, Status};
use serde_json::{Value, json};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The rule.
pub struct LimitRanger;

impl Rule for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn half(&self) -> super::Half {
        super::Half::Both
    }

    fn mutate(&self, request: &Request<'_>, object: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if applies(request) && request.resource == "pods" {
            for range in lookup.list("", "limitranges", request.namespace) {
                default(object, &range.to_value().unwrap_or_default());
            }
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !applies(request) {
            return Ok(());
        }
        for range in lookup.list("", "limitranges", request.namespace) {
            let range = decoded(Some(range)).unwrap_or_default();
            let limits = range["spec"]["limits"].as_array().map_or(&[] as &[Value], Vec::as_slice);
            let mut failures = Vec::new();
            for limit in limits {
                check(&mut failures, limit, request, object);
            }
            if let Some(failure) = aggregate(failures) {
                return Err(request.forbidden(&failure));
            }
        }
        Ok(())
    }
}

fn applies(request: &Request<'_>) -> bool {
    if !request.gvk.group.is_empty()
        || request.old.is_some_and(|old| old["metadata"]["deletionTimestamp"].is_string())
    {
        return false;
    }
    match (request.resource, request.subresource, request.operation) {
        ("pods", "", Operation::Create) | ("pods", "resize", Operation::Update) => true,
        ("persistentvolumeclaims", "", _) => request.writes(),
        _ => false,
    }
}

/// Gives containers the default amounts that they do not name, and says so in an annotation.
fn default(pod: &mut Value, range: &Value) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    for limit in range["spec"]["limits"].as_array().into_iter().flatten() {
        if limit["type"] == "Container" {
            requests.extend(amounts(&limit["defaultRequest"]));
            limits.extend(amounts(&limit["default"]));
        }
    }
    let mut said = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let set_limits = fill(container, "limits", &limits);
            let set_requests = fill(container, "requests", &requests);
            for (set, what) in [(set_requests, "request"), (set_limits, "limit")] {
                if !set.is_empty() {
                    said.push(format!("{} {what} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !said.is_empty() {
        let text = format!("LimitRanger plugin set: {}", said.join("; "));
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = text.into();
    }
}

/// Adds what a container does not name; the names of what was added.
fn fill(container: &mut Value, list: &str, defaults: &Amounts) -> Vec<String> {
    let mut missing = defaults.clone();
    let said = container.get("resources").and_then(|resources| resources.get(list));
    missing.retain(|name, _| said.is_none_or(|said| said.get(name).is_none()));
    if missing.is_empty() {
        return Vec::new();
    }
    if !container["resources"].is_object() {
        container["resources"] = json!({});
    }
    let resources = &mut container["resources"];
    if let Value::Object(added) = tree(&missing) {
        match resources[list].as_object_mut() {
            Some(there) => there.extend(added),
            None => resources[list] = Value::Object(added),
        }
    }
    missing.into_keys().collect()
}

/// What an object asks for, before and after.
struct Asked {
    requests: Amounts,
    limits: Amounts,
    old: Option<(Amounts, Amounts)>,
}

fn check(failures: &mut Vec<String>, limit: &Value, request: &Request<'_>, object: &Value) {
    match (limit["type"].as_str(), request.resource) {
        (Some("Container"), "pods") => {
            for list in ["containers", "initContainers"] {
                for container in object["spec"][list].as_array().into_iter().flatten() {
                    let before = request.old.and_then(|old| {
                        let all = old["spec"][list].as_array().into_iter().flatten();
                        all.into_iter().find(|old| old["name"] == container["name"])
                    });
                    check_amounts(failures, limit, "Container", &of_container(container, before));
                }
            }
        }
        (Some("Pod"), "pods") => {
            let of = |pod: &Value| (requests(pod, Counting::default()), limits(pod, Counting::default()));
            let (requests, limits) = of(object);
            check_amounts(failures, limit, "Pod", &Asked { requests, limits, old: request.old.map(of) });
        }
        (Some("PersistentVolumeClaim"), "persistentvolumeclaims") => {
            check_claim(failures, limit, request, object)
        }
        _ => {}
    }
}

fn of_container(container: &Value, old: Option<&Value>) -> Asked {
    let of = |container: &Value| {
        let list = |name: &str| amounts(&container["resources"][name]);
        (list("requests"), list("limits"))
    };
    let (requests, limits) = of(container);
    Asked { requests, limits, old: old.map(of) }
}

/// Says what is wrong with a request and a limit: name and kind of what is limited, the limit's amount, both of them.
type Judge = fn(&str, &str, Quantity, Option<Quantity>, Option<Quantity>) -> Option<String>;

fn check_amounts(failures: &mut Vec<String>, limit: &Value, kind: &str, asked: &Asked) {
    let unchanged = |name: &str| {
        asked.old.as_ref().is_some_and(|(requests, limits)| {
            asked.requests.get(name) == requests.get(name) && asked.limits.get(name) == limits.get(name)
        })
    };
    let rules: [(&str, Judge); 3] = [("min", below), ("max", above), ("maxLimitRequestRatio", ratio)];
    for (list, rule) in rules {
        for (name, enforced) in amounts(&limit[list]) {
            if !unchanged(&name) {
                let (request, limit) = (asked.requests.get(&name).copied(), asked.limits.get(&name).copied());
                failures.extend(rule(&name, kind, enforced, request, limit));
            }
        }
    }
}

fn below(
    name: &str,
    kind: &str,
    enforced: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {enforced}");
    match (request, limit) {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(request), _) if request < enforced => Some(format!("{start}, but request is {request}")),
        (_, Some(limit)) if limit < enforced => Some(format!("{start}, but limit is {limit}")),
        _ => None,
    }
}

fn above(
    name: &str,
    kind: &str,
    enforced: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let start = format!("maximum {name} usage per {kind} is {enforced}");
    match (request, limit) {
        (_, None) => Some(format!("{start}.  No limit is specified")),
        (_, Some(limit)) if limit > enforced => Some(format!("{start}, but limit is {limit}")),
        (Some(request), _) if request > enforced => Some(format!("{start}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    name: &str,
    kind: &str,
    enforced: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {enforced}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{start}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{start}, but no limit is specified or limit is 0"));
    };
    // Exact while thousandths fit, which is up to 9e15 units.
    let (limit_milli, request_milli) = (limit.milli(), request.milli());
    let exceeds = i128::from(limit_milli) * 1000 > i128::from(enforced.milli()) * i128::from(request_milli);
    let shown = limit_milli as f64 / request_milli as f64;
    exceeds.then(|| format!("{start}, but provided ratio is {shown:.6}"))
}

/// Of a claim only the request counts.
fn check_claim(failures: &mut Vec<String>, limit: &Value, request: &Request<'_>, claim: &Value) {
    let asked = amounts(&claim["spec"]["resources"]["requests"]);
    let old = request.old.map(|old| amounts(&old["spec"]["resources"]["requests"])).unwrap_or_default();
    let changed = |name: &str| !asked.contains_key(name) || asked.get(name) != old.get(name);
    for (name, enforced) in amounts(&limit["min"]) {
        if changed(&name) {
            failures.extend(below(&name, "PersistentVolumeClaim", enforced, asked.get(&name).copied(), None));
        }
    }
    for (name, enforced) in amounts(&limit["max"]) {
        let start = format!("maximum {name} usage per PersistentVolumeClaim is {enforced}");
        match asked.get(&name) {
            _ if !changed(&name) => {}
            None => failures.push(format!("{start}.  No request is specified")),
            Some(request) if *request > enforced => {
                failures.push(format!("{start}, but request is {request}"))
            }
            _ => {}
        }
    }
}
