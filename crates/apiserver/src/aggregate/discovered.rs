//! What others serve, put among what this server serves: groups, versions and resources.
//!
//! Answers to kube-aggregator's `handler_discovery` and `handler_apis`.

use super::Aggregator;
use super::local::priority;
use super::published::Published;
use super::remote::Remote;
use gifee_schema::openapi::Other;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What another server said last.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// Resources, as the aggregated form of discovery lists them.
    pub resources: Vec<Value>,
    /// Whether it said so at the last try.
    pub current: bool,
    /// Its OpenAPI documents.
    pub published: Published,
}

/// The resources of an APIResourceList in the aggregated form.
pub fn resources(list: &Value) -> Vec<Value> {
    let (group, version) =
        gifee_base::gvk::split_api_version(list["groupVersion"].as_str().unwrap_or_default());
    let or = |value: &Value, other: &str| match value.as_str().unwrap_or_default() {
        "" => Value::from(other),
        text => Value::from(text),
    };
    let kind = |one: &Value| json!({ "group": or(&one["group"], group), "version": or(&one["version"], version), "kind": one["kind"] });
    let mut all: BTreeMap<&str, Value> = BTreeMap::new();
    let listed = || list["resources"].as_array().into_iter().flatten();
    for one in listed() {
        let Some(name) = one["name"].as_str().filter(|name| !name.contains('/')) else { continue };
        let scope = if one["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut resource = json!({
            "resource": name, "responseKind": kind(one), "scope": scope, "verbs": one["verbs"],
            "singularResource": one["singularName"].as_str().unwrap_or_default(),
        });
        for field in ["shortNames", "categories"] {
            if one[field].is_array() {
                resource[field] = one[field].clone();
            }
        }
        all.insert(name, resource);
    }
    for one in listed() {
        let Some((name, part)) = one["name"].as_str().and_then(|name| name.split_once('/')) else { continue };
        let Some(resource) = all.get_mut(name) else { continue };
        let part = json!({ "subresource": part, "responseKind": kind(one), "verbs": one["verbs"] });
        match resource["subresources"].as_array_mut() {
            Some(parts) => parts.push(part),
            None => resource["subresources"] = json!([part]),
        }
    }
    all.into_values().collect()
}

/// Puts groups of others among groups, by their priorities: `name` gives a group's name, `versions` is the field
/// of its versions, `made` the entry of a version and `new` a whole new group with it.
fn insert(
    groups: &mut Vec<Value>,
    remotes: &[Arc<Remote>],
    name: fn(&Value) -> &str,
    made: &dyn Fn(&Remote) -> Value,
    new: &dyn Fn(&Remote, Value) -> Value,
) {
    let mut priorities: BTreeMap<String, i64> = BTreeMap::new();
    for remote in remotes {
        let version = made(remote);
        if let Some(group) = groups.iter_mut().find(|group| name(group) == remote.group) {
            if let Some(versions) = group["versions"].as_array_mut() {
                versions.push(version);
            }
            continue;
        }
        priorities.insert(remote.group.clone(), remote.group_priority);
        let of = |group: &Value| {
            let own = priorities.get(name(group)).copied();
            own.unwrap_or_else(|| priority(name(group)).0)
        };
        let at = groups.iter().position(|group| of(group) < remote.group_priority).unwrap_or(groups.len());
        groups.insert(at, new(remote, version));
    }
}

fn name(group: &Value) -> &str {
    group["name"].as_str().unwrap_or_default()
}

fn metadata_name(group: &Value) -> &str {
    group["metadata"]["name"].as_str().unwrap_or_default()
}

fn listed(remote: &Remote) -> Value {
    json!({ "groupVersion": format!("{}/{}", remote.group, remote.version), "version": remote.version })
}

/// Adds others' groups to those of an APIGroupList.
pub fn insert_groups(aggregator: &Aggregator, groups: &mut Vec<Value>) {
    let new = |remote: &Remote, version: Value| json!({ "name": remote.group, "preferredVersion": version, "versions": [version] });
    insert(groups, &aggregator.index().remotes, name, &listed, &new);
}

/// Adds others' groups to the items of an APIGroupDiscoveryList.
pub fn insert_items(aggregator: &Aggregator, items: &mut Vec<Value>) {
    let made = |remote: &Remote| {
        let known = aggregator.found(&remote.name);
        let current = known.as_ref().is_some_and(|known| known.current && remote.available);
        let mut version =
            json!({ "version": remote.version, "freshness": if current { "Current" } else { "Stale" } });
        if let Some(known) = known {
            version["resources"] = known.resources.clone().into();
        }
        version
    };
    let new = |remote: &Remote, version: Value| json!({ "metadata": { "name": remote.group }, "versions": [version] });
    insert(items, &aggregator.index().remotes, metadata_name, &made, &new);
}

/// Paths and addresses of others' documents in OpenAPI v3.
pub fn addresses(aggregator: &Aggregator) -> Vec<(String, String)> {
    let all = aggregator.index().remotes.clone();
    let known = all.iter().filter_map(|remote| aggregator.found(&remote.name));
    known.filter_map(|known| known.published.v3.clone()).collect()
}

/// Others' documents in OpenAPI v2.
pub fn documents(aggregator: &Aggregator) -> Vec<Other> {
    let all = aggregator.index().remotes.clone();
    let known = all.iter().filter_map(|remote| aggregator.found(&remote.name));
    known.filter_map(|known| known.published.v2.as_ref().map(|(other, _)| other.clone())).collect()
}

/// Adds others' paths to those of `/`.
pub fn insert_paths(aggregator: &Aggregator, paths: &mut Vec<String>) {
    for remote in &aggregator.index().remotes {
        paths.push(format!("/apis/{}", remote.group));
        paths.push(format!("/apis/{}/{}", remote.group, remote.version));
    }
}
