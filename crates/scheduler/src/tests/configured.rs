//! Configurations: what they change, and what is said of wrong ones.

use super::{cluster, node_with, pod, pod_with};
use crate::configuration::read;
use crate::placement::Placement;
use crate::ranking::Rankings;
use crate::selectors::Selectors;
use serde_json::{Value, json};

fn configuration(profile: &Value) -> Value {
    json!({ "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [profile] })
}

/// Of two nodes, of which the first is fuller, the one that a profile takes for a pod.
fn check(profile: &Value, spec: &Value, expected: &str) {
    let read = read(&configuration(profile)).unwrap_or_else(|why| panic!("{why:?}"));
    let profile = &read.profiles[0];
    let nodes = [node_with("one", &json!({})), node_with("two", &json!({}))];
    let mut cluster = cluster(&nodes, &[("one", json!({ "cpu": "500m", "memory": "512Mi" }))]);
    let pod = pod(&pod_with("web", spec));
    let spread = Selectors::default().spread(profile, &pod.template);
    let mut rankings = Rankings::default();
    let ranking = rankings.of(&mut cluster, profile, &pod, spread);
    let chosen = match ranking.choose(&cluster, profile, &pod, &mut || 0) {
        Placement::Node(index) => cluster.node(index).name.to_string(),
        Placement::None(diagnosis) => diagnosis.message(),
    };
    assert_eq!(chosen, expected, "{spec}");
}

fn fit(strategy: &Value) -> Value {
    json!({ "pluginConfig": [{ "name": "NodeResourcesFit", "args": { "scoringStrategy": strategy } }] })
}

#[test]
fn nodes_are_scored_as_the_strategy_says() {
    let web = json!({ "cpu": "100m", "memory": "100Mi" });
    check(&json!({}), &web, "two");
    check(&fit(&json!({ "type": "LeastAllocated" })), &web, "two");
    check(
        &fit(&json!({ "type": "MostAllocated", "resources": [{ "name": "cpu", "weight": 3 }] })),
        &web,
        "one",
    );
    let rising = json!([{ "utilization": 0, "score": 0 }, { "utilization": 100, "score": 10 }]);
    let ratio = |shape: &Value| json!({ "type": "RequestedToCapacityRatio", "requestedToCapacityRatio": { "shape": shape } });
    check(&fit(&ratio(&rising)), &web, "one");
    let falling = json!([{ "utilization": 0, "score": 10 }, { "utilization": 100, "score": 0 }]);
    check(&fit(&ratio(&falling)), &web, "two");
    // Without the only plugin that tells the nodes apart, the lot decides: the first.
    let off = json!({ "plugins": { "score": { "disabled": [{ "name": "*" }] } } });
    check(&off, &web, "one");
}

#[test]
fn plugins_and_their_arguments_change_what_fits() {
    let large = json!({ "cpu": "2" });
    check(&json!({}), &large, "0/2 nodes are available: 2 Insufficient cpu.");
    let off = json!({ "plugins": { "filter": { "disabled": [{ "name": "NodeResourcesFit" }] } } });
    check(&off, &large, "one");
    let gpu =
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "example.com/gpu": "1" } } }] });
    check(&json!({}), &gpu, "0/2 nodes are available: 2 Insufficient example.com/gpu.");
    let ignored = |args: Value| json!({ "pluginConfig": [{ "name": "NodeResourcesFit", "args": args }] });
    check(&ignored(json!({ "ignoredResources": ["example.com/gpu"] })), &gpu, "two");
    check(&ignored(json!({ "ignoredResourceGroups": ["example.com"] })), &gpu, "two");
    let added = json!({ "pluginConfig": [{ "name": "NodeAffinity", "args": { "addedAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [
            { "key": "kubernetes.io/hostname", "operator": "In", "values": ["one"] }] }] } } } }] });
    check(&added, &json!({}), "one");
}

#[test]
fn all_mistakes_are_told_with_their_fields() {
    let wrong = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "parallelism": 0, "percentageOfNodesToScore": 101, "podInitialBackoffSeconds": 0,
        "profiles": [
            { "schedulerName": "a", "plugins": { "filter": { "enabled": [{ "name": "Nope" }] }, "later": {} } },
            { "schedulerName": "a", "pluginConfig": [
                { "name": "InterPodAffinity", "args": { "hardPodAffinityWeight": 101 } },
                { "name": "NodeResourcesFit", "args": { "scoringStrategy": { "type": "Best" } } },
                { "name": "PodTopologySpread", "args": { "defaultingType": "List", "defaultConstraints": [
                    { "maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "Never" }] } },
                { "name": "DefaultPreemption", "args": { "minCandidateNodesPercentage": 101 } },
                { "name": "NodeAffinity", "args": { "addedAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                        { "matchExpressions": [{ "key": "a", "operator": "Near" }, { "key": "b", "operator": "In" }] },
                        { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["x", "y"] }] }] },
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        { "weight": 1, "preference": { "matchFields": [{ "key": "metadata.name", "operator": "Gt" }] } },
                        { "weight": 0, "preference": { "matchFields": [{ "key": "metadata.name", "operator": "Gt" }] } }],
                } } },
            ] },
            { "plugins": {} },
        ],
    });
    let why = read(&wrong).unwrap_err();
    assert_eq!(
        why,
        [
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
            "parallelism: Invalid value: 0: should be an integer value greater than zero",
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
            "profiles[0].plugins.filter.enabled[0].name: Invalid value: \"Nope\": there is no such plugin",
            "strict decoding error: unknown field \"profiles[0].plugins.later\"",
            "profiles[1].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
            "profiles[1].pluginConfig[1].args.scoringStrategy.type: Unsupported value: \"Best\": supported values: \
             \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
            "profiles[1].pluginConfig[2].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
            "profiles[1].pluginConfig[2].args.defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": \
             supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            "profiles[1].pluginConfig[3].args.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]",
            "profiles[1].pluginConfig[4].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]\
             .matchExpressions[0].operator: Unsupported value: \"Near\"",
            "profiles[1].pluginConfig[4].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]\
             .matchExpressions[1].values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
            "profiles[1].pluginConfig[4].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]\
             .matchFields[0].values: Invalid value: 2: must have one element",
            "profiles[1].pluginConfig[4].args.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]\
             .matchFields[0].operator: Unsupported value: \"Gt\"",
            "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
            "profiles[2].schedulerName: Required value",
        ]
    );
    assert!(read(&json!({ "kind": "Pod" })).is_err());
    let unknown = configuration(&json!({ "nodes": 3 }));
    assert!(read(&unknown).unwrap_err()[0].contains("unknown field `nodes`"));
}
