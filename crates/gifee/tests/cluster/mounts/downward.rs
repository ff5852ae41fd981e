//! What a pod is told of itself in files.

use super::{Case, at, check, log, runs, shell, start, succeeds};
use crate::api::Api;
use crate::conformance::Step;
use gifee_base::Quantity;
use serde_json::{Value, json};

pub const STEPS: &[Step] = &[
    ("downward", |api| pods_are_told(api, "downwardAPI")),
    ("downward-projected", |api| pods_are_told(api, "projected")),
    ("downward-updates", |api| labels_and_annotations_follow(api, "downwardAPI")),
    ("downward-projected-updates", |api| labels_and_annotations_follow(api, "projected")),
];

fn volume(kind: &str, name: &str, mode: Option<u32>, items: &Value) -> Value {
    let mut source = if kind == "projected" {
        json!({ "sources": [{ "downwardAPI": { "items": items } }] })
    } else {
        json!({ "items": items })
    };
    if let Some(mode) = mode {
        source["defaultMode"] = mode.into();
    }
    json!({ "name": name, kind: source })
}

fn field(path: &str, field: &str) -> Value {
    json!({ "path": path, "fieldRef": { "fieldPath": field } })
}

fn resource(path: &str, container: &str, resource: &str) -> Value {
    json!({ "path": path, "resourceFieldRef": { "containerName": container, "resource": resource } })
}

/// A file, of which container, of which resource, and what it says; nothing stands for what the node can give.
const RESOURCES: &[(&str, &str, &str, &str)] = &[
    ("cpu_limit", "limited", "limits.cpu", "2"),
    ("memory_limit", "limited", "limits.memory", "67108864"),
    ("cpu_request", "limited", "requests.cpu", "1"),
    ("memory_request", "limited", "requests.memory", "33554432"),
    ("default_cpu_limit", "free", "limits.cpu", ""),
    ("default_memory_limit", "free", "limits.memory", ""),
    ("no_cpu_request", "free", "requests.cpu", "0"),
];

fn pods_are_told(api: &Api<'_>, kind: &str) {
    let nodes = api.get("/api/v1/nodes");
    let allocatable = |name: &str| {
        let amount = nodes["items"][0]["status"]["allocatable"][name].as_str().unwrap();
        let amount = amount.parse::<Quantity>().unwrap();
        // Rounded up.
        if name == "cpu" { (amount.milli() + 999) / 1000 } else { amount.value() }
    };
    let mut items = vec![
        field("podname", "metadata.name"),
        field("deep/uid", "metadata.uid"),
        json!({ "path": "item-mode", "mode": 0o400, "fieldRef": { "fieldPath": "metadata.namespace" } }),
        field("one-label", "metadata.labels['key2']"),
        field("one-annotation", "metadata.annotations['builder']"),
        field("labels", "metadata.labels"),
    ];
    items.extend(RESOURCES.iter().map(|(file, container, name, _)| resource(file, container, name)));
    let volumes = json!([
        volume(kind, "v", None, &json!(items)),
        volume(kind, "default-mode", Some(0o400), &json!(items[..1]))
    ]);
    let reads = |file: &str| format!("echo $(cat /v/{file}) $(busybox stat -Lc %a /v/{file}); ");
    let files = ["podname", "item-mode", "one-label", "one-annotation"].into_iter();
    let files = files.chain(RESOURCES.iter().map(|(file, ..)| *file));
    let line: String = files.map(reads).chain(["cat /v/labels".to_owned()]).collect();
    let mut prints = format!("told 644\n{} 400\nvalue2 644\nbar 644\n", api.namespace);
    for (_, _, name, value) in RESOURCES {
        let value = if value.is_empty() {
            allocatable(name.trim_start_matches("limits.")).to_string()
        } else {
            (*value).to_owned()
        };
        prints.push_str(&format!("{value} 644\n"));
    }
    prints.push_str("key1=\"value1\"\nkey2=\"value2\"");
    let mut limited = shell("limited", 0, &at("v", "/v"), &line);
    limited["resources"] = json!({ "requests": { "cpu": "250m", "memory": "32Mi" }, "limits": { "cpu": "1250m", "memory": "64Mi" } });
    let free = shell("free", 0, &at("default-mode", "/v"), &reads("podname"));
    start(api, "told", &volumes, vec![limited, free], &json!({}));
    succeeds(api, "told");
    assert_eq!(log(api, "told", "limited"), prints);
    assert_eq!(log(api, "told", "free"), "told 400\n");

    let more = json!({ "securityContext": { "fsGroup": 1001 } });
    let volumes = json!([volume(kind, "v", Some(0o440), &json!(items[..1]))]);
    let line = "echo $(cat /v/podname) $(busybox stat -Lc '%a %u:%g' /v/podname)";
    let case: Case<'_> = ("c", 1000, at("v", "/v"), line.into(), "grouped 440 0:1001\n".into());
    check(api, "grouped", &volumes, &more, &[case]);
}

fn labels_and_annotations_follow(api: &Api<'_>, kind: &str) {
    let items = json!([field("labels", "metadata.labels"), field("annotations", "metadata.annotations")]);
    let volumes = json!([volume(kind, "v", None, &items)]);
    let once = |text: &str, file: &str| super::files::once(&format!("busybox grep -qF '{text}' /v/{file}"));
    let before =
        "busybox grep -qF 'key1=\"value1\"' /v/labels && busybox grep -qF 'builder=\"bar\"' /v/annotations";
    let containers = vec![
        shell("labels", 0, &at("v", "/v"), &format!("{}; cat /v/labels", once("key3=\"value3\"", "labels"))),
        shell(
            "annotations",
            0,
            &at("v", "/v"),
            &format!("{}; echo changed", once("builder=\"foo\"", "annotations")),
        ),
    ];
    let first = shell("before", 0, &at("v", "/v"), before);
    start(api, "follows", &volumes, containers, &json!({ "initContainers": [first] }));
    runs(api, "follows", "labels");
    runs(api, "follows", "annotations");
    let change =
        json!({ "metadata": { "labels": { "key3": "value3" }, "annotations": { "builder": "foo" } } });
    api.patch(&format!("{}/follows", api.path("v1/pods")), &change);
    succeeds(api, "follows");
    assert_eq!(log(api, "follows", "labels"), "key1=\"value1\"\nkey2=\"value2\"\nkey3=\"value3\"");
    assert_eq!(log(api, "follows", "annotations"), "changed\n");
}
