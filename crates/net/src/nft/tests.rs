//! Goldens of compiled rules, and the differences between states.

use std::net::IpAddr;
use std::path::PathBuf;

use expect_test::{Expect, expect};

use super::ir::Command;
use super::{Model, Owner, Scope, compile_base, compile_pod, compile_service};
use crate::service::{Endpoint, ServicePort, ServicePortName};
use crate::{Attachment, Config, HostPort, Protocol};

fn config() -> Config {
    Config {
        instance: "a".into(),
        node_name: "node".into(),
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        cluster_dns: "10.96.0.10".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
        mtu: None,
        state_dir: PathBuf::new(),
        resolv_conf: PathBuf::new(),
    }
}

fn scope() -> Scope {
    Scope { cluster_cidr: config().cluster_cidr }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ready(text: &str, local: bool) -> Endpoint {
    Endpoint { address: address(text), port: 8080, ready: true, serving: true, terminating: false, local }
}

fn web() -> ServicePort {
    ServicePort {
        name: ServicePortName {
            namespace: "shop".into(),
            service: "web".into(),
            protocol: Protocol::Tcp,
            port: "http".into(),
        },
        cluster_ips: vec![address("10.96.0.20")],
        port: 80,
        node_port: None,
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        affinity_seconds: None,
        external_local: false,
        internal_local: false,
        endpoints: vec![ready("10.244.0.5", true), ready("10.244.1.6", false)],
    }
}

fn text(commands: &[Command]) -> String {
    commands.iter().map(|command| format!("{command}\n")).collect()
}

fn check(port: &ServicePort, expect: Expect) {
    let fragment = compile_service(scope(), port);
    expect.assert_eq(&text(
        &Model::default().change(vec![(Owner::Service(port.name.clone()), Some(fragment))]),
    ));
}

#[test]
fn base() {
    let commands = Model::default().change(vec![(Owner::Base, Some(compile_base(&config())))]);
    expect![[r#"
        add set firewall-ips { addr . inet_proto . inet_service : verdict }
        add set hairpins { addr . addr }
        add set host-port-ips { addr . inet_proto . inet_service : addr . inet_service }
        add set host-ports { inet_proto . inet_service : addr . inet_service }
        add set no-endpoint-nodeports { inet_proto . inet_service : verdict }
        add set no-endpoint-services { addr . inet_proto . inet_service : verdict }
        add set service-ips { addr . inet_proto . inet_service : verdict }
        add set service-nodeports { inet_proto . inet_service : verdict }
        add chain endpoints-check
        add chain filter-forward { type filter hook forward priority -110 }
        add chain filter-input { type filter hook input priority -110 }
        add chain filter-output { type filter hook output priority -110 }
        add chain filter-output-late { type filter hook output priority -90 }
        add chain filter-prerouting { type filter hook prerouting priority -110 }
        add chain firewall-check
        add chain loopback-guard { type filter hook prerouting priority -300 }
        add chain nat-output { type nat hook output priority -100 }
        add chain nat-postrouting { type nat hook postrouting priority 100 }
        add chain nat-prerouting { type nat hook prerouting priority -100 }
        add chain reject-it
        add chain services
        add rule endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
        add rule endpoints-check fib daddr type local meta l4proto . th dport vmap @no-endpoint-nodeports
        add rule endpoints-check ip daddr 10.96.0.0/16 goto reject-it
        add rule filter-forward ct state new jump endpoints-check
        add rule filter-input ct state new jump endpoints-check
        add rule filter-output ct state new jump firewall-check
        add rule filter-output-late ct state new jump endpoints-check
        add rule filter-prerouting ct state new jump firewall-check
        add rule firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
        add rule loopback-guard iifname "gfa-*" ip daddr 127.0.0.0/8 drop
        add rule loopback-guard iifname "gfa-*" ip saddr 127.0.0.0/8 drop
        add rule nat-output jump services
        add rule nat-postrouting meta mark & 0x4000 == 0x4000 meta mark set meta mark & ~0x4000 masquerade fully-random
        add rule nat-postrouting ct status dnat ip saddr . ip daddr @hairpins masquerade fully-random
        add rule nat-postrouting ct status dnat ip saddr 127.0.0.0/8 oifname != "lo" masquerade fully-random
        add rule nat-postrouting ip saddr 10.244.0.0/24 ip daddr != 10.244.0.0/16 ip daddr != 224.0.0.0/4 oifname != "gfa-*" masquerade fully-random
        add rule nat-prerouting jump services
        add rule reject-it meta l4proto tcp reject with tcp reset
        add rule reject-it reject
        add rule services ip daddr . meta l4proto . th dport vmap @service-ips
        add rule services fib daddr type local meta l4proto . th dport vmap @service-nodeports
        add rule services dnat to ip daddr . meta l4proto . th dport map @host-port-ips
        add rule services fib daddr type local dnat to meta l4proto . th dport map @host-ports
    "#]].assert_eq(&text(&commands));
}

#[test]
fn cluster_ip() {
    check(
        &web(),
        expect![[r#"
        add chain service-shop/web/tcp/http
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.1.6 . 8080 }
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http }
    "#]],
    );
}

#[test]
fn no_endpoints_are_refused_everywhere() {
    let port = ServicePort { endpoints: vec![], node_port: Some(30080), ..web() };
    check(
        &port,
        expect![[r#"
        add element no-endpoint-nodeports { tcp . 30080 : goto reject-it }
        add element no-endpoint-services { 10.96.0.20 . tcp . 80 : goto reject-it }
    "#]],
    );
}

#[test]
fn node_port_with_cluster_policy_is_masqueraded() {
    check(
        &ServicePort { node_port: Some(30080), ..web() },
        expect![[r#"
        add chain external-shop/web/tcp/http
        add chain service-shop/web/tcp/http
        add rule external-shop/web/tcp/http meta mark set meta mark | 0x4000
        add rule external-shop/web/tcp/http goto service-shop/web/tcp/http
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.1.6 . 8080 }
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http }
        add element service-nodeports { tcp . 30080 : goto external-shop/web/tcp/http }
    "#]],
    );
}

#[test]
fn external_local_keeps_the_source() {
    let port = ServicePort {
        node_port: Some(30080),
        external_ips: vec![address("203.0.113.7")],
        external_local: true,
        ..web()
    };
    check(
        &port,
        expect![[r#"
        add chain external-shop/web/tcp/http
        add chain local-shop/web/tcp/http
        add chain service-shop/web/tcp/http
        add rule external-shop/web/tcp/http ip saddr 10.244.0.0/16 goto service-shop/web/tcp/http
        add rule external-shop/web/tcp/http fib saddr type local meta mark set meta mark | 0x4000 goto service-shop/web/tcp/http
        add rule external-shop/web/tcp/http goto local-shop/web/tcp/http
        add rule local-shop/web/tcp/http dnat to 10.244.0.5:8080
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.1.6 . 8080 }
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http, 203.0.113.7 . tcp . 80 : goto external-shop/web/tcp/http }
        add element service-nodeports { tcp . 30080 : goto external-shop/web/tcp/http }
    "#]],
    );
}

#[test]
fn external_local_without_local_endpoints_drops_strangers_only() {
    let port = ServicePort {
        node_port: Some(30080),
        external_local: true,
        endpoints: vec![ready("10.244.1.6", false)],
        ..web()
    };
    check(
        &port,
        expect![[r#"
        add chain external-shop/web/tcp/http
        add chain service-shop/web/tcp/http
        add rule external-shop/web/tcp/http ip saddr 10.244.0.0/16 goto service-shop/web/tcp/http
        add rule external-shop/web/tcp/http fib saddr type local meta mark set meta mark | 0x4000 goto service-shop/web/tcp/http
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to 10.244.1.6:8080
        add element hairpins { 10.244.1.6 . 10.244.1.6 }
        add element no-endpoint-nodeports { tcp . 30080 : drop }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http }
        add element service-nodeports { tcp . 30080 : goto external-shop/web/tcp/http }
    "#]],
    );
}

#[test]
fn internal_local() {
    check(
        &ServicePort { internal_local: true, ..web() },
        expect![[r#"
        add chain local-shop/web/tcp/http
        add rule local-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule local-shop/web/tcp/http dnat to 10.244.0.5:8080
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto local-shop/web/tcp/http }
    "#]],
    );
    let far = ServicePort { internal_local: true, endpoints: vec![ready("10.244.1.6", false)], ..web() };
    check(
        &far,
        expect![[r#"
        add element hairpins { 10.244.1.6 . 10.244.1.6 }
        add element no-endpoint-services { 10.96.0.20 . tcp . 80 : drop }
    "#]],
    );
}

#[test]
fn affinity() {
    check(
        &ServicePort { affinity_seconds: Some(10800), ..web() },
        expect![[r#"
        add set affinity-shop/web/tcp/http/10.244.0.5/8080 { addr; flags dynamic,timeout }
        add set affinity-shop/web/tcp/http/10.244.1.6/8080 { addr; flags dynamic,timeout }
        add chain endpoint-shop/web/tcp/http/10.244.0.5/8080
        add chain endpoint-shop/web/tcp/http/10.244.1.6/8080
        add chain service-shop/web/tcp/http
        add rule endpoint-shop/web/tcp/http/10.244.0.5/8080 update @affinity-shop/web/tcp/http/10.244.0.5/8080 { ip saddr timeout 10800s }
        add rule endpoint-shop/web/tcp/http/10.244.0.5/8080 dnat to 10.244.0.5:8080
        add rule endpoint-shop/web/tcp/http/10.244.1.6/8080 update @affinity-shop/web/tcp/http/10.244.1.6/8080 { ip saddr timeout 10800s }
        add rule endpoint-shop/web/tcp/http/10.244.1.6/8080 dnat to 10.244.1.6:8080
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http ip saddr @affinity-shop/web/tcp/http/10.244.0.5/8080 goto endpoint-shop/web/tcp/http/10.244.0.5/8080
        add rule service-shop/web/tcp/http ip saddr @affinity-shop/web/tcp/http/10.244.1.6/8080 goto endpoint-shop/web/tcp/http/10.244.1.6/8080
        add rule service-shop/web/tcp/http numgen random mod 2 vmap { 0 : goto endpoint-shop/web/tcp/http/10.244.0.5/8080, 1 : goto endpoint-shop/web/tcp/http/10.244.1.6/8080 }
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http }
    "#]],
    );
}

#[test]
fn load_balancer_with_source_ranges() {
    let port = ServicePort {
        node_port: Some(30080),
        load_balancer_ips: vec![address("203.0.113.9"), address("2001:db8::9")],
        source_ranges: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..web()
    };
    check(
        &port,
        expect![[r#"
        add chain external-shop/web/tcp/http
        add chain firewall-shop/web/tcp/http
        add chain service-shop/web/tcp/http
        add rule external-shop/web/tcp/http meta mark set meta mark | 0x4000
        add rule external-shop/web/tcp/http goto service-shop/web/tcp/http
        add rule firewall-shop/web/tcp/http ip saddr 198.51.100.0/24 return
        add rule firewall-shop/web/tcp/http drop
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.1.6 . 8080 }
        add element firewall-ips { 203.0.113.9 . tcp . 80 : goto firewall-shop/web/tcp/http }
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http, 203.0.113.9 . tcp . 80 : goto external-shop/web/tcp/http }
        add element service-nodeports { tcp . 30080 : goto external-shop/web/tcp/http }
    "#]],
    );
}

#[test]
fn terminating_endpoints_serve_only_if_none_is_ready() {
    let leaving = |text| Endpoint { ready: false, terminating: true, ..ready(text, true) };
    let starting = Endpoint { ready: false, serving: false, ..ready("10.244.0.9", true) };
    let both = ServicePort { endpoints: vec![leaving("10.244.0.7"), ready("10.244.0.8", true)], ..web() };
    assert_eq!(both.choose(address("10.0.0.1")).cluster, [(address("10.244.0.8"), 8080)]);
    let last = ServicePort { endpoints: vec![leaving("10.244.0.7"), starting.clone()], ..web() };
    assert_eq!(last.choose(address("10.0.0.1")).cluster, [(address("10.244.0.7"), 8080)]);
    let none = ServicePort { endpoints: vec![starting], ..web() };
    assert!(!none.choose(address("10.0.0.1")).any);
}

#[test]
fn a_change_touches_only_what_changed() {
    let mut model = Model::default();
    let owner = |port: &ServicePort| Owner::Service(port.name.clone());
    let mut update = |port: &ServicePort, there: bool| {
        text(&model.change(vec![(owner(port), there.then(|| compile_service(scope(), port)))]))
    };
    update(&web(), true);
    assert_eq!(update(&web(), true), "");
    let scaled =
        ServicePort { endpoints: vec![ready("10.244.0.5", true), ready("10.244.0.6", true)], ..web() };
    expect![[r#"
        delete element hairpins { 10.244.1.6 . 10.244.1.6 }
        flush chain service-shop/web/tcp/http
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.0.6 . 8080 }
        add element hairpins { 10.244.0.6 . 10.244.0.6 }
    "#]].assert_eq(&update(&scaled, true));
    let emptied = ServicePort { endpoints: vec![], ..web() };
    expect![[r#"
        delete element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.0.6 . 10.244.0.6 }
        delete element service-ips { 10.96.0.20 . tcp . 80 }
        flush chain service-shop/web/tcp/http
        add element no-endpoint-services { 10.96.0.20 . tcp . 80 : goto reject-it }
        delete chain service-shop/web/tcp/http
    "#]]
    .assert_eq(&update(&emptied, true));
    expect![[r#"
        add chain service-shop/web/tcp/http
        delete element no-endpoint-services { 10.96.0.20 . tcp . 80 }
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.1.6 . 8080 }
        add element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http }
    "#]].assert_eq(&update(&web(), true));
    expect![[r#"
        delete element hairpins { 10.244.0.5 . 10.244.0.5, 10.244.1.6 . 10.244.1.6 }
        delete element service-ips { 10.96.0.20 . tcp . 80 }
        flush chain service-shop/web/tcp/http
        delete chain service-shop/web/tcp/http
    "#]]
    .assert_eq(&update(&web(), false));
}

#[test]
fn an_element_two_services_claim_stays_until_both_are_gone() {
    let mut other = web();
    other.name.service = "xylo".into();
    let mut model = Model::default();
    let mut update = |port: &ServicePort, there: bool| {
        let fragment = there.then(|| compile_service(scope(), port));
        text(&model.change(vec![(Owner::Service(port.name.clone()), fragment)]))
    };
    update(&other, true);
    expect![[r#"
        add chain service-shop/web/tcp/http
        delete element service-ips { 10.96.0.20 . tcp . 80 }
        add rule service-shop/web/tcp/http ip daddr 10.96.0.20/32 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000
        add rule service-shop/web/tcp/http dnat to numgen random mod 2 map { 0 : 10.244.0.5 . 8080, 1 : 10.244.1.6 . 8080 }
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/web/tcp/http }
    "#]].assert_eq(&update(&web(), true));
    expect![[r#"
        delete element service-ips { 10.96.0.20 . tcp . 80 }
        flush chain service-shop/web/tcp/http
        add element service-ips { 10.96.0.20 . tcp . 80 : goto service-shop/xylo/tcp/http }
        delete chain service-shop/web/tcp/http
    "#]]
    .assert_eq(&update(&web(), false));
}

#[test]
fn host_ports() {
    let port = |host_ip: Option<&str>, host_port, protocol| HostPort {
        host_ip: host_ip.map(address),
        host_port,
        container_port: 53,
        protocol,
    };
    let pod = Attachment {
        sandbox_id: "s".into(),
        pod_uid: "u".into(),
        pod_namespace: "n".into(),
        pod_name: "p".into(),
        addresses: vec![address("10.244.0.5")],
        host_interface: "gfa-5".into(),
        host_ports: vec![
            port(None, 5300, Protocol::Udp),
            port(Some("0.0.0.0"), 5300, Protocol::Tcp),
            port(Some("127.0.0.1"), 5301, Protocol::Tcp),
        ],
    };
    let commands = Model::default().change(vec![(Owner::Pod("s".into()), Some(compile_pod(&pod)))]);
    expect![[r#"
        add element hairpins { 10.244.0.5 . 10.244.0.5 }
        add element host-port-ips { 127.0.0.1 . tcp . 5301 : 10.244.0.5 . 53 }
        add element host-ports { tcp . 5300 : 10.244.0.5 . 53, udp . 5300 : 10.244.0.5 . 53 }
    "#]]
    .assert_eq(&text(&commands));
}
