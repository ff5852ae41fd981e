//! Volumes in real containers.

use gifee_base::{Gvr, ObjectKey};
use serde_json::json;

use crate::machine::Machine;

pub async fn content_follows() {
    let machine = Machine::new().await;
    machine.fake.put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "page", "namespace": "default"}, "data": {"text": "old"}}));
    machine.pod(
        "reader",
        json!({"securityContext": {"fsGroup": 77, "runAsUser": 5},
            "volumes": [{"name": "page", "configMap": {"name": "page"}}, {"name": "scratch", "emptyDir": {}},
                {"name": "all", "projected": {"sources": [{"configMap": {"name": "page", "items": [{"key": "text", "path": "a/b"}]}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}],
            "containers": [{"name": "main",
                "command": ["sh", "-c", "cat /all/labels; echo; echo x > /scratch/mine; echo x > /part/file; while test \"$(cat /page/text)\" = old -o \"$(cat /all/a/b)\" = old; do sleep 0.05; done; echo $(cat /page/text /all/a/b); exec sleep 1000"],
                "volumeMounts": [{"name": "page", "mountPath": "/page"}, {"name": "all", "mountPath": "/all"},
                    {"name": "scratch", "mountPath": "/scratch"}, {"name": "scratch", "mountPath": "/part", "subPath": "deep/er"}]}]}),
    );
    machine.phase("reader", "Running").await;
    machine.wait("reader", |_| machine.log("reader", "main", 0).contains("app=")).await;
    let key = ObjectKey::new("default", "page");
    machine.fake.change(&Gvr::core("configmaps"), &key, |map| map["data"]["text"] = json!("new"));
    machine.wait("reader", |_| machine.log("reader", "main", 0).contains("newnew")).await;
    let log = machine.log("reader", "main", 0);
    assert!(log.starts_with("app=\"reader\"\n"), "{log}");
    assert!(!log.contains("denied"), "{log}");
    machine.clean().await;
}
