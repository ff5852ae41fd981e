//! Who leads: controllers and scheduler hold upstream's Leases, keep them over a crash, and hand them on at an end.

use crate::api::Api;
use crate::fixture::Cluster;
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What leads, and where.
const LEASES: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

fn lease(cluster: &Cluster, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    cluster.until(&Gvr::new("coordination.k8s.io", "v1", "leases"), "kube-system", name, wanted)["spec"]
        .clone()
}

/// Makes a namespace, and waits until a controller has seen it.
fn acts(cluster: &Cluster, namespace: &str) {
    Api::new(cluster, namespace);
}

#[test]
fn elections() {
    let cluster = Cluster::up("elections");
    let steps = Steps::new(&cluster);
    let identity = std::fs::read_to_string(cluster.data_dir.join("identity")).unwrap();
    let held = |lease: &Value| lease["spec"]["holderIdentity"] == identity.as_str();
    steps.step("leases are held", || {
        for name in LEASES {
            let spec = lease(&cluster, name, held);
            assert_eq!((&spec["leaseDurationSeconds"], &spec["leaseTransitions"]), (&json!(15), &json!(0)));
            let renewed = spec["renewTime"].clone();
            lease(&cluster, name, |lease| held(lease) && lease["spec"]["renewTime"] != renewed);
            let told = |events: &[Value]| {
                events.iter().any(|event| {
                    event["reason"] == "LeaderElection"
                        && event["message"] == format!("{identity} became leader")
                        && event["involvedObject"]["name"] == name
                })
            };
            cluster.until_all(&Gvr::core("events"), "kube-system", "", told);
        }
    });
    steps.step("nobody waits for one's own lease", || {
        cluster.kill();
        cluster.start().ok();
        acts(&cluster, "after-a-crash");
        assert_eq!(lease(&cluster, LEASES[0], held)["leaseTransitions"], 0);
    });
    steps.step("an end hands on", || {
        cluster.down(false).ok();
        cluster.start().ok();
        acts(&cluster, "after-an-end");
        assert_eq!(lease(&cluster, LEASES[0], held)["leaseTransitions"], 1, "it had been let go");
    });
    steps.step("another one is waited for", || {
        let api = Api::new(&cluster, "lost");
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{}", LEASES[0]);
        let now = api.get(&path)["spec"]["renewTime"].clone();
        let other = json!({ "holderIdentity": "another", "renewTime": now, "leaseDurationSeconds": 4 });
        let begun = Instant::now();
        api.patch(&path, &json!({ "spec": other }));
        // The API goes on, and what leads comes back once the other is silent for as long as it said.
        lease(&cluster, LEASES[0], held);
        assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
        acts(&cluster, "led-again");
    });
    steps.end();
}
