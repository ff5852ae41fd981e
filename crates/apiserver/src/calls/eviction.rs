//! Eviction: a deletion that disruption budgets may refuse.
//!
//! Answers to upstream's `EvictionREST`.

use super::binding::set_condition;
use super::succeeded;
use crate::body::Body;
use crate::kinds::Resource;
use crate::read::newest;
use crate::request::Request;
use crate::seam::Operation;
use crate::write::{DeleteOptions, Write, decode_call, delete_object, update_object};
use gifee_base::{Cause, Gvk, LabelSelector, Object, Reason, Status};
use gifee_policy::Lookup;
use http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Pods that a budget remembers as disrupted at most.
const DISRUPTED_MAXIMUM: usize = 2_000;
/// When a client that is refused since a budget is new should try again, in seconds.
const RETRY_SECONDS: i32 = 10;

/// Answers `pods/x/eviction`.
pub async fn evict(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut eviction = decode_call(request, body, &Gvk::new("policy", "v1", "Eviction")).await?;
    let (namespace, name) = (&*request.info.namespace, &*request.info.name);
    let own = eviction["metadata"]["name"].as_str().unwrap_or_default();
    if own != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut write = Write::new(request, resource, "eviction")?;
    write.mutate(Operation::Create, &mut eviction, None).await?;
    write.admit_validated(Operation::Create, &mut eviction, None).await?;
    let mut options = match &eviction["deleteOptions"] {
        Value::Null => DeleteOptions::default(),
        value => DeleteOptions::from_value(value),
    };
    write.dry_run |= options.dry_run;
    write.admitted = false;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let pod = newest(request.server, cache, namespace, name).await?;
    let pod = pod.ok_or_else(|| request.not_found(resource, name))?;
    let value = pod.to_value().map_err(Status::internal)?;
    let phase = value["status"]["phase"].as_str().unwrap_or_default();
    let unguarded = pod.deleting() || matches!(phase, "Succeeded" | "Failed" | "Pending");
    if !unguarded && let Some(budget) = budget(request, &pod)? {
        spend(request, &write, &budget, &value, name).await?;
        options.resource_version = None;
    }
    mark(&write, namespace, name).await?;
    delete_object(&write, namespace, name, &options).await?;
    succeeded(request)
}

/// The budget that covers a Pod.
fn budget(request: &Request<'_>, pod: &Object) -> Result<Option<Arc<Object>>, Status> {
    let all = Lookup::list(&*request.server.caches, "policy", "poddisruptionbudgets", pod.namespace());
    let mut covering = all.into_iter().filter(|budget| {
        let value = budget.to_value().unwrap_or_default();
        LabelSelector::from_value(&value["spec"]["selector"]).is_ok_and(|selector| pod.selected(&selector))
    });
    let first = covering.next();
    if covering.next().is_some() {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    Ok(first)
}

/// `retry_seconds` says when a client that waits by itself is to come again; zero: only when somebody asks it to, since
/// nobody knows when the budget will allow it.
fn refused(why: String, retry_seconds: i32) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(Reason::TooManyRequests, message);
    let details = status.details.get_or_insert_default();
    details.retry_after_seconds = retry_seconds;
    details.causes.push(Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() });
    status
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.clone().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Takes one disruption out of a budget, or refuses.
async fn spend(
    request: &Request<'_>,
    write: &Write<'_>,
    budget: &Object,
    pod: &Value,
    pod_name: &str,
) -> Result<(), Status> {
    let kinds = request.server.kinds.load_full();
    let budgets = kinds.preferred("policy", "poddisruptionbudgets").ok_or_else(Status::no_such_path)?;
    let change = write.own_status(budgets);
    let unready = !ready(pod);
    let mut edit = |old: &Value| spent(old, unready, budget.name(), pod_name, &write.now);
    update_object(&change, budget.namespace(), budget.name(), &mut edit, false).await.map(drop)
}

/// The budget with one disruption less; the budget itself if the Pod may go without one.
fn spent(old: &Value, unready: bool, name: &str, pod_name: &str, now: &str) -> Result<Value, Status> {
    let (spec, status) = (&old["spec"], &old["status"]);
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
    let always = spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    let spare = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    if unready && (always || spare) {
        // Such a Pod may go without a change of the budget.
        return Ok(old.clone());
    }
    if number("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, RETRY_SECONDS));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(
            "policy",
            "poddisruptionbudgets",
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    let disrupted = status["disruptedPods"].as_object().map_or(0, Map::len);
    if disrupted > DISRUPTED_MAXIMUM {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden("policy", "poddisruptionbudgets", name, why));
    }
    if allowed == 0 {
        let (desired, healthy) = (number("desiredHealthy"), number("currentHealthy"));
        let why =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(why, 0));
    }
    let mut new = old.clone();
    new["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": number("observedGeneration"),
        });
        set_condition(&mut new, condition, now);
    }
    if !new["status"]["disruptedPods"].is_object() {
        new["status"]["disruptedPods"] = Value::Object(Map::new());
    }
    new["status"]["disruptedPods"][pod_name] = now.into();
    Ok(new)
}

/// Says in the Pod's status why it goes.
async fn mark(write: &Write<'_>, namespace: &str, name: &str) -> Result<(), Status> {
    let change = write.own_status(write.resource);
    let mut edit = |old: &Value| {
        let mut new = old.clone();
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        set_condition(&mut new, condition, &write.now);
        Ok(new)
    };
    update_object(&change, namespace, name, &mut edit, false).await.map(drop)
}
