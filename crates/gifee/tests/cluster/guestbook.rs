//! The guestbook of `examples/guestbook`: what is written through the primary is read from the replicas, and all of
//! them find each other by the names of their Services.

use crate::first::available;
use crate::fixture::Cluster;
use crate::http::{answers, call};
use crate::run::runtime;
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../../../examples/guestbook/guestbook.yaml");
const READ: [&str; 5] = ["redis-cli", "lrange", "guestbook", "0", "-1"];

#[test]
fn guestbook() {
    let cluster = Cluster::up("guestbook");
    let steps = Steps::new(&cluster);
    steps.step("the image", || cluster.example("guestbook"));
    steps.step("apply", || {
        cluster.gifee_with(&["apply", "-f", "-"], EXAMPLE).ok();
        for (name, replicas) in [("redis-primary", 1), ("redis-replica", 2), ("guestbook", 3)] {
            available(&cluster, "default", name, replicas);
        }
    });
    let services = |name: &str| cluster.until(&Gvr::core("services"), "default", name, Value::is_object);
    steps.step("an entry is read from the replicas", || {
        let outside = format!("127.0.0.1:{}", services("guestbook")["spec"]["ports"][0]["nodePort"]);
        answers(&outside, "/", "Guestbook");
        let written = runtime().block_on(call(&outside, "/", Some("entry=I+was+here"))).unwrap();
        assert_eq!(written.code, 303, "{written:?}");
        answers(&outside, "/", "I was here");
    });
    steps.step("names lead to the Services' addresses", || {
        for name in ["redis-primary", "redis-replica.default", "redis-replica.default.svc.cluster.local"] {
            let ask = format!("import socket; print(socket.gethostbyname('{name}'))");
            let address = cluster.kubectl(&["exec", "deploy/guestbook", "--", "python3", "-c", &ask]).ok();
            let service = services(name.split('.').next().unwrap());
            assert_eq!(address.trim(), service["spec"]["clusterIP"].as_str().unwrap(), "{name}");
        }
    });
    steps.step("a further replica has the entry too", || {
        cluster.kubectl(&["scale", "deployment/redis-replica", "--replicas=3"]).ok();
        available(&cluster, "default", "redis-replica", 3);
        for pod in cluster.list(&Gvr::core("pods"), "default", "role=replica") {
            let name = pod["metadata"]["name"].as_str().unwrap();
            // A replica answers before it has copied everything: its link to the primary says when it has.
            let copied =
                "until redis-cli info replication | grep -q master_link_status:up; do sleep 0.1; done";
            cluster.kubectl(&["exec", name, "--", "timeout", "60", "sh", "-c", copied]).ok();
            let entries = cluster.kubectl(&[&["exec", name, "--"], &READ[..]].concat()).ok();
            assert_eq!(entries.trim(), "I was here", "{name}");
        }
    });
    steps.end();
}
