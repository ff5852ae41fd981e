//! Plans of Endpoints from fixtures.

use super::plan::{Plan, View, plan};
use super::*;
use gifee_base::Object;
use gifee_reconcile::pod::Brief;
use serde_json::{Value, json};

pub(crate) fn object(tree: Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

pub(crate) fn service(change: impl FnOnce(&mut Value)) -> Service {
    let mut tree = json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "svc", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": { "app": "web" } },
        "spec": { "selector": { "app": "web" }, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": "http" }] },
    });
    change(&mut tree);
    Service::read(&object(tree)).unwrap().unwrap()
}

pub(crate) fn pod(number: usize, ready: bool, change: impl FnOnce(&mut Value)) -> Brief {
    let ip = format!("10.0.{}.{}", number / 200, number % 200 + 1);
    let mut tree = json!({
        "metadata": { "name": format!("web-{number}"), "namespace": "shop", "uid": format!("u{number:04}") },
        "spec": { "nodeName": "one",
            "containers": [{ "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }] }] },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:00:05Z" }] },
    });
    change(&mut tree);
    Brief::read(&object(tree)).unwrap()
}

fn created(view: &View) -> Value {
    match plan(view) {
        Plan::Create(body) => body,
        other => panic!("{other:?}"),
    }
}

/// Subsets as `ready addresses | other addresses : ports`.
fn subsets(endpoints: &Value) -> Vec<String> {
    let ips = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.map(|one| one["ip"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    let ports = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.map(|one| format!("{}={}", one["name"].as_str().unwrap_or("-"), one["port"]))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let subsets = endpoints["subsets"].as_array().unwrap().iter();
    subsets
        .map(|one| {
            format!(
                "{} | {} : {}",
                ips(&one["addresses"]),
                ips(&one["notReadyAddresses"]),
                ports(&one["ports"])
            )
        })
        .collect()
}

fn view(service: Service, pods: Vec<Brief>) -> View {
    View { service, pods, present: None }
}

#[test]
fn addresses_by_readiness_and_ports() {
    let check = |service, pods, expected: &[&str]| {
        assert_eq!(subsets(&created(&view(service, pods))), expected);
    };
    let plain = || service(|_| {});
    check(
        plain(),
        vec![pod(2, true, |_| {}), pod(1, false, |_| {}), pod(0, true, |_| {})],
        &["10.0.0.1 10.0.0.3 | 10.0.0.2 : http=8080"],
    );
    check(
        plain(),
        vec![pod(0, true, |pod| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z".into())],
        &[],
    );
    check(plain(), vec![pod(0, true, |pod| pod["status"]["phase"] = "Failed".into())], &[]);
    check(plain(), vec![pod(0, true, |pod| pod["spec"]["containers"] = json!([]))], &[]);
    check(
        service(|service| service["spec"]["publishNotReadyAddresses"] = true.into()),
        vec![pod(0, false, |pod| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:09Z".into())],
        &["10.0.0.1 |  : http=8080"],
    );
    check(
        service(|service| {
            service["spec"]["clusterIP"] = "None".into();
            service["spec"]["ports"] = json!(null);
        }),
        vec![pod(0, true, |_| {})],
        &["10.0.0.1 |  : "],
    );
    let other = |pod: &mut Value| pod["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090.into();
    check(
        plain(),
        vec![pod(0, true, |_| {}), pod(1, true, other)],
        &["10.0.0.1 |  : http=8080", "10.0.0.2 |  : http=9090"],
    );
}

#[test]
fn a_second_look_changes_nothing() {
    let pods = || (0..5).map(|number| pod(number, number % 2 == 0, |_| {})).collect::<Vec<_>>();
    let headless = || service(|service| service["spec"]["clusterIP"] = "None".into());
    let mut body = created(&view(headless(), pods()));
    assert_eq!(body["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    assert_eq!(
        body["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"],
        "2026-01-01T00:00:05Z"
    );
    body["metadata"]["resourceVersion"] = "9".into();
    let present = || Some((object(body.clone()), body.clone()));
    let again = View { present: present(), ..view(headless(), pods()) };
    assert!(matches!(plan(&again), Plan::Rest), "{:?}", plan(&again));
    let fewer = View {
        present: present(),
        ..view(headless(), pods()[..4].iter().map(|pod| Brief::read(&pod.object).unwrap()).collect())
    };
    assert!(matches!(plan(&fewer), Plan::Patch(change) if change["metadata"]["resourceVersion"] == "9"));
}

#[test]
fn too_many_are_cut_and_said_to_be() {
    let pods = (0..1200).map(|number| pod(number, number >= 300, |_| {})).collect();
    let body = created(&view(service(|_| {}), pods));
    let subset = &body["subsets"][0];
    assert_eq!(subset["addresses"].as_array().unwrap().len(), 900);
    assert_eq!(subset["notReadyAddresses"].as_array().unwrap().len(), 100);
    assert_eq!(body["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"], "truncated");
}
