//! What pods are given and refused when they are made.

use crate::rules::{account, ruled};
use crate::world::World;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/a/pods";

fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "agnhost", "image": "agnhost:2" }] } });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

#[tokio::test]
async fn quality_of_service_is_set_from_requests_and_limits() {
    let world = World::new().await;
    let list = json!({ "cpu": "100m", "memory": "100Mi" });
    for (name, resources, class) in [
        ("guaranteed", json!({ "requests": list, "limits": list }), "Guaranteed"),
        ("limits", json!({ "limits": list }), "Guaranteed"),
        ("burstable", json!({ "requests": list }), "Burstable"),
        ("effort", json!({}), "BestEffort"),
    ] {
        let body =
            pod(name, &json!({ "containers": [{ "name": "c", "image": "i", "resources": resources }] }));
        world.post(PODS, &body).await.expect(201);
        assert_eq!(world.get(&format!("{PODS}/{name}")).await.expect(200)["status"]["qosClass"], class);
    }
}

#[tokio::test]
async fn sysctls_have_names() {
    let world = World::new().await;
    let sysctl = |name: &str| json!({ "name": name, "value": "1" });
    let spec = json!({ "securityContext": { "sysctls": [
        sysctl("foo-"), sysctl("kernel.shmmax"), sysctl("safe-and-unsafe"), sysctl("bar..") ] } });
    let refused = world.post(PODS, &pod("sysctl", &spec)).await.failure();
    assert!(refused.starts_with("422 Invalid: Pod \"sysctl\" is invalid: ["), "{refused}");
    for wrong in ["Invalid value: \"foo-\"", "Invalid value: \"bar..\""] {
        assert!(refused.contains(wrong), "{refused}");
    }
    assert!(!refused.contains("safe-and-unsafe") && !refused.contains("kernel.shmmax"), "{refused}");
}

#[tokio::test]
async fn volumes_of_drivers_are_written_in_pods() {
    let world = World::new().await;
    let driver = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": "inline.example.com",
        "labels": { "security.kubernetes.io/csi-ephemeral-volume-profile": "restricted" } },
        "spec": { "volumeLifecycleModes": ["Ephemeral"] } });
    world.post("/apis/storage.k8s.io/v1/csidrivers", &driver).await.expect(201);
    let spec = json!({ "volumes": [{ "name": "vol", "csi": { "driver": "inline.example.com", "readOnly": true } }],
        "containers": [{ "name": "c", "image": "i", "volumeMounts": [{ "name": "vol", "mountPath": "/v" }] }] });
    world.post(PODS, &pod("inline", &spec)).await.expect(201);
    let list = world.get("/api/v1/pods").await.expect(200);
    assert_eq!(list["items"][0]["spec"]["volumes"], spec["volumes"]);
    world.delete(&format!("{PODS}/inline?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(world.get(&format!("{PODS}/inline")).await.code, 404);
}

/// An account or its pod may do without a token; the pod's word counts more.
#[tokio::test]
async fn tokens_are_mounted_unless_somebody_does_without() {
    let world = ruled().await;
    account(&world).await;
    for (name, automount) in [("mount", Some(true)), ("nomount", Some(false))] {
        let body = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name },
            "automountServiceAccountToken": automount });
        world.post("/api/v1/namespaces/a/serviceaccounts", &body).await.expect(201);
    }
    for (of_account, of_pod, mounted) in [
        ("default", None, true),
        ("mount", None, true),
        ("nomount", None, false),
        ("default", Some(true), true),
        ("mount", Some(true), true),
        ("nomount", Some(true), true),
        ("default", Some(false), false),
        ("mount", Some(false), false),
        ("nomount", Some(false), false),
    ] {
        let mut spec = json!({ "serviceAccountName": of_account });
        if let Some(automount) = of_pod {
            spec["automountServiceAccountToken"] = automount.into();
        }
        let name = format!("pod-{of_account}-{}", of_pod.map_or("unset".into(), |of_pod| of_pod.to_string()));
        let made = world.post(PODS, &pod(&name, &spec)).await.expect(201);
        let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array();
        let place = "/var/run/secrets/kubernetes.io/serviceaccount";
        let found = mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["mountPath"] == place));
        assert_eq!(found, mounted, "{name}");
    }
}
