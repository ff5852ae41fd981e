//! What the controllers of volumes, devices and ranges do on a whole cluster, under the rights of their own accounts.

use crate::api::Api;
use crate::conformance::{Step, template};
use serde_json::{Value, json};

/// The steps of [`crate::conformance`] that are about these controllers.
pub const STEPS: &[Step] = &[
    ("binding", claims_are_bound_and_volumes_released),
    ("folders", claims_without_a_class_get_folders),
    ("templates", pods_get_claims_from_templates),
    ("migrations", objects_are_written_again),
    ("ranges", ranges_are_ready_and_given),
];

fn claim(name: &str, class: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": { "requests": { "storage": "1Gi" } } } })
}

fn claims_are_bound_and_volumes_released(api: &Api<'_>) {
    let volumes = gifee_base::Gvr::core("persistentvolumes");
    let volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "by-hand" },
        "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "2Gi" }, "storageClassName": "by-hand",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": "/nowhere" } } });
    let is = |phase: &'static str| move |one: &Value| one["status"]["phase"] == phase;
    let path = api.path("v1/persistentvolumeclaims");
    api.post(&path, &claim("early", "by-hand"));
    api.post("/api/v1/persistentvolumes", &volume);
    let bound = api.until("v1/persistentvolumeclaims", "early", is("Bound"));
    assert_eq!(bound["spec"]["volumeName"], "by-hand");
    assert_eq!(bound["status"]["capacity"]["storage"], "2Gi");
    api.cluster.until(&volumes, "", "by-hand", is("Bound"));
    api.delete(&format!("{path}/early"), &Value::Null);
    api.cluster.until(&volumes, "", "by-hand", is("Released"));
    api.delete("/api/v1/persistentvolumes/by-hand", &Value::Null);
    api.cluster.until(&volumes, "", "by-hand", Value::is_null);
    let class = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": "elsewhere" }, "provisioner": "example.com/disk" });
    api.post("/apis/storage.k8s.io/v1/storageclasses", &class);
    api.post(&path, &claim("asked", "elsewhere"));
    api.until("v1/persistentvolumeclaims", "asked", |claim| {
        claim["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"] == "example.com/disk"
    });
    api.delete("/apis/storage.k8s.io/v1/storageclasses/elsewhere", &Value::Null);
}

/// What any chart asks for: a claim of no class, written to by one pod and read by the next.
fn claims_without_a_class_get_folders(api: &Api<'_>) {
    let (path, pods) = (api.path("v1/persistentvolumeclaims"), api.path("v1/pods"));
    let mut data = claim("data", "");
    data["spec"].as_object_mut().unwrap().remove("storageClassName");
    let made = api.post(&path, &data);
    assert_eq!(made["spec"]["storageClassName"], "local-path");
    let run = |name: &str, line: &str| {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
                "securityContext": { "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000 },
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
                "containers": [{ "name": "c", "image": crate::fixture::BUSYBOX, "command": ["sh", "-c", line],
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }] } });
        api.post(&pods, &pod);
        let over = |pod: &Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
        assert_eq!(api.until("v1/pods", name, over)["status"]["phase"], "Succeeded");
        api.delete(&format!("{pods}/{name}"), &Value::Null);
        api.until("v1/pods", name, Value::is_null);
    };
    run("writes", "echo kept > /data/word");
    run("reads", "[ \"$(cat /data/word)\" = kept ]");
    let bound = api.get(&format!("{path}/data"));
    let volume = bound["spec"]["volumeName"].as_str().unwrap().to_owned();
    let volumes = gifee_base::Gvr::core("persistentvolumes");
    let folder = api.get(&format!("/api/v1/persistentvolumes/{volume}"))["spec"]["local"]["path"].clone();
    let folder = std::path::PathBuf::from(folder.as_str().unwrap());
    assert_eq!(std::fs::read_to_string(folder.join("word")).unwrap(), "kept\n");
    // It grows, and goes with its claim.
    api.patch(
        &format!("{path}/data"),
        &json!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } }),
    );
    api.until("v1/persistentvolumeclaims", "data", |one| one["status"]["capacity"]["storage"] == "2Gi");
    api.delete(&format!("{path}/data"), &Value::Null);
    api.cluster.until(&volumes, "", &volume, Value::is_null);
    assert!(!folder.exists(), "{} is left", folder.display());
}

fn pods_get_claims_from_templates(api: &Api<'_>) {
    let devices = json!({ "requests": [{ "name": "r", "exactly": { "deviceClassName": "none" } }] });
    api.post(
        &api.path("resource.k8s.io/v1/resourceclaimtemplates"),
        &json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
            "metadata": { "name": "one" }, "spec": { "spec": { "devices": devices } } }),
    );
    let mut spec = template()["spec"].clone();
    spec["resourceClaims"] = json!([{ "name": "device", "resourceClaimTemplateName": "one" }]);
    spec["volumes"] = json!([{ "name": "own", "ephemeral": { "volumeClaimTemplate": {
        "spec": claim("own", "nowhere")["spec"] } } }]);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": spec });
    api.post(&api.path("v1/pods"), &pod);
    api.until("v1/persistentvolumeclaims", "p-own", |claim| {
        claim["metadata"]["ownerReferences"][0]["name"] == "p"
    });
    let pod = api.until("v1/pods", "p", |pod| pod["status"]["resourceClaimStatuses"].is_array());
    let made = pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap().to_owned();
    api.delete(&format!("{}/p", api.path("v1/pods")), &Value::Null);
    api.until("resource.k8s.io/v1/resourceclaims", &made, Value::is_null);
}

fn objects_are_written_again(api: &Api<'_>) {
    let group = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
    api.post(
        group,
        &json!({ "apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration",
            "metadata": { "name": "maps" }, "spec": { "resource": { "group": "", "resource": "configmaps" } } }),
    );
    let migrations = gifee_base::Gvr::new("storagemigration.k8s.io", "v1", "storageversionmigrations");
    api.cluster.until(&migrations, "", "maps", |one| {
        let conditions = one["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Succeeded" && one["status"] == "True")
    });
}

fn ranges_are_ready_and_given(api: &Api<'_>) {
    let range = gifee_base::Gvr::new("networking.k8s.io", "v1", "servicecidrs");
    let ready = |one: &Value| one["status"]["conditions"][0]["status"] == "True";
    let range = api.cluster.until(&range, "", "kubernetes", ready);
    assert_eq!(range["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
    let nodes = api.get("/api/v1/nodes");
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
    let given = |node: &Value| node["spec"]["podCIDRs"][0].is_string();
    api.cluster.until(&gifee_base::Gvr::core("nodes"), "", node, given);
    let class = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
        "metadata": { "name": "kept" }, "driverName": "example.com", "parameters": { "a": "b" } });
    api.post("/apis/storage.k8s.io/v1/volumeattributesclasses", &class);
    let classes = gifee_base::Gvr::new("storage.k8s.io", "v1", "volumeattributesclasses");
    api.cluster.until(&classes, "", "kept", |one| one["metadata"]["finalizers"].is_array());
    api.delete("/apis/storage.k8s.io/v1/volumeattributesclasses/kept", &Value::Null);
    api.cluster.until(&classes, "", "kept", Value::is_null);
}
