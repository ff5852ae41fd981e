//! What a configuration changes, and what is said of a wrong one.

use super::*;
use crate::config::tests::config;
use std::net::IpAddr;

fn applied(fields: &Value) -> (Config, Result<Vec<String>, Vec<String>>) {
    let mut tree = serde_json::json!({ "apiVersion": VERSION, "kind": "KubeletConfiguration" });
    for (name, value) in fields.as_object().unwrap() {
        tree[name] = value.clone();
    }
    let mut config = config();
    let outcome = apply(&tree, &mut config);
    (config, outcome)
}

#[test]
fn what_is_said_counts() {
    let (config, outcome) = applied(&serde_json::json!({
        "maxPods": 500, "podPidsLimit": 100, "clusterDNS": ["10.0.0.10"], "resolvConf": "/run/resolv.conf",
        "evictionHard": { "memory.available": "1Gi", "imagefs.available": "15%" },
        "imageGCHighThresholdPercent": 70, "imageGCLowThresholdPercent": 60, "imageMinimumGCAge": "1h2m",
        "containerLogMaxSize": "1Mi", "containerLogMaxFiles": 3,
        "systemReserved": { "cpu": "500m", "memory": "1Gi" }, "kubeReserved": { "cpu": "250m" },
        "registerWithTaints": [{ "key": "k", "effect": "NoSchedule" }],
        "cgroupDriver": "systemd",
    }));
    assert_eq!(outcome.unwrap(), ["cgroupDriver has no effect here"]);
    assert_eq!((config.max_pods, config.pod_pids_limit), (500, Some(100)));
    assert_eq!(config.cluster_dns, ["10.0.0.10".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.resolv_conf, PathBuf::from("/run/resolv.conf"));
    assert_eq!(config.thresholds.memory, Amount::Units(1 << 30));
    // What is not named is off.
    assert_eq!((config.thresholds.disk(1000), config.thresholds.inodes(1000)), (150, 0));
    assert_eq!((config.images.high_percent, config.images.low_percent), (70, 60));
    assert_eq!(config.images.minimum_age, SignedDuration::from_mins(62));
    assert_eq!((config.log_rotation.max_bytes, config.log_rotation.max_files), (1 << 20, 3));
    assert_eq!((config.reserved["cpu"].milli(), config.reserved["memory"].value()), (750, 1 << 30));
    assert_eq!(config.taints[0].key, "k");
}

#[test]
fn thresholds_merge_if_they_are_to() {
    let hard = serde_json::json!({ "memory.available": "5%" });
    let (config, outcome) =
        applied(&serde_json::json!({ "evictionHard": hard, "mergeDefaultEvictionSettings": true }));
    assert_eq!(outcome.unwrap(), Vec::<String>::new());
    assert_eq!(config.thresholds.memory.of(1000), 50);
    assert_eq!((config.thresholds.disk(1000), config.thresholds.inodes(1000)), (100, 50));
}

#[test]
fn pods_are_promised_what_is_not_kept() {
    let (config, _) = applied(&serde_json::json!({
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "25%" },
        "systemReserved": { "cpu": "500m", "memory": "1Gi" }, "kubeReserved": { "ephemeral-storage": "1000Ei" },
    }));
    let machine = crate::node::machine::Machine {
        cpus: 2,
        memory_bytes: 2 << 30,
        disk_bytes: 4 << 30,
        ..Default::default()
    };
    let promised = machine.allocatable(&config);
    assert_eq!(promised["cpu"].milli(), 1500);
    assert_eq!(promised["memory"].value(), (1 << 30) - (100 << 20));
    assert_eq!(promised["ephemeral-storage"], Quantity::ZERO);
}

#[test]
fn all_mistakes_are_told_and_nothing_changes() {
    let check = |fields: Value, wanted: &[&str]| {
        let (config, outcome) = applied(&fields);
        assert_eq!(outcome.unwrap_err(), wanted, "{fields}");
        assert_eq!((config.max_pods, config.reserved.len()), (110, 0));
    };
    check(serde_json::json!({ "maxPod": 1 }), &["maxPod: unknown field"]);
    check(
        serde_json::json!({ "maxPods": -1, "clusterDNS": ["x"], "imageMinimumGCAge": "soon",
            "imageGCLowThresholdPercent": 90, "containerLogMaxSize": "-1", "containerLogMaxFiles": 1,
            "evictionHard": { "memory": "1", "nodefs.available": "101%" },
            "systemReserved": { "cpu": "1", "pods": "1", "memory": "-1" } }),
        &[
            "maxPods: -1: must not be a negative number",
            "clusterDNS: \"x\" is no address",
            "evictionHard: unknown signal \"memory\"",
            "evictionHard: nodefs.available: \"101%\" is no quantity and no share of 100%",
            "imageMinimumGCAge: \"soon\" is no time such as 2m0s",
            "imageGCLowThresholdPercent: 90: must be less than imageGCHighThresholdPercent, 85",
            "containerLogMaxSize: \"-1\" is no size such as 10Mi",
            "containerLogMaxFiles: must be 2 or more",
            "systemReserved: memory: -1 must not be negative",
            "systemReserved: cannot reserve \"pods\"",
        ],
    );
    check(
        serde_json::json!({ "kind": "KubeletConfig" }),
        &["apiVersion, kind: must be kubelet.config.k8s.io/v1beta1 and KubeletConfiguration"],
    );
    check(serde_json::json!({ "maxPods": "many" }), &["invalid type: string \"many\", expected i32"]);
}
