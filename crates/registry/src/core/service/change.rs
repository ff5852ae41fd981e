//! How an update of a Service carries over what it was given before, and drops what its new type has no use for.
//!
//! Answers to upstream's `strategy.go` and `storage.go`: `patchAllocatedValues`, `normalizeClusterIPs`,
//! `dropTypeDependentFields`.

use super::{is_reached_from_outside, kind, needs_address, needs_health_port, needs_node_ports};
use crate::value::{int, is_empty, items, remove, same, text};
use serde_json::{Value, json};

/// Makes the old field for one address and the new list of them agree, if a client knows only one of them.
pub(super) fn normalize_addresses(service: &mut Value, old: Option<&Value>) {
    let spec = &service["spec"];
    let (one, list) = (text(&spec["clusterIP"]).to_owned(), spec["clusterIPs"].clone());
    let Some(old) = old else {
        if !one.is_empty() && is_empty(&list) {
            service["spec"]["clusterIPs"] = json!([one]);
        }
        return;
    };
    let before = &old["spec"];
    let (one_before, list_before) = (text(&before["clusterIP"]), &before["clusterIPs"]);
    if !is_empty(list_before) && is_empty(&list) && one == one_before {
        service["spec"]["clusterIPs"] = list_before.clone();
    }
    if one != one_before && same(&list, list_before) {
        if one.is_empty() {
            remove(&mut service["spec"], "clusterIPs");
        } else {
            service["spec"]["clusterIPs"] = json!([one]);
        }
    }
}

/// Puts back addresses and ports that the client left out.
pub(super) fn keep_allocated(service: &mut Value, old: &Value) {
    let before = &old["spec"];
    if needs_address(old) && needs_address(service) {
        let mut keep = |field: &str| {
            if is_empty(&service["spec"][field]) && !is_empty(&before[field]) {
                service["spec"][field] = before[field].clone();
            }
            service["spec"][field] == before[field]
        };
        if keep("clusterIP") {
            keep("clusterIPs");
        }
    }
    if needs_node_ports(old) && needs_node_ports(service) {
        keep_ports(service, old);
    }
    if needs_health_port(old)
        && needs_health_port(service)
        && int(&service["spec"]["healthCheckNodePort"]) == 0
    {
        service["spec"]["healthCheckNodePort"] = before["healthCheckNodePort"].clone();
    }
}

fn keep_ports(service: &mut Value, old: &Value) {
    let before = items(&old["spec"]["ports"]);
    let used: Vec<i64> = items(&service["spec"]["ports"])
        .iter()
        .map(|port| int(&port["nodePort"]))
        .filter(|port| *port != 0 && before.iter().any(|old| int(&old["nodePort"]) == *port))
        .collect();
    for port in service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if int(&port["nodePort"]) != 0 {
            continue;
        }
        let named = before.iter().rev().find(|old| text(&old["name"]) == text(&port["name"]));
        let kept = named.map_or(0, |old| int(&old["nodePort"]));
        if kept != 0 && !used.contains(&kept) {
            port["nodePort"] = kept.into();
        }
    }
}

/// Removes fields that only the old type needs, unless the client has changed them.
pub(super) fn drop_fields_of_type(service: &mut Value, old: &Value) {
    let before = &old["spec"];
    let mut drop = |fields: &[&str], needed: fn(&Value) -> bool| {
        if !needed(old) || needed(service) {
            return;
        }
        for field in fields {
            if same(&service["spec"][*field], &before[*field]) {
                remove(&mut service["spec"], field);
            }
        }
    };
    let address_changed = |service: &Value| !same(&service["spec"]["clusterIPs"], &before["clusterIPs"]);
    let balanced: fn(&Value) -> bool = |service| kind(service) == "LoadBalancer";
    drop(&["healthCheckNodePort"], needs_health_port);
    drop(&["externalTrafficPolicy"], is_reached_from_outside);
    drop(&["allocateLoadBalancerNodePorts", "loadBalancerClass"], balanced);
    drop(&["ipFamilies", "ipFamilyPolicy"], needs_address);
    if needs_address(old) && !needs_address(service) && !address_changed(service) {
        remove(&mut service["spec"], "clusterIP");
        remove(&mut service["spec"], "clusterIPs");
    }
    let node_ports = |service: &Value| -> Vec<i64> {
        items(&service["spec"]["ports"]).iter().map(|port| int(&port["nodePort"])).collect()
    };
    if needs_node_ports(old) && !needs_node_ports(service) && node_ports(service) == node_ports(old) {
        for port in service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            remove(port, "nodePort");
        }
    }
    if balanced(old) && !balanced(service) {
        service["status"]["loadBalancer"] = json!({});
    }
}
