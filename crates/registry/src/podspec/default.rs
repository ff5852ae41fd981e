//! Defaults of pod specs that depend on other fields.
//!
//! Answers to `SetDefaults_Pod` and `SetDefaults_Container` of upstream's core/v1.

use super::aggregate;
use super::disabled::drop_disabled;
use crate::rule::resource::is_huge_page;
use crate::value::{entries, is_empty, items, text};
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
    drop_disabled(spec);
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
    image_volumes(spec);
}

/// Volumes out of images are pulled as images of containers are.
fn image_volumes(spec: &mut Value) {
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(image) = volume.get_mut("image").filter(|image| image.is_object()) else { continue };
        if is_empty(&image["pullPolicy"]) {
            let reference = text(&image["reference"]);
            let policy = if reference.is_empty() { "IfNotPresent" } else { pull_policy(reference) };
            image["pullPolicy"] = policy.into();
        }
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
    if spec["resources"].is_object() {
        pod_requests(spec);
    }
}

/// Requests of the pod as a whole that are not given, if it has limits: what its containers ask for, else the limits.
/// Huge pages, which cannot be promised twice, are limited to what the containers' limits are together.
fn pod_requests(spec: &mut Value) {
    let names = |spec: &Value, side: &str| -> Vec<String> {
        let lists = ["containers", "initContainers"].into_iter().flat_map(|list| items(&spec[list]));
        let amounts = lists.flat_map(|one| entries(&one["resources"][side]));
        amounts.map(|(name, _)| name.to_owned()).collect()
    };
    for name in names(spec, "limits") {
        let given = ["limits", "requests"].iter().any(|side| spec["resources"][*side].get(&name).is_some());
        if is_huge_page(&name)
            && !given
            && let Some(sum) = aggregate::sum(spec, "limits", &name)
        {
            spec["resources"]["limits"][name] = sum.to_string().into();
        }
    }
    let Some(limits) = spec["resources"].get("limits").and_then(Value::as_object).cloned() else { return };
    for name in names(spec, "requests") {
        let counts = matches!(name.as_str(), "cpu" | "memory");
        if counts
            && spec["resources"]["requests"].get(&name).is_none()
            && let Some(sum) = aggregate::sum(spec, "requests", &name)
        {
            spec["resources"]["requests"][name] = sum.to_string().into();
        }
    }
    for (name, limit) in limits {
        let counts = matches!(name.as_str(), "cpu" | "memory") || is_huge_page(&name);
        if counts && spec["resources"]["requests"].get(&name).is_none() {
            spec["resources"]["requests"][name] = limit;
        }
    }
}
