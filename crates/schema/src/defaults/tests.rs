//! Rules of each form, on kinds whose defaults need them.

use serde_json::{Map, Value, json};

use super::Defaults;
use crate::{Schema, check};

const TABLE: &str = r#"
# A sample in each form.
type apps/v1.Deployment
spec.replicas = 1
spec.strategy.type = "RollingUpdate"
spec.strategy.rollingUpdate.maxUnavailable = "25%" if spec.strategy.type == "RollingUpdate"
spec.strategy.rollingUpdate.maxSurge = "25%" if spec.strategy.type == "RollingUpdate"

type core/v1.PodSpec
restartPolicy = "Always"
securityContext = {}
terminationGracePeriodSeconds = 30

type core/v1.Pod
spec.containers[*].resources.requests = $@.resources.limits
spec.containers[*].ports[*].hostPort = $@.containerPort if spec.hostNetwork == true
spec.enableServiceLinks = true

type core/v1.Container core/v1.EphemeralContainer
terminationMessagePath = "/dev/termination-log"
hook pull

type core/v1.Probe
timeoutSeconds = 1

type core/v1.Volume
emptyDir = {} if none +VolumeSource

type core/v1.Service
spec.sessionAffinity = "None"
spec.sessionAffinityConfig delete if spec.sessionAffinity == "None"
spec.sessionAffinityConfig.clientIP.timeoutSeconds = 10800 if spec.sessionAffinity == "ClientIP"
spec.type = "ClusterIP"
spec.ports[*].targetPort = $@.port
spec.internalTrafficPolicy = "Cluster" if spec.type in ["NodePort", "LoadBalancer", "ClusterIP"]
spec.allocateLoadBalancerNodePorts = true if spec.type == "LoadBalancer" and unset spec.loadBalancerClass

type core/v1.ReplicationController
spec.selector = $spec.template.metadata.labels
metadata.labels = $spec.template.metadata.labels

type core/v1.NodeStatus
allocatable += $capacity
"#;

fn pull(map: &mut Map<String, Value>) {
    let latest = map.get("image").and_then(Value::as_str).is_some_and(|image| image.ends_with(":latest"));
    map.entry("imagePullPolicy").or_insert_with(|| json!(if latest { "Always" } else { "IfNotPresent" }));
}

fn check(gvk: (&str, &str), body: Value, expect: Value) {
    let defaults = Defaults::builtin(&[TABLE], &[("pull", pull)]).unwrap();
    let schema = Schema::builtin(gvk.0, "v1", gvk.1).unwrap();
    let mut value = body;
    check::check(&schema, &mut value).unwrap();
    defaults.apply(&schema, &mut value);
    let mut expect = expect;
    check::check(&schema, &mut expect).unwrap();
    assert_eq!(value, expect);
    let mut again = value.clone();
    defaults.apply(&schema, &mut again);
    assert_eq!(again, value, "a second time changes nothing");
    check::check(&schema, &mut again).unwrap();
    assert_eq!(again, value, "what was added is complete");
}

#[test]
fn conditions_and_parents() {
    let pod = json!({"restartPolicy": "Always", "securityContext": {}, "terminationGracePeriodSeconds": 30});
    check(
        ("apps", "Deployment"),
        json!({}),
        json!({"spec": {"replicas": 1, "template": {"spec": pod}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}}}),
    );
    check(
        ("apps", "Deployment"),
        json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}}),
        json!({"spec": {"replicas": 0, "template": {"spec": pod}, "strategy": {"type": "Recreate"}}}),
    );
    check(
        ("apps", "Deployment"),
        json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0}}}}),
        json!({"spec": {"replicas": 1, "template": {"spec": pod}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 0}}}}),
    );
}

#[test]
fn items_hooks_and_types_at_any_depth() {
    check(
        ("", "Pod"),
        json!({"spec": {"hostNetwork": true, "volumes": [{"name": "a"}, {"name": "b", "hostPath": {"path": "/"}}],
            "containers": [
                {"name": "a", "image": "x:latest", "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8}],
                 "resources": {"limits": {"cpu": "1"}},
                 "livenessProbe": {"grpc": {"port": 1}}},
                {"name": "b", "image": "x:1", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]}}),
        json!({"spec": {"hostNetwork": true, "restartPolicy": "Always", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}],
            "containers": [
                {"name": "a", "image": "x:latest", "imagePullPolicy": "Always",
                 "terminationMessagePath": "/dev/termination-log",
                 "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"},
                           {"containerPort": 81, "hostPort": 8, "protocol": "TCP"}],
                 "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                 "livenessProbe": {"grpc": {"port": 1, "service": ""}, "timeoutSeconds": 1}},
                {"name": "b", "image": "x:1", "imagePullPolicy": "IfNotPresent",
                 "terminationMessagePath": "/dev/termination-log",
                 "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]}}),
    );
}

#[test]
fn copies_deletes_and_choices() {
    check(
        ("", "Service"),
        json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "x"}],
            "sessionAffinityConfig": {"clientIP": {}}}}),
        json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"},
                      {"port": 81, "targetPort": "x", "protocol": "TCP"}]}}),
    );
    check(
        ("", "Service"),
        json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}),
        json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": true,
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}}),
    );
    check(
        ("", "Service"),
        json!({"spec": {"type": "ExternalName"}}),
        json!({"spec": {"type": "ExternalName", "sessionAffinity": "None"}}),
    );
    let template = json!({"metadata": {"labels": {"a": "b"}}});
    check(
        ("", "ReplicationController"),
        json!({"spec": {"replicas": 0, "template": template}}),
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 0, "selector": {"a": "b"},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Always",
                "securityContext": {}, "terminationGracePeriodSeconds": 30}}}}),
    );
    check(
        ("", "Node"),
        json!({"status": {"capacity": {"cpu": "2", "memory": "1Gi"}, "allocatable": {"cpu": "1"}}}),
        json!({"status": {"capacity": {"cpu": "2", "memory": "1Gi"}, "allocatable": {"cpu": "1", "memory": "1Gi"}}}),
    );
}

#[test]
fn lists_of_kinds_are_entered() {
    check(
        ("", "PodList"),
        json!({"items": [{"spec": {"restartPolicy": "Never"}}]}),
        json!({"items": [{"spec": {"restartPolicy": "Never", "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": true}}]}),
    );
}

#[test]
fn mistakes_are_named() {
    let error = |table: &str| Defaults::builtin(&[table], &[]).unwrap_err().to_string();
    assert_eq!(error("a = 1"), "in defaults, no type above: a = 1");
    assert_eq!(error("type core/v1.Nothing"), "in defaults, no type core/v1.Nothing: type core/v1.Nothing");
    assert_eq!(error("type core/v1.Pod\nspec.x = 1"), "in defaults, no field x in spec.x: spec.x = 1");
    assert_eq!(error("type core/v1.Pod\nhook x"), "in defaults, no hook x: hook x");
    assert_eq!(
        error("type apps/v1.Deployment\nspec.replicas = \"x\""),
        "in defaults, json: cannot unmarshal string into Go value of type int32: spec.replicas = \"x\""
    );
    assert!(error("type core/v1.Pod\nspec.hostname = \"x\" if maybe").contains("no condition `maybe`"));
}
