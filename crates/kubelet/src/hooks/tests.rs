//! Names, hosts files and resolvers by table.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::config::tests::config;
use crate::resolver;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "blog-0", "namespace": "web"}, "spec": spec})).unwrap()
}

#[test]
fn hosts_name_the_pod_and_its_aliases() {
    let addresses = ["10.0.0.7".parse().unwrap()];
    let one = pod(json!({"subdomain": "blog", "containers": [],
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
    expect![[r#"
        # Kubernetes-managed hosts file.
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::0	ip6-localnet
        fe00::0	ip6-mcastprefix
        fe00::1	ip6-allnodes
        fe00::2	ip6-allrouters
        10.0.0.7	blog-0.blog.web.svc.cluster.local	blog-0

        # Entries added by HostAliases.
        1.2.3.4	a	b
    "#]]
    .assert_eq(&hosts::managed(&one, &addresses, "cluster.local"));
    assert_eq!(resolver::names(&pod(json!({"hostname": "h", "containers": []})), "c"), ("h".into(), None));
    let full = pod(json!({"subdomain": "s", "setHostnameAsFQDN": true, "containers": []}));
    assert_eq!(resolver::names(&full, "c").0, "blog-0.s.web.svc.c");
}

fn check_dns(spec: Value, expect: Expect) {
    let host = "# comment\nnameserver 9.9.9.9\nsearch corp.test\noptions edns0\n";
    let dns = resolver::dns(&pod(spec), &config(), host);
    expect.assert_eq(&format!("{:?}\n{:?}\n{:?}", dns.servers, dns.searches, dns.options));
}

#[test]
fn policies_choose_the_resolver() {
    check_dns(
        json!({"containers": []}),
        expect![[r#"
        ["10.96.0.10"]
        ["web.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.test"]
        ["ndots:5"]"#]],
    );
    check_dns(
        json!({"dnsPolicy": "Default", "containers": []}),
        expect![[r#"
        ["9.9.9.9"]
        ["corp.test"]
        ["edns0"]"#]],
    );
    check_dns(
        json!({"hostNetwork": true, "containers": []}),
        expect![[r#"
        ["9.9.9.9"]
        ["corp.test"]
        ["edns0"]"#]],
    );
    check_dns(
        json!({"dnsPolicy": "None", "containers": [], "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
        expect![[r#"
            ["1.1.1.1"]
            ["x"]
            ["ndots:2", "edns0"]"#]],
    );
    check_dns(
        json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}),
        expect![[r#"
            ["10.96.0.10"]
            ["web.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.test"]
            ["ndots:2"]"#]],
    );
}
