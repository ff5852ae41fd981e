//! What every kind of name leads to, as the specification has it.

use expect_test::{Expect, expect};
use hickory_proto::rr::{Name, Record, RecordType};

use super::{Answer, Index, Place, Port, Service};
use crate::Protocol;

fn port(name: &str, number: u16) -> Port {
    Port { name: name.into(), protocol: Protocol::Tcp, port: number }
}

fn place(address: &str, hostname: Option<&str>) -> Place {
    Place {
        address: address.parse().unwrap(),
        hostname: hostname.map(str::to_owned),
        ports: vec![port("peer", 7000), port("", 7001)],
    }
}

fn index() -> Index {
    let ranges = vec!["10.244.0.0/16".parse().unwrap(), "10.96.0.0/16".parse().unwrap()];
    let mut index = Index::new("cluster.local", "10.96.0.10".parse().unwrap(), ranges).unwrap();
    let web = Service {
        cluster_ips: vec!["10.96.0.20".parse().unwrap(), "fd00::20".parse().unwrap()],
        ports: vec![port("http", 80), port("", 81)],
        endpoints: vec![place("10.244.0.9", None)],
        external_name: None,
    };
    let db = Service {
        endpoints: vec![place("10.244.0.5", Some("db-0")), place("10.244.0.6", None), place("fd00::7", None)],
        ports: vec![port("peer", 7000)],
        ..Service::default()
    };
    let out = Service { external_name: Some("www.example.com".into()), ..Service::default() };
    let inner = Service { external_name: Some("web.shop.svc.cluster.local.".into()), ..Service::default() };
    index.set("shop", "web", Some(web));
    index.set("shop", "db", Some(db));
    index.set("shop", "empty", Some(Service::default()));
    index.set("other", "out", Some(out));
    index.set("other", "in", Some(inner));
    index.complete();
    index
}

fn records(records: &[Record]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn show(index: &Index, name: &str, kind: RecordType) -> String {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    match index.answer(&name, kind) {
        Answer::Records(answers, more) if more.is_empty() => records(&answers),
        Answer::Records(answers, more) => format!("{}+\n{}", records(&answers), records(&more)),
        Answer::Alias(record, target) => format!("{record} -> {target}\n"),
        Answer::NoData => "no data\n".into(),
        Answer::NoName => "no such name\n".into(),
        Answer::Elsewhere => "elsewhere\n".into(),
        Answer::Unknown => "unknown\n".into(),
    }
}

fn check(name: &str, kind: RecordType, expect: Expect) {
    expect.assert_eq(&show(&index(), name, kind));
}

#[test]
fn a_service_with_cluster_ips() {
    check(
        "web.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        web.shop.svc.cluster.local. 5 IN A 10.96.0.20
    "#]],
    );
    check(
        "web.shop.svc.cluster.local",
        RecordType::AAAA,
        expect![[r#"
        web.shop.svc.cluster.local. 5 IN AAAA fd00::20
    "#]],
    );
    check(
        "WEB.Shop.svc.Cluster.LOCAL",
        RecordType::A,
        expect![[r#"
        WEB.Shop.svc.Cluster.LOCAL. 5 IN A 10.96.0.20
    "#]],
    );
    check(
        "web.shop.svc.cluster.local",
        RecordType::MX,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "web.shop.svc.cluster.local",
        RecordType::SRV,
        expect![[r#"
        web.shop.svc.cluster.local. 5 IN SRV 0 100 80 web.shop.svc.cluster.local.
        +
        web.shop.svc.cluster.local. 5 IN A 10.96.0.20
        web.shop.svc.cluster.local. 5 IN AAAA fd00::20
    "#]],
    );
    check(
        "_http._tcp.web.shop.svc.cluster.local",
        RecordType::SRV,
        expect![[r#"
        _http._tcp.web.shop.svc.cluster.local. 5 IN SRV 0 100 80 web.shop.svc.cluster.local.
        +
        web.shop.svc.cluster.local. 5 IN A 10.96.0.20
        web.shop.svc.cluster.local. 5 IN AAAA fd00::20
    "#]],
    );
    check(
        "_http._tcp.web.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "_http._udp.web.shop.svc.cluster.local",
        RecordType::SRV,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "_ftp._tcp.web.shop.svc.cluster.local",
        RecordType::SRV,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "_tcp.web.shop.svc.cluster.local",
        RecordType::SRV,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "10-244-0-9.web.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        10-244-0-9.web.shop.svc.cluster.local. 5 IN A 10.244.0.9
    "#]],
    );
}

#[test]
fn a_headless_service() {
    check(
        "db.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        db.shop.svc.cluster.local. 5 IN A 10.244.0.5
        db.shop.svc.cluster.local. 5 IN A 10.244.0.6
    "#]],
    );
    check(
        "db.shop.svc.cluster.local",
        RecordType::AAAA,
        expect![[r#"
        db.shop.svc.cluster.local. 5 IN AAAA fd00::7
    "#]],
    );
    check(
        "db-0.db.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        db-0.db.shop.svc.cluster.local. 5 IN A 10.244.0.5
    "#]],
    );
    check(
        "db-0.db.shop.svc.cluster.local",
        RecordType::AAAA,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "10-244-0-6.db.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        10-244-0-6.db.shop.svc.cluster.local. 5 IN A 10.244.0.6
    "#]],
    );
    check(
        "db-1.db.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "_peer._tcp.db.shop.svc.cluster.local",
        RecordType::SRV,
        expect![[r#"
        _peer._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 33 7000 10-244-0-6.db.shop.svc.cluster.local.
        _peer._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 33 7000 db-0.db.shop.svc.cluster.local.
        _peer._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 33 7000 fd00--7.db.shop.svc.cluster.local.
        +
        10-244-0-6.db.shop.svc.cluster.local. 5 IN A 10.244.0.6
        db-0.db.shop.svc.cluster.local. 5 IN A 10.244.0.5
        fd00--7.db.shop.svc.cluster.local. 5 IN AAAA fd00::7
    "#]],
    );
    check(
        "empty.shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
}

#[test]
fn external_names() {
    check(
        "out.other.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        out.other.svc.cluster.local. 5 IN CNAME www.example.com. -> www.example.com.
    "#]],
    );
    check(
        "out.other.svc.cluster.local",
        RecordType::CNAME,
        expect![[r#"
        out.other.svc.cluster.local. 5 IN CNAME www.example.com. -> www.example.com.
    "#]],
    );
    check(
        "in.other.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        in.other.svc.cluster.local. 5 IN CNAME web.shop.svc.cluster.local. -> web.shop.svc.cluster.local.
    "#]],
    );
    check(
        "x.out.other.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
}

#[test]
fn a_service_that_changes_its_type() {
    let mut index = index();
    let name = "web.shop.svc.cluster.local";
    let external = Service { external_name: Some("example.com".into()), ..Service::default() };
    index.set("shop", "web", Some(external));
    expect![[r#"
        web.shop.svc.cluster.local. 5 IN CNAME example.com. -> example.com.
    "#]]
    .assert_eq(&show(&index, name, RecordType::A));
    expect![[r#"
        no such name
    "#]]
    .assert_eq(&show(&index, "20.0.96.10.in-addr.arpa", RecordType::PTR));
    let back = Service { cluster_ips: vec!["10.96.0.21".parse().unwrap()], ..Service::default() };
    index.set("shop", "web", Some(back));
    expect![[r#"
        web.shop.svc.cluster.local. 5 IN A 10.96.0.21
    "#]]
    .assert_eq(&show(&index, name, RecordType::A));
    index.set("shop", "web", None);
    expect![[r#"
        no such name
    "#]]
    .assert_eq(&show(&index, name, RecordType::A));
}

#[test]
fn before_all_is_known_nothing_is_denied() {
    let index = Index::new("cluster.local", "10.96.0.10".parse().unwrap(), vec![]).unwrap();
    expect![[r#"
        unknown
    "#]]
    .assert_eq(&show(&index, "web.shop.svc.cluster.local", RecordType::A));
    expect![[r#"
        elsewhere
    "#]]
    .assert_eq(&show(&index, "example.com", RecordType::A));
}

#[test]
fn pods_by_address() {
    check(
        "10-244-0-5.shop.pod.cluster.local",
        RecordType::A,
        expect![[r#"
        10-244-0-5.shop.pod.cluster.local. 5 IN A 10.244.0.5
    "#]],
    );
    check(
        "10-244-0-5.shop.pod.cluster.local",
        RecordType::AAAA,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "fd00--7.shop.pod.cluster.local",
        RecordType::AAAA,
        expect![[r#"
        fd00--7.shop.pod.cluster.local. 5 IN AAAA fd00::7
    "#]],
    );
    check(
        "10-244-0-256.shop.pod.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "nonsense.shop.pod.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
}

#[test]
fn addresses_backwards() {
    check(
        "20.0.96.10.in-addr.arpa",
        RecordType::PTR,
        expect![[r#"
        20.0.96.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local.
    "#]],
    );
    check(
        "5.0.244.10.in-addr.arpa",
        RecordType::PTR,
        expect![[r#"
        5.0.244.10.in-addr.arpa. 5 IN PTR db-0.db.shop.svc.cluster.local.
    "#]],
    );
    check(
        "9.0.244.10.in-addr.arpa",
        RecordType::PTR,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "20.0.96.10.in-addr.arpa",
        RecordType::A,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "1.2.0.192.in-addr.arpa",
        RecordType::PTR,
        expect![[r#"
        elsewhere
    "#]],
    );
    check(
        "0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
        RecordType::PTR,
        expect![[r#"
            0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR web.shop.svc.cluster.local.
        "#]],
    );
}

#[test]
fn the_zone_itself() {
    check(
        "cluster.local",
        RecordType::SOA,
        expect![[r#"
        cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
    "#]],
    );
    check(
        "cluster.local",
        RecordType::NS,
        expect![[r#"
        cluster.local. 5 IN NS ns.dns.cluster.local.
    "#]],
    );
    check(
        "cluster.local",
        RecordType::A,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "ns.dns.cluster.local",
        RecordType::A,
        expect![[r#"
        ns.dns.cluster.local. 5 IN A 10.96.0.10
    "#]],
    );
    check(
        "dns-version.cluster.local",
        RecordType::TXT,
        expect![[r#"
        dns-version.cluster.local. 5 IN TXT 1.1.0
    "#]],
    );
    check(
        "svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "shop.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "none.svc.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "shop.pod.cluster.local",
        RecordType::A,
        expect![[r#"
        no data
    "#]],
    );
    check(
        "example.com.cluster.local",
        RecordType::A,
        expect![[r#"
        no such name
    "#]],
    );
    check(
        "example.com",
        RecordType::A,
        expect![[r#"
        elsewhere
    "#]],
    );
    check(
        "notcluster.local",
        RecordType::A,
        expect![[r#"
        elsewhere
    "#]],
    );
    check(
        ".",
        RecordType::NS,
        expect![[r#"
        elsewhere
    "#]],
    );
}
