//! Images as volumes, recursively read-only mounts, folders that are filled, and volumes of this node.

use super::{Case, at, check, log, runs, shell, start, succeeds, waits};
use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::{BUSYBOX, PAGE};
use serde_json::{Value, json};

pub const STEPS: &[Step] = &[
    ("images", images_are_volumes),
    ("readonly", mounts_are_recursively_read_only),
    ("full", a_full_folder_evicts_its_pod),
    ("local", volumes_of_a_node_are_used_there),
];

fn image(name: &str, reference: &str, policy: &str) -> Value {
    json!({ "name": name, "image": { "reference": reference, "pullPolicy": policy } })
}

fn images_are_volumes(api: &Api<'_>) {
    let volumes = json!([
        image("i", BUSYBOX, "IfNotPresent"),
        image("again", BUSYBOX, "Never"),
        image("unused", "nowhere:1", "Never")
    ]);
    let part = |part: &str| json!([{ "name": "i", "mountPath": "/v", "subPath": part }]);
    let both = json!([{ "name": "i", "mountPath": "/v" }, { "name": "again", "mountPath": "/w" }]);
    let refused = "busybox touch /v/new 2>/dev/null || echo refused";
    let cases: [Case<'_>; 4] = [
        (
            "whole",
            0,
            both,
            format!("cat /v/www/index.html /w/www/index.html; {refused}"),
            format!("{PAGE}{PAGE}refused\n"),
        ),
        ("folder", 1000, part("www"), format!("cat /v/index.html; {refused}"), format!("{PAGE}refused\n")),
        ("file", 1000, part("www/index.html"), "cat /v".into(), PAGE.into()),
        // Where it leads in the image, whose programs are links to one.
        ("link", 0, part("bin/sh"), "busybox cmp /v /bin/busybox && echo same".into(), "same\n".into()),
    ];
    check(api, "images", &volumes, &json!({}), &cases);
    let one = |mounts: &Value| vec![shell("c", 0, mounts, "true")];
    start(api, "no-part", &volumes, one(&part("missing")), &json!({}));
    start(api, "no-image", &volumes, one(&at("unused", "/v")), &json!({}));
    waits(api, "no-part", "c", "CreateContainerError");
    let said = waits(api, "no-image", "c", "ErrImageNeverPull");
    assert_eq!(said, "Container image \"nowhere:1\" is not present with pull policy of Never");
}

/// A mount below a read-only one is writable, unless that is read-only recursively; the status says which it is.
fn mounts_are_recursively_read_only(api: &Api<'_>) {
    let folder = api.cluster.folder.path().join("recursive");
    let below = folder.join("below");
    std::fs::create_dir_all(&below).unwrap();
    rustix::mount::mount(
        "below",
        &below,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )
    .unwrap();
    let _gone = super::folders::Unmount(folder.clone());
    let volumes = json!([{ "name": "v", "hostPath": { "path": folder } }]);
    let mount =
        |how: &str| json!([{ "name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": how }]);
    let line = "for place in /v /v/below; do busybox touch $place/new 2>/dev/null && echo written || echo refused; done";
    let rows = [
        ("Enabled", "refused\nrefused\n"),
        ("IfPossible", "refused\nrefused\n"),
        ("Disabled", "refused\nwritten\n"),
    ];
    let names = rows.map(|(how, _)| how.to_lowercase());
    let cases: Vec<Case<'_>> = rows
        .iter()
        .zip(&names)
        .map(|((how, prints), name)| (name.as_str(), 0, mount(how), line.to_owned(), (*prints).to_owned()))
        .collect();
    check(api, "recursive", &volumes, &json!({}), &cases);
    let pod = api.get(&format!("{}/recursive", api.path("v1/pods")));
    let status = |name: &str| {
        let mut all = pod["status"]["containerStatuses"].as_array().unwrap().iter();
        all.find(|one| one["name"] == name).unwrap()["volumeMounts"][0]["recursiveReadOnly"].clone()
    };
    assert_eq!((status("ifpossible"), status("disabled")), (json!("Enabled"), json!("Disabled")));
}

fn a_full_folder_evicts_its_pod(api: &Api<'_>) {
    let volumes = json!([{ "name": "v", "emptyDir": { "sizeLimit": "1Mi" } }]);
    let line = "busybox dd if=/dev/zero of=/v/file bs=64k count=32 2>/dev/null; exec sleep 100000";
    start(api, "full", &volumes, vec![shell("c", 0, &at("v", "/v"), line)], &json!({}));
    let pod = api.until("v1/pods", "full", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(pod["status"]["reason"], "Evicted");
    assert_eq!(pod["status"]["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
}

/// A folder of the node as a volume: bound when a pod needs it, its files given to the group once, as the policy says,
/// kept when the claim goes, and by its access mode for one pod only.
fn volumes_of_a_node_are_used_there(api: &Api<'_>) {
    let folder = api.cluster.folder.path().join("local");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "kept\n").unwrap();
    let nodes = api.get("/api/v1/nodes");
    let node = nodes["items"][0]["metadata"]["labels"]["kubernetes.io/hostname"].as_str().unwrap();
    let class = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "by-node" },
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" });
    api.post("/apis/storage.k8s.io/v1/storageclasses", &class);
    let terms = json!([{ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }] }]);
    let volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "of-node" },
        "spec": { "accessModes": ["ReadWriteOncePod"], "capacity": { "storage": "1Gi" }, "storageClassName": "by-node",
            "persistentVolumeReclaimPolicy": "Retain", "local": { "path": folder },
            "nodeAffinity": { "required": { "nodeSelectorTerms": terms } } } });
    api.post("/api/v1/persistentvolumes", &volume);
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "c" },
        "spec": { "accessModes": ["ReadWriteOncePod"], "storageClassName": "by-node",
            "resources": { "requests": { "storage": "1Gi" } } } });
    let claims = api.path("v1/persistentvolumeclaims");
    api.post(&claims, &claim);
    let volumes = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }]);
    let group =
        |policy: &str| json!({ "securityContext": { "fsGroup": 1234, "fsGroupChangePolicy": policy } });
    let line = "[ $(busybox stat -c %g /v/file) = 1234 ] && exec sleep 100000";
    start(api, "first", &volumes, vec![shell("c", 1000, &at("v", "/v"), line)], &group("Always"));
    runs(api, "first", "c");
    // Another pod has to wait, since one has it.
    let look = "busybox stat -c '%a %u:%g' /v /v/file";
    start(api, "second", &volumes, vec![shell("c", 1000, &at("v", "/v"), look)], &group("OnRootMismatch"));
    let unschedulable = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "PodScheduled" && one["reason"] == "Unschedulable")
    };
    let waiting = api.until("v1/pods", "second", unschedulable);
    let said = waiting["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        said.contains(
            "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
        ),
        "{said}"
    );
    // The root is the group's already: what is below stays as it is.
    std::os::unix::fs::chown(folder.join("file"), None, Some(77)).unwrap();
    api.delete(&format!("{}/first", api.path("v1/pods")), &json!({ "gracePeriodSeconds": 0 }));
    succeeds(api, "second");
    assert_eq!(log(api, "second", "c"), "2775 0:1234\n664 0:77\n");
    api.delete(&format!("{}/second", api.path("v1/pods")), &json!({ "gracePeriodSeconds": 0 }));
    api.until("v1/pods", "second", Value::is_null);
    api.delete(&format!("{claims}/c"), &Value::Null);
    let gvr = gifee_base::Gvr::core("persistentvolumes");
    api.cluster.until(&gvr, "", "of-node", |volume| volume["status"]["phase"] == "Released");
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "kept\n");
    api.delete("/api/v1/persistentvolumes/of-node", &Value::Null);
    api.delete("/apis/storage.k8s.io/v1/storageclasses/by-node", &Value::Null);
}
