//! Addresses and ports of Services: asked for, found, refused, given back.

use super::{Nobody, context, defaults, rows, schema};
use futures_util::FutureExt;
use gifee_base::ObjectKey;
use gifee_registry::Kind;
use gifee_registry::kind::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn row() -> Kind {
    rows().into_iter().find(|row| *row.gvk.kind == *"Service").unwrap()
}

fn service(spec: Value) -> Value {
    let row = row();
    let mut object = json!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web", "uid": "4b1f" }, "spec": spec });
    defaults().apply(&schema(&row), &mut object);
    row.hooks.default(&mut object);
    object
}

fn create(object: &mut Value, context: &Context<'_>) -> Result<(), String> {
    let row = row();
    row.hooks.prepare_create(object, context);
    row.hooks.allocate(object, None, context).now_or_never().unwrap().map_err(|status| status.message)?;
    let errors = row.hooks.validate(object, context);
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

fn change(object: &mut Value, old: &Value, context: &Context<'_>) {
    let row = row();
    defaults().apply(&schema(&row), object);
    row.hooks.prepare_update(object, old, "", context);
    row.hooks.allocate(object, Some(old), context).now_or_never().unwrap().unwrap();
    let errors = row.hooks.judge_update(object, old, "", context);
    assert!(errors.is_empty(), "{errors:?}");
}

fn taken(nobody: &Nobody) -> Vec<String> {
    nobody.taken.lock().unwrap().iter().cloned().collect()
}

const PORTS: fn() -> Value = || json!([{ "port": 80 }]);

#[test]
fn what_is_asked_for_is_given_once() {
    let (nobody, extra, key) = (Nobody::default(), BTreeMap::new(), ObjectKey::new("default", "web"));
    let context = context(&key, &nobody, &extra);
    let spec = json!({ "clusterIP": "10.96.0.10", "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] });
    create(&mut service(spec.clone()), &context).unwrap();
    assert_eq!(taken(&nobody), ["ipaddresses/10.96.0.10", "nodeports/30080"]);
    assert_eq!(
        create(&mut service(spec), &context).unwrap_err(),
        "Service \"web\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: provided IP is already allocated"
    );
    let spec = json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] });
    assert_eq!(
        create(&mut service(spec), &context).unwrap_err(),
        "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    assert_eq!(
        taken(&nobody),
        ["ipaddresses/10.96.0.10", "nodeports/30080"],
        "a refusal gives back what it took"
    );
    let spec = json!({ "clusterIP": "10.1.0.10", "ports": [{ "port": 80 }] });
    assert_eq!(
        create(&mut service(spec), &context).unwrap_err(),
        "Service \"web\" is invalid: spec.clusterIPs: Invalid value: [\"10.1.0.10\"]: failed to allocate IP 10.1.0.10: the provided IP (10.1.0.10) is not in the valid range. The range of valid IPs is 10.96.0.0/12"
    );
    let spec = json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 80 }] });
    assert_eq!(
        create(&mut service(spec), &context).unwrap_err(),
        "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
    );
}

#[test]
fn families_follow_the_cluster() {
    let (nobody, extra, key) = (Nobody::default(), BTreeMap::new(), ObjectKey::new("default", "web"));
    let context = context(&key, &nobody, &extra);
    let families = |spec: Value| {
        let mut object = service(spec);
        create(&mut object, &context).map(|()| {
            let spec = &object["spec"];
            format!(
                "{} {} {}",
                spec["ipFamilies"],
                spec["ipFamilyPolicy"],
                spec["clusterIPs"].as_array().map_or(0, Vec::len)
            )
        })
    };
    assert_eq!(families(json!({ "ports": PORTS() })).unwrap(), r#"["IPv4"] "SingleStack" 1"#);
    let prefer = json!({ "ports": PORTS(), "ipFamilyPolicy": "PreferDualStack" });
    assert_eq!(families(prefer).unwrap(), r#"["IPv4"] "PreferDualStack" 1"#);
    let headless = json!({ "clusterIP": "None", "selector": { "a": "b" } });
    assert_eq!(families(headless).unwrap(), r#"["IPv4"] "SingleStack" 1"#);
    let bare = json!({ "clusterIP": "None" });
    assert_eq!(families(bare).unwrap(), r#"["IPv4","IPv6"] "RequireDualStack" 1"#);
    let require = json!({ "ports": PORTS(), "ipFamilyPolicy": "RequireDualStack" });
    assert_eq!(
        families(require).unwrap_err(),
        "Service \"web\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
    );
    let six = json!({ "ports": PORTS(), "ipFamilies": ["IPv6"] });
    assert_eq!(
        families(six).unwrap_err(),
        "Service \"web\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
    );
    assert_eq!(
        families(json!({ "type": "ExternalName", "externalName": "a.example" })).unwrap(),
        "null null 0"
    );
}

#[test]
fn a_new_type_needs_other_things() {
    let (nobody, extra, key) = (Nobody::default(), BTreeMap::new(), ObjectKey::new("default", "web"));
    let context = context(&key, &nobody, &extra);
    let mut plain = service(json!({ "ports": PORTS() }));
    create(&mut plain, &context).unwrap();
    assert_eq!(taken(&nobody).len(), 1);

    let mut node = plain.clone();
    node["spec"]["type"] = json!("NodePort");
    change(&mut node, &plain, &context);
    assert_eq!(node["spec"]["clusterIP"], plain["spec"]["clusterIP"]);
    assert!((30000..=32767).contains(&node["spec"]["ports"][0]["nodePort"].as_i64().unwrap()));
    assert_eq!(node["spec"]["externalTrafficPolicy"], "Cluster");

    let mut balanced = node.clone();
    balanced["spec"]["type"] = json!("LoadBalancer");
    balanced["spec"]["externalTrafficPolicy"] = json!("Local");
    change(&mut balanced, &node, &context);
    assert_ne!(balanced["spec"]["healthCheckNodePort"], Value::Null);
    assert_eq!(balanced["spec"]["ports"], node["spec"]["ports"], "a port that is there stays");
    assert_eq!(taken(&nobody).len(), 3);

    let mut external = balanced.clone();
    external["spec"]["type"] = json!("ExternalName");
    external["spec"]["externalName"] = json!("a.example");
    change(&mut external, &balanced, &context);
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "healthCheckNodePort", "externalTrafficPolicy"] {
        assert!(external["spec"][field].is_null(), "{field}");
    }
    assert!(external["spec"]["ports"][0]["nodePort"].is_null());
    row().hooks.release(&balanced, Some(&external), &context).now_or_never().unwrap().unwrap();
    assert!(taken(&nobody).is_empty(), "{:?}", taken(&nobody));
}

#[test]
fn protocols_of_one_port_share_its_node_port() {
    let (nobody, extra, key) = (Nobody::default(), BTreeMap::new(), ObjectKey::new("default", "web"));
    let context = context(&key, &nobody, &extra);
    let ports = json!([{ "name": "a", "port": 53, "protocol": "UDP" }, { "name": "b", "port": 53, "protocol": "TCP" }]);
    let mut dns = service(json!({ "type": "NodePort", "ports": ports }));
    create(&mut dns, &context).unwrap();
    assert_eq!(dns["spec"]["ports"][0]["nodePort"], dns["spec"]["ports"][1]["nodePort"]);
}

#[test]
fn the_last_address_is_found() {
    let mut settings =
        gifee_registry::Settings { service_cidrs: vec!["10.9.0.0/29".into()], ..Default::default() };
    settings.node_ports = (30000, 30001);
    let row = gifee_registry::kinds(&settings).into_iter().find(|row| *row.gvk.kind == *"Service").unwrap();
    let (nobody, extra, key) = (Nobody::default(), BTreeMap::new(), ObjectKey::new("default", "web"));
    let context = context(&key, &nobody, &extra);
    let outcome = || {
        let mut object = service(json!({ "type": "NodePort", "ports": PORTS() }));
        row.hooks.prepare_create(&mut object, &context);
        row.hooks
            .allocate(&mut object, None, &context)
            .now_or_never()
            .unwrap()
            .map_err(|status| status.message)
    };
    assert_eq!([outcome(), outcome()], [Ok(()), Ok(())]);
    assert_eq!(
        outcome().unwrap_err(),
        "Internal error occurred: failed to allocate a nodePort: range is full"
    );
    assert_eq!(taken(&nobody).len(), 4);
}
