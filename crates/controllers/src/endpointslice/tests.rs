//! Plans of EndpointSlices from fixtures.

use super::plan::{MANAGED_BY, MANAGER, Plan, SERVICE_NAME, View, plan};
use super::*;
use crate::endpoints::tests::{object, pod, service};
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Slices as a server would keep them.
#[derive(Default)]
struct Slices {
    slices: Vec<Value>,
    made: usize,
}

impl Slices {
    fn view(&self, pods: &[(usize, bool)]) -> View {
        let slices = self.slices.iter().map(|slice| (object(slice.clone()), slice.clone())).collect();
        let pods = pods.iter().map(|(number, ready)| pod(*number, *ready, |_| {})).collect();
        View { service: service(|_| {}), pods, zones: BTreeMap::from([("one".into(), "z".into())]), slices }
    }

    fn apply(&mut self, plan: Plan) {
        for gone in plan.delete {
            self.slices.retain(|slice| slice["metadata"]["name"] != gone.name());
        }
        for (slice, change) in plan.change {
            let slice = self.slices.iter_mut().find(|one| one["metadata"]["name"] == slice.name()).unwrap();
            merge(slice, &change);
        }
        for mut body in plan.create {
            self.made += 1;
            body["metadata"]["name"] = format!("web-{:03}", self.made).into();
            self.slices.push(body);
        }
    }

    /// How many were created, changed, deleted; and checks that a second look finds nothing to do.
    fn sync(&mut self, pods: &[(usize, bool)]) -> (usize, usize, usize) {
        let planned = plan(&self.view(pods));
        let counts = (planned.create.len(), planned.change.len(), planned.delete.len());
        self.apply(planned);
        let again = plan(&self.view(pods));
        assert!(again.create.is_empty() && again.change.is_empty() && again.delete.is_empty(), "{again:?}");
        counts
    }

    fn sizes(&self) -> Vec<usize> {
        self.slices.iter().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect()
    }
}

#[test]
fn traffic_may_stay_where_it_is() {
    let hints = |distribution: &str, zoned: bool, ready: bool| {
        let zones = if zoned { BTreeMap::from([("one".into(), "z".into())]) } else { BTreeMap::new() };
        let service = service(|service| service["spec"]["trafficDistribution"] = distribution.into());
        let pods = vec![pod(1, ready, |_| {})];
        let planned = plan(&View { service, pods, zones, slices: Vec::new() });
        planned.create[0]["endpoints"][0]["hints"].clone()
    };
    let zone = json!({ "forZones": [{ "name": "z" }] });
    assert_eq!(hints("PreferClose", true, true), zone);
    assert_eq!(hints("PreferSameZone", true, true), zone);
    assert_eq!(hints("PreferSameZone", true, false), Value::Null, "nobody is sent to what is not ready");
    assert_eq!(hints("PreferSameZone", false, true), Value::Null);
    let node = json!([{ "name": "one" }]);
    assert_eq!(hints("PreferSameNode", false, true), json!({ "forNodes": node }));
    let both = json!({ "forZones": [{ "name": "z" }], "forNodes": node });
    assert_eq!(hints("PreferSameNode", true, true), both);
    assert_eq!(hints("", true, true), Value::Null);
}

fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(changes) => {
            changes.iter().for_each(|(key, change)| merge(&mut target[key.as_str()], change))
        }
        other => *target = other.clone(),
    }
}

fn pods(count: usize) -> Vec<(usize, bool)> {
    (0..count).map(|number| (number, true)).collect()
}

#[test]
fn a_slice_is_written_only_for_its_own_endpoints() {
    let mut slices = Slices::default();
    assert_eq!(slices.sync(&[]), (1, 0, 0), "a service without pods has an empty slice");
    assert_eq!(slices.sync(&pods(250)), (2, 1, 0), "and that one is used first");
    assert_eq!(slices.sizes(), [100, 100, 50]);
    let mut some = pods(250);
    some[120].1 = false;
    assert_eq!(slices.sync(&some), (0, 1, 0));
    some.push((250, true));
    assert_eq!(slices.sync(&some), (0, 1, 0));
    some.retain(|(number, _)| *number >= 100);
    some.extend([(300, true), (301, true)]);
    assert_eq!(slices.sync(&some), (0, 1, 0), "an emptied slice takes the new ones");
    assert_eq!(slices.sync(&[]), (0, 1, 2));
    assert_eq!(slices.sizes(), [0]);
}

#[test]
fn an_endpoint_says_what_its_pod_is() {
    let mut slices = Slices::default();
    slices.sync(&[(0, true)]);
    let slice = &slices.slices[0];
    assert_eq!(
        slice["endpoints"],
        json!([{ "addresses": ["10.0.0.1"], "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": "one", "zone": "z",
            "targetRef": { "kind": "Pod", "namespace": "shop", "name": "web-0", "uid": "u0000" } }])
    );
    assert_eq!(slice["ports"], json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]));
    assert_eq!(
        slice["metadata"]["labels"],
        json!({ "app": "web", SERVICE_NAME: "web", MANAGED_BY: MANAGER })
    );
    let terminating =
        pod(1, true, |pod| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z".into());
    let mut view = slices.view(&[]);
    view.pods.push(terminating);
    let conditions = plan(&view).change[0].1["endpoints"][0]["conditions"].clone();
    assert_eq!(conditions, json!({ "ready": false, "serving": true, "terminating": true }));
}

#[tokio::test(start_paused = true)]
async fn both_controllers_follow_pods_and_then_rest() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let context =
        Context::with(fake.client(), gifee_testkit::RuntimeClock::new(), Recorder::memory(), stop.clone());
    tokio::spawn(run(context.clone(), Arc::default()));
    tokio::spawn(crate::endpoints::run(context, Arc::default()));
    let put = |kind: &str, object: &gifee_base::Object| {
        let mut tree = object.to_value().unwrap();
        tree["apiVersion"] = "v1".into();
        tree["kind"] = kind.into();
        fake.put(tree);
    };
    put("Service", &service(|_| {}).object);
    let labelled = |pod: &mut Value| pod["metadata"]["labels"] = json!({ "app": "web" });
    for number in 0..3 {
        put("Pod", &pod(number, true, labelled).object);
    }
    let ready = || {
        let slices = fake.objects(&slices());
        let endpoints = fake.objects(&Gvr::core("endpoints"));
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        let slice = slices.iter().map(|slice| count(&slice["endpoints"])).sum::<usize>();
        (slice, endpoints.iter().map(|one| count(&one["subsets"][0]["addresses"])).sum::<usize>())
    };
    let until = async |expected: (usize, usize)| {
        for _ in 0..500 {
            if ready() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{:?} instead of {expected:?}", ready());
    };
    until((3, 3)).await;
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("shop", "web-1"));
    until((2, 2)).await;
    put("Pod", &pod(0, true, |_| {}).object);
    until((1, 1)).await;
    fake.writes();
    put(
        "Pod",
        &pod(2, true, |pod| {
            labelled(pod);
            pod["status"]["message"] = "of no concern".into();
        })
        .object,
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    fake.remove(&Gvr::core("services"), &ObjectKey::new("shop", "web"));
    for _ in 0..500 {
        if fake.objects(&Gvr::core("endpoints")).is_empty() {
            stop.cancel();
            return;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    panic!("endpoints of a service that is gone");
}
