//! What may change of the status of a Pod.
//!
//! Answers to `ValidatePodStatusUpdate` of upstream's core validation and to the strategy of pods' status.

use super::pod_change::annotation_updates;
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, STATUS, address, given_name, identity, immutable, named, required_name};
use crate::value::{entries, int, is_empty, items, remove, restore, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

/// Fields of a status that only those know who write them: a client that leaves them out keeps them.
const KEPT: [&str; 5] = [
    "qosClass",
    "observedGeneration",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
    "nodeAllocatableResourceClaimStatuses",
];
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
const TRANSITION: &str = "may not be transitioned to non-terminated state";
const GENERATION: &str = "must be a non-negative integer";
const CLAIM: &str = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
const MAPPED_RESOURCE: &str = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
const MAPPED_CONTAINER: &str =
    "must match the name of an entry in spec.initContainers.name or spec.containers.name";

/// Puts back what a client that does not know a field has left out.
pub(super) fn keep_unknown(pod: &mut Value, old: &Value) {
    let before = &old["status"];
    let Some(status) = pod.get_mut("status").filter(|status| status.is_object()) else { return };
    // How volumes are is not told yet, but who has it keeps it.
    if before["volumeHealth"].is_null() {
        remove(status, "volumeHealth");
    }
    for field in KEPT {
        if status[field].is_null() && !before[field].is_null() {
            restore(status, before, field);
        }
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if int(&condition["observedGeneration"]) == 0 {
            let known = items(&before["conditions"]).iter().find(|one| one["type"] == condition["type"]);
            if let Some(known) = known.filter(|known| !known["observedGeneration"].is_null()) {
                restore(condition, known, "observedGeneration");
            }
        }
    }
}

/// A change of the status.
pub(super) fn status(errors: &mut Errors, pod: &Value, old: &Value) {
    annotation_updates(errors, pod, old);
    let (now, before) = (&pod["status"], &old["status"]);
    conditions(errors, &now["conditions"]);
    let (nominated, at) = (&now["nominatedNodeName"], STATUS.child("nominatedNodeName"));
    if !is_empty(nominated) && *nominated != before["nominatedNodeName"] {
        named(errors, nominated, &at, name::dns_subdomain);
        if !is_empty(&old["spec"]["nodeName"]) {
            let why = "may not be set on pods that are already bound to a node";
            errors.push(FieldError::forbidden(&at, why));
        }
    }
    if int(&now["observedGeneration"]) < 0 {
        let given = int(&now["observedGeneration"]);
        errors.push(FieldError::invalid(&STATUS.child("observedGeneration"), given, GENERATION));
    }
    immutable(errors, &now["qosClass"], &before["qosClass"], &STATUS.child("qosClass"));
    for (list, containers) in
        [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")]
    {
        stays_ended(errors, now, old, list, containers);
    }
    stays_ended(errors, now, old, "ephemeralContainerStatuses", "");
    claims(errors, &now["resourceClaimStatuses"], &pod["spec"]);
    extended_claim(errors, &now["extendedResourceClaimStatus"], &pod["spec"]);
    addresses(errors, &now["podIPs"], &before["podIPs"], true, &STATUS.child("podIPs"));
    let at = STATUS.child("hostIPs");
    let first = &now["hostIPs"][0]["ip"];
    if !first.is_null() && text(&now["hostIP"]) != text(first) {
        let why = "must be equal to `hostIP`";
        errors.push(FieldError::invalid(&at.index(0).child("ip"), first.clone(), why));
    }
    addresses(errors, &now["hostIPs"], &before["hostIPs"], false, &at);
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    for list in lists {
        users(errors, &now[list], &pod["spec"]["os"], &STATUS.child(list));
    }
    for (list, containers) in lists.iter().zip(["containers", "initContainers", ""]) {
        devices(errors, &now[*list], &pod["spec"], containers, &STATUS.child(list));
    }
}

fn conditions(errors: &mut Errors, list: &Value) {
    let path = STATUS.child("conditions");
    for (index, one) in items(list).iter().enumerate() {
        let at = path.index(index);
        if int(&one["observedGeneration"]) < 0 {
            let given = int(&one["observedGeneration"]);
            errors.push(FieldError::invalid(&at.child("observedGeneration"), given, GENERATION));
        }
        if !matches!(text(&one["type"]), "PodScheduled" | "Ready" | "Initialized") {
            named(errors, &one["type"], &at.child("Type"), name::qualified);
        }
    }
}

/// Whether a container that has ended with a code runs again.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let by_rule = items(&container["restartPolicyRules"]).iter().any(|rule| {
        let codes = &rule["exitCodes"];
        let among = items(&codes["values"]).iter().any(|one| int(one) == code);
        match text(&codes["operator"]) {
            "In" => among,
            "NotIn" => !among,
            _ => false,
        }
    });
    let policy = if container["restartPolicy"].is_null() {
        &spec["restartPolicy"]
    } else {
        &container["restartPolicy"]
    };
    by_rule
        || match text(policy) {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        }
}

/// A container that has ended stays so, unless it is one that is started again. None of `containers` are, if it is
/// empty.
fn stays_ended(errors: &mut Errors, now: &Value, old: &Value, list: &str, containers: &str) {
    let spec = &old["spec"];
    let ended: Vec<(usize, &Value)> = items(&old["status"][list])
        .iter()
        .enumerate()
        .filter(|(_, before)| !before["state"]["terminated"].is_null())
        .collect();
    if ended.is_empty() {
        return;
    }
    let together = |container: &Value| {
        items(&container["restartPolicyRules"]).iter().any(|rule| rule["action"] == "RestartAllContainers")
    };
    let mut all = ["containers", "initContainers"].into_iter().flat_map(|list| items(&spec[list]));
    if !containers.is_empty() && all.any(together) {
        return;
    }
    let path = STATUS.child(list);
    for (index, before) in ended {
        let again = items(&now[list]).iter().find(|now| now["name"] == before["name"]);
        if !again.is_some_and(|now| now["state"]["terminated"].is_null()) {
            continue;
        }
        let own = items(&spec[containers]).iter().find(|one| one["name"] == before["name"]);
        let code = int(&before["state"]["terminated"]["exitCode"]);
        if !own.is_some_and(|own| restarts(own, spec, code)) {
            errors.push(FieldError::forbidden(&path.index(index).child("state"), TRANSITION));
        }
    }
}

fn claims(errors: &mut Errors, list: &Value, spec: &Value) {
    let path = STATUS.child("resourceClaimStatuses");
    let mut seen = Vec::new();
    for (index, claim) in items(list).iter().enumerate() {
        let at = path.index(index);
        let own = text(&claim["name"]);
        if !items(&spec["resourceClaims"]).iter().any(|one| text(&one["name"]) == own) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&at.child("name"), own, why));
        }
        crate::rule::unique(errors, &mut seen, own, &at.child("name"));
        let name_at = at.child("resourceClaimName");
        given_name(errors, &claim["resourceClaimName"], &name_at, name::dns_subdomain);
    }
}

/// The claim that stands for resources that devices provide under extended names.
fn extended_claim(errors: &mut Errors, status: &Value, spec: &Value) {
    if status.is_null() {
        return;
    }
    let path = STATUS.child("extendedResourceClaimStatus");
    let list = path.child("requestMappings");
    if is_empty(&status["requestMappings"]) {
        errors.push(FieldError::required(&list, "at least one request mapping is required"));
    }
    let mut seen = Vec::new();
    for (index, mapping) in items(&status["requestMappings"]).iter().enumerate() {
        let at = list.index(index);
        let [container, resource, request] =
            ["containerName", "resourceName", "requestName"].map(|field| text(&mapping[field]));
        let mut all = ["containers", "initContainers"].into_iter().flat_map(|list| items(&spec[list]));
        match all.find(|one| text(&one["name"]) == container) {
            None => errors.push(FieldError::invalid(&at.child("containerName"), container, MAPPED_CONTAINER)),
            Some(own) if own["resources"]["requests"].get(resource).is_none() => {
                errors.push(FieldError::invalid(&at.child("resourceName"), resource, MAPPED_RESOURCE));
            }
            Some(_) => {}
        }
        named(errors, &mapping["requestName"], &path.child("requestName"), name::dns_label);
        if seen.contains(&[container, resource, request]) {
            for field in ["containerName", "resourceName", "requestName"] {
                errors.push(FieldError::duplicate(&at.child(field), text(&mapping[field])));
            }
        }
        seen.push([container, resource, request]);
    }
    required_name(
        errors,
        &status["resourceClaimName"],
        &path.child("resourceClaimName"),
        name::dns_subdomain,
    );
}

/// `families_first`: whether families are judged before what comes twice.
fn addresses(errors: &mut Errors, list: &Value, before: &Value, families_first: bool, path: &Path<'_>) {
    for (index, one) in items(list).iter().enumerate() {
        // What was accepted once may stay.
        if !items(before).iter().any(|old| old["ip"] == one["ip"]) {
            address::ip(errors, &one["ip"], &path.index(index));
        }
    }
    let families = |errors: &mut Errors| {
        let families = address::families(items(list).iter().map(|one| text(&one["ip"])));
        if items(list).len() > 1 && families != (1, 1) {
            let why = "may specify no more than one IP for each IP family";
            errors.push(showing(FieldError::invalid(path, "", why), list, shown::ADDRESSES));
        }
    };
    if families_first {
        families(errors);
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        if seen.contains(&text(&one["ip"])) {
            errors.push(showing(FieldError::duplicate(&path.index(index), ""), one, shown::ADDRESS));
        }
        seen.push(text(&one["ip"]));
    }
    if !families_first {
        families(errors);
    }
}

fn users(errors: &mut Errors, list: &Value, system: &Value, path: &Path<'_>) {
    for (index, one) in items(list).iter().enumerate() {
        let user = &one["user"]["linux"];
        if user.is_null() {
            continue;
        }
        let at = path.index(index);
        let at = at.child("linux");
        if system["name"] == "windows" {
            errors.push(FieldError::forbidden(&at, "cannot be set for a windows pod"));
            continue;
        }
        identity(errors, &user["uid"], &at.child("uid"));
        identity(errors, &user["gid"], &at.child("gid"));
        let groups = at.child("supplementalGroups");
        for (index, group) in items(&user["supplementalGroups"]).iter().enumerate() {
            identity(errors, group, &groups.index(index));
        }
    }
}

/// How devices of containers are; debugging containers have none.
fn devices(errors: &mut Errors, list: &Value, spec: &Value, containers: &str, path: &Path<'_>) {
    for (index, status) in items(list).iter().enumerate() {
        let own = &status["allocatedResourcesStatus"];
        if is_empty(own) {
            continue;
        }
        let at = path.index(index);
        let at = at.child("allocatedResourcesStatus");
        if containers.is_empty() {
            errors.push(FieldError::forbidden(&at, "must not be specified in container status"));
            continue;
        }
        let container = items(&spec[containers]).iter().find(|one| one["name"] == status["name"]);
        for (index, resource) in items(own).iter().enumerate() {
            let at = at.index(index);
            let known = container.is_none_or(|container| asks_for(container, text(&resource["name"])));
            if !known {
                let given = text(&resource["name"]);
                let claim = given.starts_with("claim:");
                let why = if claim { CLAIM } else { "must match one of the container's resource requests" };
                errors.push(FieldError::invalid(&at.child("name"), given, why));
            }
            let list = at.child("resources");
            let mut seen = Vec::new();
            for (index, one) in items(&resource["resources"]).iter().enumerate() {
                let at = list.index(index);
                crate::rule::one_of(errors, &one["health"], &at.child("health"), &HEALTH);
                crate::rule::unique(errors, &mut seen, text(&one["resourceID"]), &at.child("resourceID"));
            }
        }
    }
}

fn asks_for(container: &Value, resource: &str) -> bool {
    let resources = &container["resources"];
    match resource.strip_prefix("claim:") {
        None => entries(&resources["requests"]).any(|(name, _)| name == resource),
        Some(wanted) => items(&resources["claims"]).iter().any(|claim| {
            let (own, request) = (text(&claim["name"]), text(&claim["request"]));
            if request.is_empty() { own == wanted } else { wanted.split_once('/') == Some((own, request)) }
        }),
    }
}
