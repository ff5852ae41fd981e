//! ConfigMaps and Secrets as files, by themselves and projected.

use super::{Case, at, check, log, runs, shell, start, succeeds};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

pub const STEPS: &[Step] = &[
    ("config-maps", |api| objects_are_files(api, "configMap")),
    ("secrets", |api| objects_are_files(api, "secret")),
    ("projected-config-maps", |api| objects_are_files(api, "projected configMap")),
    ("projected-secrets", |api| objects_are_files(api, "projected secret")),
    ("config-map-updates", |api| files_follow_objects(api, "configMap")),
    ("secret-updates", |api| files_follow_objects(api, "secret")),
    ("projected-config-map-updates", |api| files_follow_objects(api, "projected configMap")),
    ("projected-secret-updates", |api| files_follow_objects(api, "projected secret")),
    ("projected-together", all_sources_come_together),
    ("side-by-side", secrets_and_config_maps_do_not_conflict),
    ("races", many_volumes_do_not_race),
    ("many", ten_thousand_files),
    ("missing", what_is_missing_is_waited_for),
    ("trust", trust_anchors_follow_their_bundles),
];

/// Makes a ConfigMap or a Secret, with text in it.
fn object(kind: &str, name: &str, data: &Value) -> (&'static str, Value) {
    if kind.ends_with("ecret") {
        let body =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        ("v1/secrets", body)
    } else {
        let body =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data });
        ("v1/configmaps", body)
    }
}

fn make(api: &Api<'_>, kind: &str, name: &str, data: &Value) {
    let (resource, body) = object(kind, name, data);
    api.post(&api.path(resource), &body);
}

/// A volume of an object; `with` has its items, modes and whether it may be missing.
fn volume(kind: &str, volume: &str, object: &str, with: &Value) -> Value {
    let mut source = with.clone();
    let Some(kind) = kind.strip_prefix("projected ") else {
        source[if kind == "secret" { "secretName" } else { "name" }] = object.into();
        return json!({ "name": volume, kind: source });
    };
    source["name"] = object.into();
    let mode = source.as_object_mut().unwrap().remove("defaultMode").unwrap_or_default();
    let mut projected = json!({ "sources": [{ kind: source }] });
    if !mode.is_null() {
        projected["defaultMode"] = mode;
    }
    json!({ "name": volume, "projected": projected })
}

/// A name, as whom it runs, what the volume is like, the file, and what that is.
const FILES: &[(&str, u32, &str, &str, &str)] = &[
    ("as-it-is", 0, "{}", "data-1", "value-1 644 0:0"),
    ("default-mode", 0, r#"{"defaultMode": 256}"#, "data-1", "value-1 400 0:0"),
    ("non-root", 1000, "{}", "data-1", "value-1 644 0:0"),
    (
        "mappings",
        0,
        r#"{"items": [{"key": "data-2", "path": "path/to/data-2"}]}"#,
        "path/to/data-2",
        "value-2 644 0:0",
    ),
    (
        "item-mode",
        0,
        r#"{"items": [{"key": "data-2", "path": "path/to/data-2", "mode": 256}]}"#,
        "path/to/data-2",
        "value-2 400 0:0",
    ),
    (
        "mappings-non-root",
        1000,
        r#"{"items": [{"key": "data-2", "path": "path/to/data-2"}]}"#,
        "path/to/data-2",
        "value-2 644 0:0",
    ),
    (
        "special-bits",
        0,
        r#"{"defaultMode": 420, "items": [{"key": "data-3", "path": "a", "mode": 511}]}"#,
        "a",
        "value-3 777 0:0",
    ),
];
/// The same with a group that owns files.
const GROUPED: &[(&str, u32, &str, &str, &str)] = &[
    ("group-mode", 1000, r#"{"defaultMode": 288}"#, "data-1", "value-1 440 0:1001"),
    ("group", 1000, "{}", "data-1", "value-1 644 0:1001"),
    ("group-may-read", 1000, r#"{"defaultMode": 256}"#, "data-1", "value-1 440 0:1001"),
    (
        "group-mappings",
        1000,
        r#"{"items": [{"key": "data-2", "path": "path/to/data-2"}]}"#,
        "path/to/data-2",
        "value-2 644 0:1001",
    ),
];

fn objects_are_files(api: &Api<'_>, kind: &str) {
    let name = "same-name";
    make(api, kind, name, &json!({ "data-1": "value-1", "data-2": "value-2", "data-3": "value-3" }));
    // Another of the same name elsewhere is another.
    let other = Api::new(api.cluster, &format!("{}-other", api.namespace));
    make(&other, kind, name, &json!({ "data-1": "something else", "data-2": "something else" }));
    let (resource, mut fixed) = object(kind, "fixed", &json!({ "data-1": "value-1" }));
    fixed["immutable"] = true.into();
    if resource == "v1/configmaps" {
        fixed["binaryData"] = json!({ "dump.bin": "3sr+utD+/w==" });
    } else {
        fixed["data"] = json!({ "dump.bin": "3sr+utD+/w==" });
    }
    api.post(&api.path(resource), &fixed);

    for (pod, table, more) in
        [("files", FILES, json!({})), ("grouped", GROUPED, json!({ "securityContext": { "fsGroup": 1001 } }))]
    {
        let (mut volumes, mut cases) = (Vec::new(), Vec::<Case<'_>>::new());
        for (case, user, with, file, is) in table {
            volumes.push(volume(kind, case, name, &serde_json::from_str(with).unwrap()));
            let line = format!("echo $(cat /v/{file}) $(busybox stat -Lc '%a %u:%g' /v/{file})");
            cases.push((case, *user, at(case, "/v"), line, format!("{is}\n")));
        }
        if pod == "files" {
            volumes.push(volume(kind, "again", name, &json!({})));
            let mounts = json!([{ "name": "as-it-is", "mountPath": "/v", "readOnly": true },
                { "name": "again", "mountPath": "/w", "readOnly": true }]);
            cases.push(("multiple", 0, mounts, "cat /v/data-1 /w/data-1".into(), "value-1value-1".into()));
            // Containers may not write, whatever they ask for.
            let line = "for f in new data-1; do busybox touch /v/$f 2>/dev/null && echo $f; done; busybox stat -c '%a %u:%g' /v";
            cases.push(("kept", 0, at("as-it-is", "/v"), line.into(), "777 0:0\n".into()));
            volumes.push(volume(kind, "fixed", "fixed", &json!({})));
            let line = "busybox hexdump -C /v/dump.bin | head -n 1; cat /v/data-1";
            let bytes = "00000000  de ca fe ba d0 fe ff                              |.......|\nvalue-1";
            cases.push(("binary", 0, at("fixed", "/v"), line.into(), bytes.into()));
        }
        check(api, pod, &json!(volumes), &more, &cases);
    }
}

/// A shell that goes on as soon as something is so, however long that takes.
pub(super) fn once(condition: &str) -> String {
    format!("until {condition}; do busybox usleep 50000; done 2>/dev/null")
}

fn files_follow_objects(api: &Api<'_>, kind: &str) {
    let optional = json!({ "optional": true });
    let names = ["changed", "replaced", "deleted", "created"];
    for name in &names[..3] {
        make(api, kind, name, &json!({ "data-1": "value-1", "data-2": "value-1" }));
    }
    let volumes: Vec<Value> = names.iter().map(|name| volume(kind, name, name, &optional)).collect();
    let mounts: Vec<Value> =
        names.iter().map(|name| json!({ "name": name, "mountPath": format!("/{name}") })).collect();
    let mut with_part = mounts.clone();
    with_part.push(json!({ "name": "changed", "mountPath": "/part", "subPath": "data-1" }));
    let before = "test $(cat /changed/data-1) = value-1 && test $(cat /replaced/data-1) = value-1 && \
        test $(cat /deleted/data-1) = value-1 && ! test -e /created/data-1 && ! test -e /replaced/data-3";
    let cases = [
        // Whoever looks where the link leads sees both as they belong together; a part stays as it was.
        (
            "changed",
            "while d=/changed/$(busybox readlink /changed/..data); a=$(cat $d/data-1); b=$(cat $d/data-2); \
                 [ \"$a\" != value-2 ]; do [ \"$a\" = \"$b\" ] || ! [ -e $d/data-2 ] || exit 1; busybox usleep 20000; done 2>/dev/null; \
                 echo $a $b $(cat /changed/data-1) $(cat /part)"
                .to_owned(),
            "value-2 value-2 value-2 value-1\n",
        ),
        (
            "replaced",
            format!(
                "{}; ! test -e /replaced/data-1 && echo gone",
                once("[ \"$(cat /replaced/data-3)\" = value-3 ]")
            ),
            "gone\n",
        ),
        ("deleted", format!("{}; echo gone", once("! [ -e /deleted/data-1 ]")), "gone\n"),
        ("created", format!("{}; echo there", once("[ \"$(cat /created/data-1)\" = value-1 ]")), "there\n"),
    ];
    let containers = cases.iter().map(|(name, line, _)| shell(name, 1000, &json!(with_part), line)).collect();
    let first = shell("before", 1000, &json!(mounts), before);
    start(api, "follows", &json!(volumes), containers, &json!({ "initContainers": [first] }));
    for (name, ..) in &cases {
        runs(api, "follows", name);
    }
    let (resource, _) = object(kind, "", &Value::Null);
    let path = |name: &str| format!("{}/{name}", api.path(resource));
    let (_, changed) = object(kind, "changed", &json!({ "data-1": "value-2", "data-2": "value-2" }));
    api.put(&path("changed"), &changed);
    let (_, replaced) = object(kind, "replaced", &json!({ "data-3": "value-3" }));
    api.put(&path("replaced"), &replaced);
    api.delete(&path("deleted"), &Value::Null);
    make(api, kind, "created", &json!({ "data-1": "value-1" }));
    succeeds(api, "follows");
    for (name, _, prints) in &cases {
        assert_eq!(log(api, "follows", name), *prints, "{name}");
    }
}

fn all_sources_come_together(api: &Api<'_>) {
    make(api, "configMap", "map", &json!({ "configmap-data": "configmap-value-1" }));
    make(api, "secret", "secret", &json!({ "secret-data": "secret-value-1" }));
    let name = json!({ "items": [{ "path": "podname", "fieldRef": { "fieldPath": "metadata.name" } }] });
    let sources = json!([{ "downwardAPI": name }, { "secret": { "name": "secret" } }, { "configMap": { "name": "map" } },
        { "serviceAccountToken": { "path": "token", "audience": "somebody" } }]);
    let volumes = json!([{ "name": "all", "projected": { "sources": sources } }]);
    let line = "echo $(cat /all/podname) $(cat /all/secret-data) $(cat /all/configmap-data); \
        cat /all/token | busybox tr -cd . | wc -c";
    let prints = "together secret-value-1 configmap-value-1\n2\n".to_owned();
    check(api, "together", &volumes, &json!({}), &[("c", 0, at("all", "/all"), line.into(), prints)]);
}

fn secrets_and_config_maps_do_not_conflict(api: &Api<'_>) {
    for kind in ["configMap", "secret"] {
        make(api, kind, "wrapped", &json!({ "data-1": "value-1\n" }));
    }
    let volumes = json!([
        volume("secret", "s", "wrapped", &json!({})),
        volume("configMap", "m", "wrapped", &json!({}))
    ]);
    let mounts = json!([{ "name": "s", "mountPath": "/etc/secret-volume", "readOnly": true },
        { "name": "m", "mountPath": "/etc/configmap-volume" }]);
    let line = "cat /etc/secret-volume/data-1 /etc/configmap-volume/data-1";
    check(api, "both", &volumes, &json!({}), &[("c", 0, mounts, line.into(), "value-1\nvalue-1\n".into())]);
}

fn many_volumes_do_not_race(api: &Api<'_>) {
    let names: Vec<String> = (0..50).map(|number| format!("racey-configmap-{number}")).collect();
    let item = json!({ "items": [{ "key": "data-1", "path": "data-1" }] });
    for name in &names {
        make(api, "configMap", name, &json!({ "data-1": "value-1" }));
    }
    let volumes: Vec<Value> = names.iter().map(|name| volume("configMap", name, name, &item)).collect();
    let mounts = names.iter().enumerate();
    let mounts =
        mounts.map(|(number, name)| json!({ "name": name, "mountPath": format!("/etc/config-{number}") }));
    let mounts: Vec<Value> = mounts.collect();
    let line = "cat /etc/config-*/data-1 | wc -c; exec sleep 100000";
    let template = json!({ "metadata": { "labels": { "name": "wrapped" } }, "spec": {
        "terminationGracePeriodSeconds": 0, "dnsPolicy": "Default", "volumes": volumes,
        "containers": [shell("c", 0, &json!(mounts), line)] } });
    let controller = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "wrapped" },
        "spec": { "replicas": 5, "selector": { "name": "wrapped" }, "template": template } });
    api.post(&api.path("v1/replicationcontrollers"), &controller);
    let running = |pods: &[Value]| pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count() == 5;
    let pods = api.until_all("v1/pods", "name=wrapped", running);
    for pod in &pods {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(*restarts, 0, "{}", pod["metadata"]["name"]);
    }
    let options = json!({ "propagationPolicy": "Background" });
    api.delete(&format!("{}/wrapped", api.path("v1/replicationcontrollers")), &options);
    api.until_all("v1/pods", "name=wrapped", <[Value]>::is_empty);
}

fn ten_thousand_files(api: &Api<'_>) {
    let data: serde_json::Map<String, Value> =
        (0..10_000).map(|number| (format!("key-{number}"), format!("value-{number}").into())).collect();
    make(api, "configMap", "many", &Value::Object(data));
    let line = "busybox ls /v | wc -l; cat /v/key-9999";
    let cases: [Case<'_>; 1] = [("c", 0, at("v", "/v"), line.into(), "10000\nvalue-9999".into())];
    check(api, "many", &json!([volume("configMap", "v", "many", &json!({}))]), &json!({}), &cases);
}

/// The certificates of bundles, of one by its name and of all of a signer that have a label: each once, and the new ones.
fn trust_anchors_follow_their_bundles(api: &Api<'_>) {
    let certificate = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap().pem()
    };
    let (first, second) = (certificate(), certificate());
    let bundles = "/apis/certificates.k8s.io/v1/clustertrustbundles";
    let bundle = |name: &str, signer: Value, text: &str| {
        json!({ "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
            "metadata": { "name": name, "labels": { "live": "yes" } },
            "spec": { "signerName": signer, "trustBundle": text } })
    };
    api.post(bundles, &bundle("mounts", Value::Null, &first));
    api.post(bundles, &bundle("example.com:mounts:one", json!("example.com/mounts"), &first));
    let source = |source: Value| json!({ "clusterTrustBundle": source });
    let all = json!({ "matchLabels": { "live": "yes" } });
    let sources = [
        source(json!({ "name": "mounts", "path": "by-name" })),
        source(json!({ "signerName": "example.com/mounts", "labelSelector": all, "path": "by-signer" })),
        source(json!({ "name": "nobody", "path": "nothing", "optional": true })),
        source(json!({ "signerName": "example.com/mounts", "path": "unselected", "optional": true })),
    ];
    let volumes = json!([{ "name": "v", "projected": { "sources": sources } }]);
    let count = |file: &str, number: u32| format!("[ $(busybox grep -c BEGIN /v/{file}) = {number} ]");
    let before = format!(
        "{} && {} && ! [ -s /v/nothing ] && ! [ -s /v/unselected ]",
        count("by-name", 1),
        count("by-signer", 1)
    );
    let lines = ["by-name", "by-signer"].map(|file| (file, format!("{}; echo both", once(&count(file, 2)))));
    let containers = lines.iter().map(|(name, line)| shell(name, 0, &at("v", "/v"), line)).collect();
    start(
        api,
        "trusts",
        &volumes,
        containers,
        &json!({ "initContainers": [shell("before", 0, &at("v", "/v"), &before)] }),
    );
    runs(api, "trusts", "by-name");
    runs(api, "trusts", "by-signer");
    api.patch(
        &format!("{bundles}/mounts"),
        &json!({ "spec": { "trustBundle": format!("{second}{first}") } }),
    );
    api.post(
        bundles,
        &bundle("example.com:mounts:two", json!("example.com/mounts"), &format!("{first}{second}")),
    );
    succeeds(api, "trusts");
    let missing = json!([{ "name": "v", "projected": { "sources": [source(json!({ "name": "nobody", "path": "p" }))] } }]);
    start(api, "waits", &missing, vec![shell("c", 0, &at("v", "/v"), "true")], &json!({}));
    let said = super::unmounted(api, "waits");
    assert!(said.ends_with("clustertrustbundle.certificates.k8s.io \"nobody\" not found"), "{said}");
}

/// A pod waits for what its volumes name, says so, and goes on when it is there; keys as well as objects.
fn what_is_missing_is_waited_for(api: &Api<'_>) {
    for kind in ["configMap", "secret"] {
        let name = kind.to_lowercase();
        let key = json!({ "items": [{ "key": "data-2", "path": "file" }] });
        let volumes = json!([volume(kind, "v", &name, &key)]);
        let pod = format!("waits-for-{name}");
        start(api, &pod, &volumes, vec![shell("c", 0, &at("v", "/v"), "cat /v/file")], &json!({}));
        let said = super::unmounted(api, &pod);
        let wanted = format!("MountVolume.SetUp failed for volume \"v\" : {name} \"{name}\" not found");
        assert_eq!(said, wanted);
        make(api, kind, &name, &json!({ "data-1": "value-1" }));
        let lacks =
            format!("references non-existent {} key", if kind == "secret" { "secret" } else { "config" });
        api.until_all("v1/events", "", |events| {
            let of = |event: &Value| event["involvedObject"]["name"] == pod;
            events
                .iter()
                .any(|event| of(event) && event["message"].as_str().unwrap_or_default().contains(&lacks))
        });
        let (resource, body) = object(kind, &name, &json!({ "data-2": "value-2" }));
        api.put(&format!("{}/{name}", api.path(resource)), &body);
        succeeds(api, &pod);
        assert_eq!(log(api, &pod, "c"), "value-2");
    }
}
