//! Tables of how pods are reached.

use super::{items, joined, labels, name, scalar, selector_or_none, shortened, table, text, text_or};
use crate::kind::Table;
use serde_json::Value;
use std::collections::BTreeSet;

const SHOWN: usize = 3;

fn addresses(status: &Value) -> BTreeSet<&str> {
    items(&status["loadBalancer"]["ingress"])
        .iter()
        .map(|one| text_or(&one["ip"], text(&one["hostname"])))
        .filter(|address| !address.is_empty())
        .collect()
}

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let ips: Vec<&str> = items(&spec["externalIPs"]).iter().map(text).collect();
    match text(&spec["type"]) {
        "ClusterIP" | "NodePort" => text_or(&Value::from(ips.join(",")), "<none>").to_owned(),
        "LoadBalancer" => {
            let all: Vec<&str> = addresses(&service["status"]).into_iter().chain(ips).collect();
            text_or(&Value::from(all.join(",")), "<pending>").to_owned()
        }
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn service_port(port: &Value) -> String {
    let (number, protocol) = (scalar(&port["port"]), text(&port["protocol"]));
    match port["nodePort"].as_i64() {
        Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
        _ => format!("{number}/{protocol}"),
    }
}

/// Table of Services.
pub fn table_of_services() -> Table {
    let columns = &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"];
    table(columns, |object, now| {
        let spec = &object["spec"];
        let ports: Vec<String> = items(&spec["ports"]).iter().map(service_port).collect();
        let ports = if ports.is_empty() { "<none>".into() } else { ports.join(",") };
        vec![
            name(object),
            text(&spec["type"]).into(),
            text_or(&spec["clusterIPs"][0], "<none>").into(),
            external(object).into(),
            ports.into(),
            super::age(object, now),
            labels(&spec["selector"]).into(),
        ]
    })
}

fn hosts(rules: &Value) -> String {
    let rules = items(rules);
    let mut list: Vec<String> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= list.len() == SHOWN;
        if !more && !text(&rule["host"]).is_empty() {
            list.push(text(&rule["host"]).to_owned());
        }
    }
    if list.is_empty() {
        return "*".into();
    }
    shortened(&list, if more { rules.len() } else { list.len() }, SHOWN, ",")
}

/// Table of Ingresses.
pub fn table_of_ingresses() -> Table {
    table(&["Name", "Class", "Hosts", "Address", "Ports", "Age"], |object, now| {
        let spec = &object["spec"];
        let ports = if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
        vec![
            name(object),
            text_or(&spec["ingressClassName"], "<none>").into(),
            hosts(&spec["rules"]).into(),
            joined(addresses(&object["status"]), ",").into(),
            ports.into(),
            super::age(object, now),
        ]
    })
}

/// Table of IngressClasses.
pub fn table_of_ingress_classes() -> Table {
    table(&["Name", "Controller", "Parameters", "Age"], |object, now| {
        let parameters = &object["spec"]["parameters"];
        let shown = match (parameters.is_null(), parameters["apiGroup"].as_str()) {
            (true, _) => "<none>".to_owned(),
            (_, None) => format!("{}/{}", text(&parameters["kind"]), text(&parameters["name"])),
            (_, Some(group)) => {
                format!("{}.{group}/{}", text(&parameters["kind"]), text(&parameters["name"]))
            }
        };
        vec![name(object), text(&object["spec"]["controller"]).into(), shown.into(), super::age(object, now)]
    })
}

/// Table of NetworkPolicies.
pub fn table_of_network_policies() -> Table {
    table(&["Name", "Pod-Selector", "Age"], |object, now| {
        let selector = selector_or_none(&object["spec"]["podSelector"]);
        vec![name(object), selector.into(), super::age(object, now)]
    })
}

fn host_port(address: &str, port: &Value) -> String {
    if address.contains(':') {
        format!("[{address}]:{}", scalar(port))
    } else {
        format!("{address}:{}", scalar(port))
    }
}

fn endpoints(subsets: &Value) -> String {
    if items(subsets).is_empty() {
        return "<none>".into();
    }
    let mut list = Vec::new();
    for subset in items(subsets) {
        let addresses = items(&subset["addresses"]).iter().map(|one| text(&one["ip"]));
        let ports = items(&subset["ports"]);
        if ports.is_empty() {
            list.extend(addresses.clone().map(str::to_owned));
        }
        for port in ports {
            list.extend(addresses.clone().map(|address| host_port(address, &port["port"])));
        }
    }
    shortened(&list, list.len(), SHOWN, ",")
}

/// Table of Endpoints.
pub fn table_of_endpoints() -> Table {
    table(&["Name", "Endpoints", "Age"], |object, now| {
        vec![name(object), endpoints(&object["subsets"]).into(), super::age(object, now)]
    })
}

fn or_unset(list: &[String]) -> String {
    if list.is_empty() { "<unset>".into() } else { shortened(list, list.len(), SHOWN, ",") }
}

/// Table of EndpointSlices.
pub fn table_of_endpoint_slices() -> Table {
    table(&["Name", "AddressType", "Ports", "Endpoints", "Age"], |object, now| {
        let ports: Vec<String> = items(&object["ports"])
            .iter()
            .map(|port| match &port["port"] {
                Value::Null => port["name"].as_str().unwrap_or("*").to_owned(),
                number => scalar(number),
            })
            .collect();
        let endpoints: Vec<String> = items(&object["endpoints"])
            .iter()
            .flat_map(|one| items(&one["addresses"]))
            .map(|address| text(address).to_owned())
            .collect();
        vec![
            name(object),
            text(&object["addressType"]).into(),
            or_unset(&ports).into(),
            or_unset(&endpoints).into(),
            super::age(object, now),
        ]
    })
}

/// Table of ServiceCIDRs.
pub fn table_of_service_cidrs() -> Table {
    table(&["Name", "CIDRs", "Age"], |object, now| {
        let cidrs = joined(items(&object["spec"]["cidrs"]).iter().map(text), ",");
        vec![name(object), cidrs.into(), super::age(object, now)]
    })
}

/// Table of IPAddresses.
pub fn table_of_ip_addresses() -> Table {
    table(&["Name", "ParentRef", "Age"], |object, now| {
        let parent = &object["spec"]["parentRef"];
        let mut shown = "<none>".to_owned();
        if !parent.is_null() {
            shown = gifee_base::gvk::group_resource(text(&parent["group"]), text(&parent["resource"]));
            shown.make_ascii_lowercase();
            for part in ["namespace", "name"].map(|field| text(&parent[field])) {
                if !part.is_empty() {
                    shown.push('/');
                    shown.push_str(part);
                }
            }
        }
        vec![name(object), shown.into(), super::age(object, now)]
    })
}
