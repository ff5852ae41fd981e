//! What objects count, and what they count against.

use super::*;
use crate::resources::tree;
use serde_json::json;

fn check(group: &str, resource: &str, object: Value, expect: Value) {
    assert_eq!(tree(&usage(group, resource, &object, Some(100))), expect, "{object}");
}

#[test]
fn objects_count_under_all_their_names() {
    check("", "configmaps", json!({}), json!({ "count/configmaps": "1", "configmaps": "1" }));
    check("apps", "deployments", json!({}), json!({ "count/deployments.apps": "1" }));
    let resources = json!({ "requests": { "cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi" },
        "limits": { "memory": "1Gi" } });
    let pod = json!({ "spec": { "containers": [{ "name": "c", "resources": resources }] } });
    check(
        "",
        "pods",
        pod.clone(),
        json!({ "count/pods": "1", "pods": "1", "cpu": "1", "requests.cpu": "1",
        "limits.memory": "1Gi", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi", "requests.example.com/gpu": "2" }),
    );
    let mut ended = pod.clone();
    ended["status"]["phase"] = "Failed".into();
    check("", "pods", ended, json!({ "count/pods": "1" }));
    let mut overdue = pod;
    overdue["metadata"] =
        json!({ "deletionTimestamp": "1970-01-01T00:00:10Z", "deletionGracePeriodSeconds": 30 });
    check("", "pods", overdue, json!({ "count/pods": "1" }));
    let claim = json!({ "spec": { "storageClassName": "gold", "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "allocatedResources": { "storage": "2Gi" } } });
    check(
        "",
        "persistentvolumeclaims",
        claim,
        json!({ "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1", "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "requests.storage": "2Gi", "gold.storageclass.storage.k8s.io/requests.storage": "2Gi" }),
    );
    let service = json!({ "spec": { "type": "LoadBalancer", "ports": [{ "port": 1 }, { "port": 2 }] } });
    check(
        "",
        "services",
        service,
        json!({ "count/services": "1", "services": "1", "services.nodeports": "2",
        "services.loadbalancers": "1" }),
    );
    let claim = json!({ "spec": { "devices": { "requests": [
        { "name": "a", "exactly": { "deviceClassName": "gpu", "count": 2 } },
        { "name": "b", "firstAvailable": [{ "deviceClassName": "gpu", "count": 3 }, { "deviceClassName": "nic", "allocationMode": "All" }] },
    ] } } });
    check(
        "resource.k8s.io",
        "resourceclaims",
        claim,
        json!({ "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "5", "nic.deviceclass.resource.k8s.io/devices": "32" }),
    );
}

#[test]
fn scopes_select() {
    let scoped = |spec: Value, pod: Value| in_scope("", "pods", &pod, &scope::of(&spec));
    let plain = json!({ "spec": { "containers": [{ "name": "c" }] } });
    let mut classed = plain.clone();
    classed["spec"]["priorityClassName"] = "high".into();
    classed["spec"]["activeDeadlineSeconds"] = 5.into();
    for (scopes, of_plain, of_classed) in [
        (json!(["BestEffort"]), true, true),
        (json!(["NotBestEffort"]), false, false),
        (json!(["Terminating"]), false, true),
        (json!(["NotTerminating", "BestEffort"]), true, false),
        (json!(["PriorityClass"]), false, true),
        (json!(["CrossNamespacePodAffinity"]), false, false),
    ] {
        let spec = json!({ "scopes": scopes });
        assert_eq!(scoped(spec.clone(), plain.clone()), of_plain, "{spec}");
        assert_eq!(scoped(spec.clone(), classed.clone()), of_classed, "{spec}");
    }
    for (operator, values, of_plain, of_classed) in [
        ("In", json!(["high"]), false, true),
        ("NotIn", json!(["high"]), true, false),
        ("DoesNotExist", json!([]), true, false),
    ] {
        let one = json!({ "scopeName": "PriorityClass", "operator": operator, "values": values });
        let spec = json!({ "scopeSelector": { "matchExpressions": [one] } });
        assert_eq!(scoped(spec.clone(), plain.clone()), of_plain, "{spec}");
        assert_eq!(scoped(spec.clone(), classed.clone()), of_classed, "{spec}");
    }
}

#[test]
fn names_belong_to_resources() {
    for (group, resource, name, expect) in [
        ("", "pods", "requests.example.com/gpu", true),
        ("", "pods", "requests.storage", false),
        ("", "pods", "count/pods", true),
        ("", "pods", "services", false),
        ("", "persistentvolumeclaims", "gold.storageclass.storage.k8s.io/requests.storage", true),
        ("", "services", "services.nodeports", true),
        ("", "secrets", "secrets", true),
        ("apps", "deployments", "count/deployments.apps", true),
        ("apps", "deployments", "deployments", false),
    ] {
        assert_eq!(counts(group, resource, name), expect, "{resource} {name}");
    }
}
