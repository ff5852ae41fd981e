//! Ranges of nodes.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use tokio_util::sync::CancellationToken;

#[test]
fn parts_are_given_in_turn_and_never_twice() {
    let check = |range: &str, used: &[&str], last: Option<u32>, expect: Option<&str>| {
        let used = used.iter().map(|one| one.parse().unwrap()).collect();
        let found =
            Range::new(range.parse().unwrap(), None).free(&used, last).map(|(part, _)| part.to_string());
        assert_eq!(found.as_deref(), expect, "{range} {used:?}");
    };
    check("10.244.0.0/16", &[], None, Some("10.244.0.0/24"));
    check("10.244.0.0/16", &["10.244.0.0/24"], None, Some("10.244.1.0/24"));
    check("10.244.0.0/16", &["10.244.0.0/23"], None, Some("10.244.2.0/24"));
    check("10.244.0.0/16", &["10.244.3.128/25"], Some(2), Some("10.244.4.0/24"));
    check("10.244.0.0/16", &[], Some(255), Some("10.244.0.0/24"));
    check("10.244.0.0/23", &["10.244.0.0/24", "10.244.1.0/24"], None, None);
    check("10.244.0.0/26", &[], None, Some("10.244.0.0/26"));
    check("10.244.0.0/26", &["10.244.0.0/26"], Some(0), None);
    check("fd00::/48", &["fd00::/64"], None, Some("fd00:0:0:1::/64"));
}

#[tokio::test(start_paused = true)]
async fn each_node_has_a_range_of_its_own() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    let config = Config { cluster_ranges: vec!["10.244.0.0/22".into()], ..Config::default() };
    tokio::spawn(run(context, Arc::new(config)));
    let node = |name: &str, spec: Value| {
        fake.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }, "spec": spec }));
    };
    node("kept", json!({ "podCIDR": "10.244.1.0/24" }));
    for name in ["a", "b", "c"] {
        node(name, json!({}));
    }
    let ranges = || {
        let mut all: Vec<String> = fake
            .objects(&nodes())
            .iter()
            .filter_map(|node| node["spec"]["podCIDR"].as_str().map(str::to_owned))
            .collect();
        all.sort();
        all.join(" ")
    };
    let until = async |expect: &str| {
        for _ in 0..1000 {
            if ranges() == expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{}", ranges());
    };
    until("10.244.0.0/24 10.244.1.0/24 10.244.2.0/24 10.244.3.0/24").await;
    node("late", json!({}));
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(events.take()[0].reason, "CIDRNotAvailable");
    fake.remove(&nodes(), &ObjectKey::cluster("b"));
    until("10.244.0.0/24 10.244.1.0/24 10.244.2.0/24 10.244.3.0/24").await;
    stop.cancel();
}
