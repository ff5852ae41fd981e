//! APIServices of what this server answers itself: they are there as long as it does.
//!
//! Answers to kube-aggregator's `autoregister` and to kube-apiserver's table of priorities.

use super::{GROUP, RESOURCE};
use crate::cluster::Inside;
use crate::server::Server;
use gifee_base::{ObjectKey, Reason, Status};
use gifee_policy::Lookup;
use gifee_registry::kind::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says who keeps an APIService: `onstart` for built-in groups, `true` for those of custom resources.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// The priorities of a custom resource's group and version.
const CUSTOM: (i64, i64) = (1_000, 100);

/// The priorities of the usage of nodes and pods; metrics-server's figures.
const LAST: (i64, i64) = (100, 100);

/// Groups that kube-apiserver serves, the priority of the group and of its first version.
const PRIORITIES: &[(&str, i64, i64)] = &[
    ("", 18_000, 1),
    ("admissionregistration.k8s.io", 16_700, 15),
    ("apiextensions.k8s.io", 16_700, 15),
    ("apiregistration.k8s.io", 18_000, 15),
    ("apps", 17_800, 15),
    ("authentication.k8s.io", 17_700, 15),
    ("authorization.k8s.io", 17_600, 15),
    ("autoscaling", 17_500, 30),
    ("batch", 17_400, 15),
    ("certificates.k8s.io", 17_300, 15),
    ("coordination.k8s.io", 16_500, 15),
    ("discovery.k8s.io", 16_200, 15),
    ("events.k8s.io", 17_750, 15),
    ("flowcontrol.apiserver.k8s.io", 16_100, 21),
    ("networking.k8s.io", 17_200, 15),
    ("node.k8s.io", 16_300, 15),
    ("policy", 17_100, 15),
    ("rbac.authorization.k8s.io", 17_000, 15),
    ("resource.k8s.io", 15_900, 15),
    ("scheduling.k8s.io", 16_600, 15),
    ("storage.k8s.io", 16_800, 15),
    ("storagemigration.k8s.io", 16_800, 15),
];

/// The priority of a group that is served here, and of its first version.
pub fn priority(group: &str) -> (i64, i64) {
    if group == crate::usage::PLACE.0 {
        return LAST;
    }
    let found = PRIORITIES.iter().find(|(name, ..)| *name == group);
    found.map_or(CUSTOM, |(_, group, version)| (*group, *version))
}

/// The APIServices that are to be there, by name.
fn wanted(server: &Server) -> BTreeMap<String, Value> {
    let kinds = server.kinds.load();
    let mut all = BTreeMap::new();
    let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
    for resource in kinds.all() {
        let (group, version) = (resource.group(), resource.version());
        let name = format!("{version}.{group}");
        // Whoever has a server for the usage of nodes and pods registers it under this name.
        if all.contains_key(&name) || group == GROUP || (group, version) == crate::usage::PLACE {
            continue;
        }
        let before = versions.entry(group).or_insert(0);
        let (group_priority, first) = priority(group);
        // Versions come in the order of discovery, each with less than the one before.
        let version_priority = (first - *before).max(1);
        *before += 1;
        let built_in = PRIORITIES.iter().any(|(name, ..)| *name == group);
        all.insert(name.clone(), json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": { "name": name, "labels": { MANAGED: if built_in { "onstart" } else { "true" } } },
            "spec": { "group": group, "version": version, "groupPriorityMinimum": group_priority,
                "versionPriority": version_priority },
        }));
    }
    all
}

/// Makes what is missing, and removes what is kept for a group that is served no more.
pub async fn settle(server: &Arc<Server>) {
    let wanted = wanted(server);
    let inside = Inside::new(server, false);
    let mut there = Vec::new();
    for object in Lookup::list(&*server.caches, GROUP, RESOURCE, "") {
        if object.label(MANAGED).is_some() && !wanted.contains_key(object.name()) {
            report(inside.delete(GROUP, RESOURCE, &ObjectKey::cluster(object.name())).await, object.name());
        }
        there.push(object.name().to_owned());
    }
    for (name, object) in wanted {
        if !there.contains(&name) {
            report(inside.create(GROUP, RESOURCE, object).await, &name);
        }
    }
}

fn report(outcome: Result<(), Status>, name: &str) {
    match outcome {
        Err(status) if !status.is(Reason::AlreadyExists) => {
            tracing::warn!(name, %status, "an APIService could not be kept");
        }
        _ => {}
    }
}
