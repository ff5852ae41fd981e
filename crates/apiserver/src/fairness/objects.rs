//! The objects that every server has: mandatory ones, which stay as they are, and suggested ones, which people change.
//!
//! Answers to upstream's `apis/flowcontrol/bootstrap`; the objects are upstream's.

use serde_json::{Value, json};

/// The mandatory objects of both kinds.
pub const MANDATORY: [&str; 2] = ["exempt", "catch-all"];
/// Whether the server keeps the spec of an object as it suggests it.
pub const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const NODES: &str = "system:nodes";
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// Levels that queue: name, shares, per cent lent, queues, hand.
const LEVELS: &[(&str, u32, u32, u32, u32)] = &[
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

fn level(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } }, "spec": spec,
    })
}

/// The PriorityLevelConfigurations.
pub fn levels() -> Vec<Value> {
    let exempt =
        json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } });
    let last = json!({ "type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": { "type": "Reject" } } });
    let mut all = vec![level("exempt", exempt), level("catch-all", last)];
    all.extend(LEVELS.iter().map(|&(name, shares, lendable, queues, hand)| {
        let queuing = json!({ "queues": queues, "handSize": hand, "queueLengthLimit": 50 });
        let spec = json!({ "type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": { "type": "Queue", "queuing": queuing } } });
        level(name, spec)
    }));
    all
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "kind": "Group", "group": { "name": name } })).collect()
}

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "kind": "User", "user": { "name": name } })).collect()
}

fn system_accounts() -> Value {
    json!({ "kind": "ServiceAccount", "serviceAccount": { "name": "*", "namespace": "kube-system" } })
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule =
        json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
    if cluster_scope {
        rule["clusterScope"] = true.into();
    }
    rule
}

/// Everything that subjects may ask for.
fn everything(subjects: Value) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    })
}

fn schema(name: &str, level: &str, precedence: u32, by: &str, rule: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence, "rules": [rule],
    });
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({ "type": by });
    }
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } }, "spec": spec,
    })
}

/// The FlowSchemas.
pub fn schemas() -> Vec<Value> {
    let everybody = groups(&["system:unauthenticated", "system:authenticated"]);
    let probes = json!({
        "subjects": everybody,
        "nonResourceRules": [{ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] }],
    });
    let mut electors = users(&[MANAGER, SCHEDULER]);
    if let Some(electors) = electors.as_array_mut() {
        electors.push(system_accounts());
    }
    let election = json!({
        "subjects": electors,
        "resourceRules": [resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)],
    });
    let nodes = json!({
        "subjects": groups(&[NODES]),
        "resourceRules": [
            resources(&["*"], "", &["nodes", "nodes/status"], true),
            resources(&["*"], "coordination.k8s.io", &["leases"], false),
        ],
    });
    let (user, namespace) = ("ByUser", "ByNamespace");
    let accounts = groups(&["system:serviceaccounts"]);
    vec![
        schema("exempt", "exempt", 1, "", everything(groups(&["system:masters"]))),
        schema("catch-all", "catch-all", 10_000, user, everything(everybody.clone())),
        schema("system-nodes", "system", 500, user, everything(groups(&[NODES]))),
        schema("system-node-high", "node-high", 400, user, nodes),
        schema("probes", "exempt", 2, "", probes),
        schema("system-leader-election", "leader-election", 100, user, election),
        schema("kube-controller-manager", "workload-high", 800, namespace, everything(users(&[MANAGER]))),
        schema("kube-scheduler", "workload-high", 800, namespace, everything(users(&[SCHEDULER]))),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            namespace,
            everything(json!([system_accounts()])),
        ),
        schema("service-accounts", "workload-low", 9_000, user, everything(accounts)),
        schema("global-default", "global-default", 9_900, user, everything(everybody)),
    ]
}
