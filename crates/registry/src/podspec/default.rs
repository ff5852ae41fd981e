//! Defaults of pod specs that depend on other fields.
//!
//! Answers to `SetDefaults_Pod` and `SetDefaults_Container` of upstream's core/v1.

use crate::value::{int, items, text};
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
    each_container(spec, |container| {
        if container["imagePullPolicy"].is_null() {
            container["imagePullPolicy"] = pull_policy(text(&container["image"])).into();
        }
    });
}

/// Requests that are not given are as high as the limits.
fn request_limits(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    for (name, limit) in limits {
        if resources["requests"].get(&name).is_none() {
            resources["requests"][name] = limit;
        }
    }
}

/// Defaults of the spec of a Pod.
pub(crate) fn default_pod(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default_spec(spec);
    each_container(spec, |container| {
        if container["resources"].is_object() {
            request_limits(&mut container["resources"]);
        }
    });
    if spec["resources"].is_object() {
        pod_requests(spec);
    }
    if spec["enableServiceLinks"].is_null() {
        spec["enableServiceLinks"] = true.into();
    }
    if spec["hostNetwork"] == true {
        each_container(spec, |container| {
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if int(&port["hostPort"]) == 0 {
                    port["hostPort"] = port["containerPort"].clone();
                }
            }
        });
    }
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
