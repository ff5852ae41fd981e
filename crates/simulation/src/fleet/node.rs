//! The object of a simulated node: what a kubelet registers with.

use gifee_base::clock::format_time;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What simulated nodes look like.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Shape {
    /// Names are this and a number.
    pub prefix: String,
    /// Zones, in turn; empty: no label.
    pub zones: Vec<String>,
    /// Capacity and what is allocatable.
    pub capacity: Map<String, Value>,
    /// Labels besides those that every node has.
    pub labels: Map<String, Value>,
    /// A label whose value differs: key and values, in turn.
    pub label_values: Option<LabelValues>,
    /// Taints.
    pub taints: Vec<Value>,
}

/// A label whose value differs from node to node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LabelValues {
    /// Key.
    pub label_key: String,
    /// Values, in turn; empty: the node's own name.
    #[serde(default)]
    pub label_values: Vec<String>,
}

impl Default for Shape {
    fn default() -> Self {
        let capacity = [("cpu", "4"), ("memory", "32Gi"), ("pods", "110"), ("ephemeral-storage", "100Gi")];
        Self {
            prefix: "node-".into(),
            zones: Vec::new(),
            capacity: capacity.map(|(name, amount)| (name.into(), amount.into())).into_iter().collect(),
            labels: Map::new(),
            label_values: None,
            taints: Vec::new(),
        }
    }
}

impl Shape {
    /// The name of the node of an index.
    pub fn name(&self, index: usize) -> String {
        format!("{}{index}", self.prefix)
    }

    /// The object of the node of an index.
    pub fn object(&self, index: usize, now: Timestamp) -> Value {
        let name = self.name(index);
        let mut labels = json!({
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64",
        });
        if let Some(zone) = self.zones.get(index % self.zones.len().max(1)) {
            labels["topology.kubernetes.io/zone"] = zone.as_str().into();
        }
        for (key, value) in &self.labels {
            labels[key] = value.clone();
        }
        if let Some(LabelValues { label_key, label_values }) = &self.label_values {
            let value = label_values.get(index % label_values.len().max(1)).cloned();
            labels[label_key] = value.unwrap_or_else(|| name.clone()).into();
        }
        let mut spec = json!({});
        if !self.taints.is_empty() {
            spec["taints"] = Value::Array(self.taints.clone());
        }
        let address = u32::try_from(index).unwrap_or_default().to_be_bytes();
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": labels },
            "spec": spec,
            "status": {
                "capacity": self.capacity, "allocatable": self.capacity,
                "conditions": conditions(now),
                "addresses": [
                    { "type": "InternalIP", "address": format!("172.{}.{}.{}", 16 + address[1], address[2], address[3]) },
                    { "type": "Hostname", "address": name },
                ],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
                "nodeInfo": {
                    "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "simulated",
                    "osImage": "simulated", "containerRuntimeVersion": "simulated://1", "kubeletVersion": "v1.37.0",
                    "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
                },
            },
        })
    }
}

/// What a node says of itself that is well.
pub(super) fn conditions(now: Timestamp) -> Value {
    let now = format_time(now);
    let one = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now })
    };
    json!([
        one(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        one("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        one("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        one("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ])
}
