//! Names: what pods are called, and whom they know.

use super::{exec, make, output, phase, ready, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::BUSYBOX;
use serde_json::json;

/// What is done here.
pub const STEPS: &[Step] = &[
    ("aliases", aliases_stand_in_the_hosts_file),
    ("hosts", the_hosts_file_is_the_nodes_unless_it_is_mounted),
    ("resolver", a_resolver_can_be_given),
];

/// What the file begins with.
const HEAD: &str = "# Kubernetes-managed hosts file.";

fn aliases_stand_in_the_hosts_file(api: &Api<'_>) {
    let spec = json!({ "hostAliases": [{ "ip": "123.45.67.89", "hostnames": ["foo", "bar"] }],
        "containers": [shell("cat /etc/hosts")] });
    let said = output(api, "aliases", &spec);
    assert!(said.starts_with(HEAD) && said.contains("\n123.45.67.89\tfoo\tbar\n"), "{said}");
    let spec = json!({ "hostname": "dns-querier-1", "subdomain": "dns-test-service", "containers": [shell("cat /etc/hosts; hostname")] });
    let said = output(api, "named", &spec);
    let name =
        format!("\tdns-querier-1.dns-test-service.{}.svc.cluster.local\tdns-querier-1\n", api.namespace);
    assert!(said.contains(&name) && said.ends_with("\ndns-querier-1\n"), "{said}");
}

fn the_hosts_file_is_the_nodes_unless_it_is_mounted(api: &Api<'_>) {
    let named = |name: &str| {
        let mut container = sleeper();
        container["name"] = name.into();
        container
    };
    let mut own = named("three");
    own["volumeMounts"] = json!([{ "name": "hosts", "mountPath": "/etc/hosts" }]);
    let file = json!({ "name": "hosts", "hostPath": { "path": "/etc/hosts", "type": "File" } });
    make(api, "pod", &json!({ "containers": [named("one"), named("two"), own], "volumes": [file] }));
    make(api, "host", &json!({ "hostNetwork": true, "containers": [named("one"), named("two")] }));
    ready(api, "pod");
    ready(api, "host");
    for (pod, container, ours) in [
        ("pod", "one", true),
        ("pod", "two", true),
        ("pod", "three", false),
        ("host", "one", false),
        ("host", "two", false),
    ] {
        let said = exec(api, pod, container, "cat /etc/hosts");
        assert_eq!(said.contains(HEAD), ours, "{pod} {container}: {said}");
    }
}

fn a_resolver_can_be_given(api: &Api<'_>) {
    let spec = json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": ["1.1.1.1"], "searches": ["resolv.conf.local"],
            "options": [{ "name": "ndots", "value": "2" }] },
        "containers": [{ "name": "c", "image": BUSYBOX, "command": ["cat", "/etc/resolv.conf"] }] });
    assert_eq!(output(api, "none", &spec), "search resolv.conf.local\nnameserver 1.1.1.1\noptions ndots:2\n");
    make(api, "usual", &json!({ "containers": [shell("cat /etc/resolv.conf")] }));
    phase(api, "usual", "Succeeded");
}
