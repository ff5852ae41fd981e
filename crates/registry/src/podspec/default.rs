//! Defaults of pod specs that depend on other fields.
//!
//! Answers to `SetDefaults_Pod` and `SetDefaults_Container` of upstream's core/v1.

use crate::value::{is_empty, items, text};
use serde_json::Value;

/// The policy of an image without one: what may change under its name is pulled every time.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    match (last.rsplit_once(':').map(|(_, tag)| tag), digest) {
        (Some("latest") | None, None) | (Some("latest"), Some(_)) => "Always",
        _ => "IfNotPresent",
    }
}

fn each_container(spec: &mut Value, mut change: impl FnMut(&mut Value)) {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container.is_object() {
                change(container);
            }
        }
    }
}

/// Defaults of the spec of a Pod or a template.
pub(crate) fn default_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    each_container(spec, |container| {
        if is_empty(&container["imagePullPolicy"]) {
            container["imagePullPolicy"] = pull_policy(text(&container["image"])).into();
        }
    });
    // Two names for one thing: the newer one counts.
    let (account, old) = (&spec["serviceAccountName"], &spec["serviceAccount"]);
    if !is_empty(account) && account != old {
        spec["serviceAccount"] = account.clone();
    } else if is_empty(account) && !is_empty(old) {
        spec["serviceAccountName"] = old.clone();
    }
    if spec["resources"].is_object() {
        pod_requests(spec);
    }
}

/// Requests of a Pod's containers that are not given: their limits. Templates keep what they say.
pub(crate) fn default_requests(spec: &mut Value) {
    each_container(spec, |container| {
        let Some(limits) = container["resources"].get("limits").and_then(Value::as_object).cloned() else {
            return;
        };
        for (name, limit) in limits {
            if container["resources"]["requests"].get(&name).is_none() {
                container["resources"]["requests"][name] = limit;
            }
        }
    });
}

/// Requests of the pod as a whole that are not given: what its containers ask for, else its limits.
fn pod_requests(spec: &mut Value) {
    let Some(limits) = spec["resources"].get("limits").and_then(Value::as_object).cloned() else { return };
    for (name, limit) in limits {
        if spec["resources"]["requests"].get(&name).is_some() {
            continue;
        }
        let asked = items(&spec["containers"])
            .iter()
            .filter_map(|one| one["resources"]["requests"].get(&name))
            .map(crate::rule::resource::quantity)
            .reduce(gifee_base::Quantity::plus);
        spec["resources"]["requests"][name] = asked.map_or(limit, |sum| sum.to_string().into());
    }
}
