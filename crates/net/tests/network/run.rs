//! From API objects to what a client reaches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gifee_base::{Gvr, ObjectKey};
use gifee_client::fake::Fake;
use gifee_net::run;
use gifee_reconcile::Context;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::dns::resolve;
use crate::harness::{Host, Pod, ask, on_host, refused, serve};

const WEB: &str = "10.96.0.20:80";

fn web() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "type": "NodePort", "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"],
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"}],
        },
    })
}

fn slice(service: &str, pods: &[&Pod]) -> Value {
    let endpoint = |pod: &&Pod| {
        json!({
            "addresses": [pod.address.to_string()], "nodeName": "node", "hostname": pod.id,
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop", "name": format!("{service}-x"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": pods.iter().map(endpoint).collect::<Vec<Value>>(),
    })
}

fn start(host: &Host, fake: &Arc<Fake>) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let shutdown = CancellationToken::new();
    let context = Context::new(fake.client(), "network", shutdown.clone());
    (shutdown, tokio::spawn(run(host.network.clone(), context)))
}

/// Asks until it is so; says how long that took, which only a hang bounds.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(300), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

fn answers(address: &str, name: &str) -> bool {
    ask(None, address).is_ok_and(|answer| answer.starts_with(name))
}

#[test]
fn api_objects_take_effect_and_go() {
    on_host(|host| async move {
        let (one, two) = (host.server("one").await, host.server("two").await);
        let fake = Fake::new();
        fake.put(web());
        fake.put(slice("web", &[&one]));
        let (shutdown, running) = start(&host, &fake);
        eventually("first", || answers(WEB, "one"));
        assert!(answers("127.0.0.1:30080", "one"));
        eventually("named", || resolve("web.shop.svc.cluster.local.") == ["10.96.0.20"]);

        // The time from a changed slice to a changed answer, seen by a client that asks all the time.
        let mut times = Vec::new();
        for round in 0..10 {
            let (pod, name) = if round % 2 == 0 { (&two, "two") } else { (&one, "one") };
            fake.put(slice("web", &[pod]));
            times.push(eventually(name, || answers(WEB, name)));
        }
        times.sort();
        println!("endpoint change to effect: median {:?}, worst {:?}", times[5], times[9]);
        assert!(times[5] < Duration::from_millis(50), "{times:?}");

        fake.put(slice("web", &[]));
        eventually("refused", || refused(ask(None, WEB)));
        fake.put(slice("web", &[&two]));
        eventually("again", || answers(WEB, "two"));
        let service = ObjectKey::new("shop", "web");
        fake.change(&Gvr::core("services"), &service, |service| {
            service["spec"] = json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"],
                "ports": [{"name": "http", "port": 80}]});
        });
        eventually("headless", || resolve("web.shop.svc.cluster.local.") == [two.address.to_string()]);
        assert_eq!(resolve("two.web.shop.svc.cluster.local."), [two.address.to_string()]);
        assert!(refused(ask(None, WEB)));
        fake.remove(&Gvr::core("services"), &service);
        eventually("gone", || resolve("web.shop.svc.cluster.local.").is_empty());

        // What is in effect stays when the process goes.
        fake.put(web());
        eventually("back", || answers(WEB, "two"));
        shutdown.cancel();
        running.await.unwrap();
        assert!(answers(WEB, "two"));
    });
}

#[test]
fn rules_that_somebody_removes_come_back() {
    on_host(|host| async move {
        let one = host.server("one").await;
        let fake = Fake::new();
        fake.put(web());
        fake.put(slice("web", &[&one]));
        let (_shutdown, _running) = start(&host, &fake);
        eventually("first", || answers(WEB, "one"));
        gifee_net::nft::remove(&host.config.table(), gifee_net::nft::Family::V4).unwrap();
        let time = eventually("again", || answers(WEB, "one"));
        println!("removed rules were back after {time:?}");
    });
}

#[test]
fn an_inherited_table_serves_until_all_is_known() {
    on_host(|host| async move {
        let one = host.server("one").await;
        let fake = Fake::new();
        fake.put(web());
        fake.put(slice("web", &[&one]));
        let (shutdown, running) = start(&host, &fake);
        eventually("first", || answers(WEB, "one"));
        shutdown.cancel();
        running.await.unwrap();
        let config = host.config.clone();
        drop(host.network);
        // Another process, which cannot reach the API yet.
        let network = gifee_net::Network::start(config).await.unwrap();
        assert!(answers(WEB, "one"));
        serve(Some(&one.netns), "later", SocketAddr::new(one.address, 8081));
        // The DNS of the new process listens elsewhere, and is found; it does not deny what it does not know.
        assert_eq!(crate::dns::code("web.shop.svc.cluster.local."), 2);
        let empty = Fake::new();
        let context = Context::new(empty.client(), "network", CancellationToken::new());
        let _running = tokio::spawn(run(network, context));
        eventually("replaced", || refused(ask(None, WEB)));
        assert_eq!(crate::dns::code("web.shop.svc.cluster.local."), 3);
    });
}
