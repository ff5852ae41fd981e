//! Endpoints in, slices out.

use super::plan::{ENDPOINTS_MAXIMUM, View, mirrored, plan};
use gifee_base::Object;
use serde_json::{Value, json};
use std::sync::Arc;

fn object(tree: &Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

fn endpoints(subsets: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "e", "namespace": "n", "uid": "u",
        "labels": { "own": "label" }, "annotations": { "own": "note",
            "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z" } }, "subsets": subsets })
}

fn view(endpoints: &Value, slices: Vec<Value>) -> View {
    let endpoints = endpoints.is_object().then(|| (object(endpoints), endpoints.clone()));
    View { endpoints, slices: slices.into_iter().map(|slice| (object(&slice), slice)).collect() }
}

/// The slice as it is after it was made.
fn made(mut slice: Value, name: &str) -> Value {
    slice["metadata"]["name"] = name.into();
    slice["metadata"]["uid"] = name.into();
    slice["metadata"]["resourceVersion"] = "7".into();
    slice
}

#[test]
fn a_slice_for_each_family_and_set_of_ports() {
    let subsets = json!([
        { "addresses": [{ "ip": "10.0.0.1", "hostname": "a", "nodeName": "n1" }, { "ip": "fd00::1" }],
          "notReadyAddresses": [{ "ip": "10.0.0.2" }], "ports": [{ "port": 80 }] },
        { "addresses": [{ "ip": "10.0.0.1" }], "ports": [{ "name": "x", "port": 81, "protocol": "UDP", "appProtocol": "q" }] },
        { "addresses": [{ "ip": "10.0.0.3" }, { "ip": "nonsense" }], "ports": [{ "port": 80 }] },
    ]);
    let first = plan(&view(&endpoints(subsets.clone()), vec![]));
    let shown: Vec<String> = first
        .create
        .iter()
        .map(|slice| {
            let endpoints = slice["endpoints"].as_array().unwrap().iter();
            let endpoints =
                endpoints.map(|one| format!("{}={}", one["addresses"][0], one["conditions"]["ready"]));
            format!(
                "{} {} {}",
                slice["addressType"],
                slice["ports"][0]["port"],
                endpoints.collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#""IPv4" 81 "10.0.0.1"=true"#,
            r#""IPv4" 80 "10.0.0.1"=true "10.0.0.2"=false "10.0.0.3"=true"#,
            r#""IPv6" 80 "fd00::1"=true"#,
        ]
    );
    let slice = &first.create[1];
    assert_eq!(
        slice["metadata"]["labels"],
        json!({ "own": "label", "kubernetes.io/service-name": "e",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io" })
    );
    assert_eq!(slice["metadata"]["annotations"], json!({ "own": "note" }));
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
    assert_eq!(
        slice["endpoints"][0],
        json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": true },
        "hostname": "a", "nodeName": "n1" })
    );

    // A plan that was applied gives nothing to do; a change changes only what it must.
    let present: Vec<Value> =
        first.create.into_iter().enumerate().map(|(at, slice)| made(slice, &at.to_string())).collect();
    let rest = plan(&view(&endpoints(subsets.clone()), present.clone()));
    assert!(rest.create.is_empty() && rest.change.is_empty() && rest.delete.is_empty(), "{rest:?}");
    let mut less = subsets;
    less.as_array_mut().unwrap().remove(1);
    less[0]["addresses"][0]["ip"] = "10.0.0.9".into();
    let next = plan(&view(&endpoints(less), present.clone()));
    assert_eq!((next.create.len(), next.change.len(), next.delete.len()), (0, 1, 1));
    assert_eq!(next.change[0].1["metadata"]["resourceVersion"], "7");
    assert_eq!(next.delete[0].name(), "0");
    let gone = plan(&view(&Value::Null, present));
    assert_eq!(gone.delete.len(), 3);
}

#[test]
fn a_slice_is_bounded() {
    let addresses: Vec<Value> = (0..ENDPOINTS_MAXIMUM + 50)
        .map(|at| json!({ "ip": format!("10.0.{}.{}", at / 250, at % 250) }))
        .collect();
    let many = endpoints(json!([{ "addresses": addresses, "ports": [{ "port": 1 }] }]));
    let plan = plan(&view(&many, vec![]));
    assert_eq!(plan.create[0]["endpoints"].as_array().unwrap().len(), ENDPOINTS_MAXIMUM);
}

#[test]
fn only_what_somebody_wrote_for_a_service_is_mirrored() {
    let service = json!({ "spec": {} });
    let with = |field: &str, key: &str, value: &str| {
        let mut one = endpoints(json!([]));
        one["metadata"][field][key] = value.into();
        one
    };
    let plain = endpoints(json!([]));
    assert!(mirrored(&plain, &service));
    assert!(!mirrored(&plain, &Value::Null));
    assert!(!mirrored(&plain, &json!({ "spec": { "selector": { "a": "b" } } })));
    assert!(!mirrored(&with("labels", "endpointslice.kubernetes.io/skip-mirror", "true"), &service));
    assert!(!mirrored(&with("annotations", "control-plane.alpha.kubernetes.io/leader", "{}"), &service));
}
