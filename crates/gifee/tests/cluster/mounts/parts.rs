//! Parts of volumes (`subPath`), and attempts to get out of one.

use super::{Case, at, check, log, runs, shell, start, succeeds, waits};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

pub const STEPS: &[Step] = &[
    ("parts", files_of_volumes_are_mounted),
    ("parts-of-folders", folders_of_volumes_are_mounted),
    ("escapes", parts_stay_in_their_volumes),
    ("escapes-later", what_is_exchanged_later_leads_nowhere),
    ("logs", links_in_place_of_logs_are_not_read),
    ("restarts", a_container_starts_again_with_its_part),
];

/// Why a container waits that cannot be made of what it asks for.
const CONFIG: &str = "CreateContainerConfigError";

/// What upstream calls atomic writer volumes: each as a file, in a file of its own and over one of the image.
fn files_of_volumes_are_mounted(api: &Api<'_>) {
    api.post(
        &api.path("v1/configmaps"),
        &json!({ "metadata": { "name": "my-configmap" }, "data": { "configmap-key": "configmap-value" } }),
    );
    api.post(
        &api.path("v1/secrets"),
        &json!({ "metadata": { "name": "my-secret" }, "stringData": { "secret-key": "secret-value" } }),
    );
    let map = json!({ "name": "my-configmap", "items": [{ "key": "configmap-key", "path": "projected/configmap-key" }] });
    let volumes = json!([
        { "name": "secret", "secret": { "secretName": "my-secret" } },
        { "name": "configmap", "configMap": { "name": "my-configmap" } },
        { "name": "downward", "downwardAPI": { "items": [
            { "path": "downward/podname", "fieldRef": { "fieldPath": "metadata.name" } }] } },
        { "name": "projected", "projected": { "sources": [{ "configMap": map }] } },
    ]);
    let rows = [
        ("secret", "secret", "secret-key", "/test-volume", "secret-value"),
        ("configmap", "configmap", "configmap-key", "/test-volume", "configmap-value"),
        ("existing-file", "configmap", "configmap-key", "/etc/resolv.conf", "configmap-value"),
        ("downward", "downward", "downward/podname", "/test-volume", "atomic"),
        ("projected", "projected", "projected/configmap-key", "/test-volume", "configmap-value"),
        ("folder", "projected", "projected", "/test-volume", "configmap-value"),
    ];
    let cases = rows.map(|(name, volume, part, path, prints)| {
        let mounts = json!([{ "name": volume, "mountPath": path, "subPath": part },
            { "name": volume, "mountPath": "/probe-volume" }]);
        let file = if name == "folder" { "/configmap-key" } else { "" };
        let line = format!("cat {path}{file} && test -e /probe-volume/{part} && ! echo x > /probe-volume/x");
        let line = format!("({line}) 2>/dev/null");
        (name, 1000, mounts, line, prints.to_owned())
    });
    check(api, "atomic", &volumes, &json!({}), &cases);
}

fn folders_of_volumes_are_mounted(api: &Api<'_>) {
    let folder = api.cluster.folder.path().join("parts");
    std::fs::create_dir_all(folder.join("there/deep")).unwrap();
    std::fs::write(folder.join("there/file"), "there\n").unwrap();
    std::os::unix::fs::symlink("there/deep", folder.join("link")).unwrap();
    let volumes = json!([{ "name": "v", "hostPath": { "path": folder } }, { "name": "e", "emptyDir": {} }]);
    let part = |volume: &str, part: &str, more: &Value| {
        let mut mount = json!({ "name": volume, "mountPath": "/v" });
        for (field, value) in
            json!({ "subPath": part }).as_object().unwrap().iter().chain(more.as_object().unwrap())
        {
            mount[field] = value.clone();
        }
        json!([mount])
    };
    let plain = json!({});
    let readonly = json!({ "readOnly": true });
    let write = |file: &str| format!("echo word 2>/dev/null > {file} && cat {file}");
    let rows = [
        ("folder", part("v", "there", &plain), "cat /v/file".to_owned(), "there\n"),
        ("file", part("v", "there/file", &plain), "cat /v".to_owned(), "there\n"),
        ("link", part("v", "link", &plain), write("/v/word"), "word\n"),
        ("new", part("v", "new/deep", &plain), write("/v/word"), "word\n"),
        ("new-in-empty", part("e", "a/b/c", &plain), write("/v/word"), "word\n"),
        (
            "readonly",
            part("v", "there", &readonly),
            "cat /v/file; busybox touch /v/new 2>/dev/null || echo refused".to_owned(),
            "there\nrefused\n",
        ),
    ];
    let mut cases: Vec<Case<'_>> = rows
        .into_iter()
        .map(|(name, mounts, line, prints)| (name, 0, mounts, line, prints.to_owned()))
        .collect();
    let several = json!([{ "name": "e", "mountPath": "/one", "subPath": "one" }, { "name": "e", "mountPath": "/two", "subPath": "two" },
        { "name": "e", "mountPath": "/all" }]);
    let line = "echo 1 > /one/file; echo 2 > /two/file; cat /all/one/file /all/two/file";
    cases.push(("several", 0, several, line.into(), "1\n2\n".into()));
    check(api, "folders", &volumes, &json!({}), &cases);
    assert_eq!(std::fs::read_to_string(folder.join("new/deep/word")).unwrap(), "word\n");
    assert_eq!(std::fs::read_to_string(folder.join("there/deep/word")).unwrap(), "word\n");

    // By a pattern of variables.
    let mut by_name = shell(
        "c",
        0,
        &json!([{ "name": "v", "mountPath": "/v", "subPathExpr": "logs/$(POD_NAME)" }]),
        "echo named > /v/word",
    );
    by_name["env"] =
        json!([{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    start(api, "by-name", &volumes, vec![by_name], &json!({}));
    succeeds(api, "by-name");
    assert_eq!(std::fs::read_to_string(folder.join("logs/by-name/word")).unwrap(), "named\n");
}

/// A link out of the volume, however it is made, is not followed: the container is not made, and nothing of the host is.
fn parts_stay_in_their_volumes(api: &Api<'_>) {
    let outside = api.cluster.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "not yours").unwrap();
    let outside_text = outside.to_string_lossy();
    let volumes = json!([{ "name": "v", "emptyDir": {} }]);
    let escapes = [
        ("folder", outside_text.to_string(), "out", true),
        ("file", format!("{outside_text}/file"), "out", true),
        ("new", outside_text.to_string(), "out/new", false),
        ("up", "../../../../../../../../../../../../../../../../etc".to_owned(), "out", true),
        ("up-new", "../..".to_owned(), "out/new", false),
        ("proc", concat!("/proc/self/ro", "ot/etc").to_owned(), "out", true),
        ("dangling", format!("{outside_text}/made"), "out", false),
    ];
    for (name, target, part, _) in &escapes {
        let first = shell("first", 0, &at("v", "/v"), &format!("busybox ln -s {target} /v/out"));
        let mount = json!([{ "name": "v", "mountPath": "/v", "subPath": part }]);
        let containers = vec![shell("c", 0, &mount, "busybox ls /v; echo > /v/written")];
        start(api, name, &volumes, containers, &json!({ "initContainers": [first] }));
    }
    for (name, _, _, exists) in escapes {
        let what = if exists { "prepare subPath" } else { "create subPath directory" };
        let said = waits(api, name, "c", CONFIG);
        assert_eq!(said, format!("failed to {what} for volumeMount \"v\" of container \"c\""), "{name}");
    }
    let left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
    // What names a way out is not even taken.
    let mount = |field: &str, part: &str| json!([{ "name": "v", "mountPath": "/v", field: part }]);
    for (field, part) in
        [("subPath", "../x"), ("subPath", "/etc"), ("subPath", "a/../../b"), ("subPathExpr", "../x")]
    {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "refused" },
            "spec": { "volumes": volumes, "containers": [shell("c", 0, &mount(field, part), "true")] } });
        assert_eq!(api.refused(&api.path("v1/pods"), &pod).code, 422, "{field} {part}");
    }
    // A variable that holds one is found out when it is known.
    let mut late = shell("c", 0, &mount("subPathExpr", "$(WAY)"), "true");
    late["env"] = json!([{ "name": "WAY", "value": "../../x" }]);
    start(api, "late", &volumes, vec![late], &json!({}));
    let said = waits(api, "late", "c", CONFIG);
    assert_eq!(said, "unable to provision SubPath `../../x`: must not contain '..'");
}

/// The part was opened when the container was made: exchanging what is in the volume afterwards leads nobody away, and
/// a link that one container makes is followed by another inside of its own file system.
fn what_is_exchanged_later_leads_nowhere(api: &Api<'_>) {
    let volumes = json!([{ "name": "v", "emptyDir": {} }]);
    let part = json!([{ "name": "v", "mountPath": "/part", "subPath": "part" }]);
    let victim =
        shell("victim", 0, &part, &format!("{}; busybox ls /part", super::files::once("[ -e /part/end ]")));
    let attacker = shell(
        "attacker",
        0,
        &at("v", "/v"),
        "cd /v; busybox mv part kept; busybox ln -s /etc part; busybox ln -s /etc kept/link; echo > kept/end",
    );
    let first = shell("first", 0, &at("v", "/v"), "busybox mkdir /v/part");
    start(api, "exchange", &volumes, vec![victim, attacker], &json!({ "initContainers": [first] }));
    // Whichever is made first: the victim sees its folder, or is refused.
    let ended = |pod: &Value| pod["status"]["phase"] == "Succeeded";
    let refused = |pod: &Value| {
        let mut all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        all.any(|one| one["state"]["waiting"]["reason"] == "CreateContainerConfigError")
    };
    let pod = api.until("v1/pods", "exchange", |pod| ended(pod) || refused(pod));
    if ended(&pod) {
        assert_eq!(log(api, "exchange", "victim"), "end\nlink\n");
    }
}

/// Who may write to the folder of logs cannot have another file of the host read or written as a log.
fn links_in_place_of_logs_are_not_read(api: &Api<'_>) {
    let outside = api.cluster.folder.path().join("not-a-log");
    std::fs::write(&outside, "2026-01-01T00:00:00.000000000Z stdout F not yours\n").unwrap();
    let logs = api.cluster.data_dir.join("kubelet/logs");
    let volumes = json!([{ "name": "logs", "hostPath": { "path": logs } }]);
    let line = format!(
        "echo mine; cd /logs/$NAMESPACE_$NAME_$UID/c && busybox mv 0.log kept.log && busybox ln -s {} 0.log && echo linked > /dev/termination-log",
        outside.display()
    );
    let mut one = shell(
        "c",
        0,
        &at("logs", "/logs"),
        &line.replace("$NAMESPACE_$NAME_$UID", "${NAMESPACE}_${NAME}_${UID}"),
    );
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    one["env"] = json!([
        field("NAMESPACE", "metadata.namespace"),
        field("NAME", "metadata.name"),
        field("UID", "metadata.uid")
    ]);
    start(api, "links", &volumes, vec![one], &json!({}));
    let pod = succeeds(api, "links");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"], "linked\n");
    assert_eq!(log(api, "links", "c"), "");
}

/// A part of a ConfigMap that changed meanwhile, and one that is a file: a container that ends is started again.
fn a_container_starts_again_with_its_part(api: &Api<'_>) {
    let maps = api.path("v1/configmaps");
    let body = |text: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m" }, "data": { "key": text } });
    api.post(&maps, &body("old"));
    let volumes = json!([{ "name": "m", "configMap": { "name": "m" } }, { "name": "e", "emptyDir": {} }]);
    let mounts = json!([{ "name": "m", "mountPath": "/file", "subPath": "key" }, { "name": "m", "mountPath": "/all" },
        { "name": "e", "mountPath": "/runs", "subPath": "runs" }]);
    let line = format!(
        "cat /file >> /runs/log; echo >> /runs/log; [ $(cat /file) = new ] && {{ cat /runs/log; exit 0; }}; {}; exit 1",
        super::files::once("[ $(cat /all/key) = new ]")
    );
    let containers = vec![shell("c", 0, &mounts, &line)];
    start(api, "again", &volumes, containers, &json!({ "restartPolicy": "OnFailure" }));
    runs(api, "again", "c");
    api.put(&format!("{maps}/m"), &body("new"));
    succeeds(api, "again");
    assert_eq!(log(api, "again", "c"), "old\nnew\n");
}
