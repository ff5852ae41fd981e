//! Fields of a pod by path.
//!
//! Answers to `pkg/fieldpath` and the kubelet's `podFieldSelectorRuntimeValue`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use super::Facts;
use crate::pod::members;

/// The value of a field; `None` for one that cannot be asked for.
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Option<String> {
    if let Some((base, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match base {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return None,
        };
        return Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let spec = members::spec(pod);
    Some(match path {
        "metadata.name" => members::name(pod).to_owned(),
        "metadata.namespace" => members::namespace(pod).to_owned(),
        "metadata.uid" => members::uid(pod).to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(&facts.host_addresses),
        "status.hostIPs" => join(&facts.host_addresses),
        "status.podIP" => first(&facts.pod_addresses),
        "status.podIPs" => join(&facts.pod_addresses),
        _ => return None,
    })
}

fn first(addresses: &[IpAddr]) -> String {
    addresses.first().map(ToString::to_string).unwrap_or_default()
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `key="value"` lines, as the downward API writes maps; values are quoted as Go quotes strings.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
