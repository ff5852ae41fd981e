//! What a Service with its slices comes to.

use expect_test::{Expect, expect};
use gifee_reconcile::k8s_openapi::api::core::v1::Service;
use gifee_reconcile::k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::{Seen, observe};

fn service(spec: Value, status: Value) -> Service {
    let metadata = json!({"namespace": "shop", "name": "web"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn slice(ports: Value, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints})).unwrap()
}

fn text(seen: &Seen) -> String {
    let mut out = String::new();
    for port in &seen.ports {
        out += &format!("{} {:?}:{}", port.name, port.cluster_ips, port.port);
        out += &format!(" node {:?} external {:?}", port.node_port, port.external_ips);
        out += &format!(" balancer {:?} from {:?}", port.load_balancer_ips, port.source_ranges.len());
        out += &format!(" affinity {:?}", port.affinity_seconds);
        out += &format!(" local {} {}\n", port.external_local, port.internal_local);
        for one in &port.endpoints {
            let is = |is: bool, word: &str| if is { format!(" {word}") } else { String::new() };
            out += &format!("  {}:{}", one.address, one.port);
            out += &is(one.ready, "ready");
            out += &is(one.serving, "serving");
            out += &is(one.terminating, "terminating");
            out += &is(one.local, "local");
            out += "\n";
        }
    }
    match &seen.name {
        None => out += "no name\n",
        Some(name) => {
            out += &format!("name {:?} {:?}\n", name.cluster_ips, name.external_name);
            for port in &name.ports {
                out += &format!("  port {} {} {}\n", port.name, port.protocol, port.port);
            }
            for place in &name.endpoints {
                let ports: Vec<String> =
                    place.ports.iter().map(|port| format!("{}={}", port.name, port.port)).collect();
                out += &format!("  at {} {:?} {}\n", place.address, place.hostname, ports.join(","));
            }
        }
    }
    out
}

fn check(service: &Service, slices: &[EndpointSlice], expect: Expect) {
    expect.assert_eq(&text(&observe("node", service, slices)));
}

#[test]
fn everything_a_service_can_say() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00::20"],
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP"},
            {"name": "odd", "port": 1, "protocol": "QUIC"},
        ],
        "externalIPs": ["203.0.113.7", "nonsense"],
        "loadBalancerSourceRanges": ["198.51.100.0/24", " 192.0.2.0/24 ", "nonsense"],
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
    });
    let ingress = json!([
        {"ip": "203.0.113.9"}, {"ip": "203.0.113.10", "ipMode": "Proxy"},
        {"ip": "203.0.113.11", "ipMode": "VIP"}, {"hostname": "balancer.example"},
    ]);
    let slices = [
        slice(
            json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}]),
            json!([
                {"addresses": ["10.244.0.5"], "nodeName": "node", "hostname": "web-0"},
                {"addresses": ["10.244.1.6"], "nodeName": "other", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.7"], "nodeName": "node",
                 "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.244.0.8"], "conditions": {"ready": false, "serving": false}},
            ]),
        ),
        // Being moved between slices: one of them says that it is not ready.
        slice(
            json!([{"name": "http", "port": 8080}]),
            json!([{"addresses": ["10.244.1.6"], "conditions": {"ready": false}}]),
        ),
    ];
    let status = json!({"loadBalancer": {"ingress": ingress}});
    check(
        &service(spec, status),
        &slices,
        expect![[r#"
        shop/web/tcp/http [10.96.0.20, fd00::20]:80 node Some(30080) external [203.0.113.7] balancer [203.0.113.9, 203.0.113.11] from 2 affinity Some(60) local true false
          10.244.0.5:8080 ready serving local
          10.244.0.7:8080 serving terminating local
          10.244.0.8:8080
          10.244.1.6:8080 ready serving
        shop/web/udp/dns [10.96.0.20, fd00::20]:53 node Some(30053) external [203.0.113.7] balancer [203.0.113.9, 203.0.113.11] from 2 affinity Some(60) local true false
          10.244.0.5:5353 ready serving local
          10.244.0.7:5353 serving terminating local
          10.244.0.8:5353
          10.244.1.6:5353 ready serving
        name [10.96.0.20, fd00::20] None
          port http tcp 80
          port dns udp 53
          at 10.244.0.5 Some("web-0") dns=5353,http=8080
          at 10.244.1.6 None dns=5353,http=8080
    "#]],
    );
}

#[test]
fn a_headless_service_has_a_name_and_no_rules() {
    let spec =
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "peer", "port": 7000}]});
    let ports = json!([{"name": "peer", "port": 7000}]);
    let endpoints = json!([
        {"addresses": ["10.244.0.5"], "hostname": "db-0"},
        {"addresses": ["10.244.0.6"], "conditions": {"ready": false}},
    ]);
    check(
        &service(spec, json!({})),
        &[slice(ports, endpoints)],
        expect![[r#"
        name [] None
          port peer tcp 7000
          at 10.244.0.5 Some("db-0") peer=7000
    "#]],
    );
}

#[test]
fn services_without_addresses() {
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    check(
        &service(external, json!({})),
        &[],
        expect![[r#"
        name [] Some("example.com")
    "#]],
    );
    check(
        &service(json!({"ports": [{"port": 80}]}), json!({})),
        &[],
        expect![[r#"
        no name
    "#]],
    );
    let unnamed = json!({"clusterIP": "10.96.0.20", "ports": [{"port": 80}], "sessionAffinity": "ClientIP"});
    let slices = [slice(json!([{"name": "", "port": 8080}]), json!([{"addresses": ["10.244.0.5"]}]))];
    check(
        &service(unnamed, json!({})),
        &slices,
        expect![[r#"
        shop/web/tcp/ [10.96.0.20]:80 node None external [] balancer [] from 0 affinity Some(10800) local false false
          10.244.0.5:8080 ready serving
        name [10.96.0.20] None
          at 10.244.0.5 None 
    "#]],
    );
}

#[test]
fn another_proxy_takes_care_of_it() {
    let spec = json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": [{"port": 80}]});
    let mut service = service(spec, json!({}));
    let label = ("service.kubernetes.io/service-proxy-name".to_owned(), "mesh".to_owned());
    service.metadata.labels = Some([label].into());
    check(
        &service,
        &[],
        expect![[r#"
        name [10.96.0.20] None
    "#]],
    );
}
