//! The node's object: labels, addresses, capacity, conditions.
//!
//! Invariant: a pure function of settings, machine and pressure; `lastTransitionTime` changes with `status`. Answers
//! to `pkg/kubelet/nodestatus`.

use std::collections::BTreeMap;

use gifee_base::Quantity;
use gifee_base::clock::format_time;
use gifee_oci::Image;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::machine::{Machine, Pressure};
use crate::config::Config;

/// At most so many images are listed.
const IMAGES: usize = 50;

/// The labels that every node has.
pub fn labels(config: &Config, machine: &Machine) -> BTreeMap<String, String> {
    let (os, arch) = (machine.info.operating_system.clone(), machine.info.architecture.clone());
    let mut labels = BTreeMap::from([
        ("beta.kubernetes.io/arch".to_owned(), arch.clone()),
        ("beta.kubernetes.io/os".to_owned(), os.clone()),
        ("kubernetes.io/arch".to_owned(), arch),
        ("kubernetes.io/hostname".to_owned(), config.node_name.clone()),
        ("kubernetes.io/os".to_owned(), os),
    ]);
    labels.extend(config.labels.clone());
    labels
}

/// The object as it is created.
pub fn node(config: &Config, machine: &Machine, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": config.node_name, "labels": labels(config, machine),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
        "spec": if config.taints.is_empty() { json!({}) } else { json!({"taints": config.taints}) },
        "status": status
    })
}

fn quantities(list: BTreeMap<String, Quantity>) -> Value {
    Value::Object(
        list.into_iter().map(|(name, amount)| (name, amount.to_string().into())).collect::<Map<_, _>>(),
    )
}

/// The status; `old` are the conditions that the server has, `port` is the server's.
pub fn status(
    config: &Config,
    machine: &Machine,
    pressure: Pressure,
    images: &[Image],
    old: &[Value],
    port: u16,
    now: Timestamp,
) -> Value {
    let mut addresses: Vec<Value> = config
        .addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address.to_string()}))
        .collect();
    addresses.push(json!({"type": "Hostname", "address": config.node_name}));
    let mut by_size: Vec<&Image> = images.iter().collect();
    by_size.sort_by_key(|image| std::cmp::Reverse(image.size));
    let images: Vec<Value> = by_size
        .into_iter()
        .take(IMAGES)
        .map(|image| {
            let names: Vec<&String> = image.digests.iter().chain(&image.names).take(5).collect();
            json!({"names": names, "sizeBytes": image.size})
        })
        .collect();
    json!({
        "addresses": addresses,
        "allocatable": quantities(machine.allocatable(config)),
        "capacity": quantities(machine.capacity(config.max_pods)),
        "conditions": conditions(pressure, old, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "images": images,
        "nodeInfo": machine.info
    })
}

fn conditions(pressure: Pressure, old: &[Value], now: Timestamp) -> Vec<Value> {
    let all = [
        (
            "MemoryPressure",
            pressure.memory,
            if pressure.memory { "KubeletHasInsufficientMemory" } else { "KubeletHasSufficientMemory" },
            if pressure.memory {
                "kubelet has insufficient memory available"
            } else {
                "kubelet has sufficient memory available"
            },
        ),
        (
            "DiskPressure",
            pressure.disk,
            if pressure.disk { "KubeletHasDiskPressure" } else { "KubeletHasNoDiskPressure" },
            if pressure.disk { "kubelet has disk pressure" } else { "kubelet has no disk pressure" },
        ),
        (
            "PIDPressure",
            pressure.pids,
            if pressure.pids { "KubeletHasInsufficientPID" } else { "KubeletHasSufficientPID" },
            if pressure.pids {
                "kubelet has insufficient PID available"
            } else {
                "kubelet has sufficient PID available"
            },
        ),
        ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
    ];
    all.into_iter()
        .map(|(name, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let same = old.iter().find(|one| one["type"] == name && one["status"] == status);
            let since = same.and_then(|one| one["lastTransitionTime"].as_str()).map(str::to_owned);
            json!({
                "type": name, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": format_time(now),
                "lastTransitionTime": since.unwrap_or_else(|| format_time(now))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_dated_by_their_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(Pressure::default(), &[], at(0));
        let second = conditions(Pressure { disk: true, ..Pressure::default() }, &first, at(60));
        let of = |all: &[Value], name: &str| all.iter().find(|one| one["type"] == name).unwrap().clone();
        assert_eq!(of(&second, "Ready")["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(of(&second, "Ready")["lastHeartbeatTime"], "1970-01-01T00:01:00Z");
        assert_eq!(of(&second, "DiskPressure")["status"], "True");
        assert_eq!(of(&second, "DiskPressure")["lastTransitionTime"], "1970-01-01T00:01:00Z");
    }
}
