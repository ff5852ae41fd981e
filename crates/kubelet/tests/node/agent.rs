//! The agent itself: registration, restarts, many pods.

use std::time::{Duration, Instant};

use gifee_base::{Gvr, ObjectKey};
use gifee_oci::Runtime;
use serde_json::{Value, json};

use crate::machine::Machine;

fn ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

pub async fn registers() {
    let machine = Machine::new().await;
    machine.port().await;
    let node = machine.fake.object(&Gvr::core("nodes"), &ObjectKey::cluster("node")).unwrap();
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node");
    let conditions = node["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"), "{conditions:?}");
    assert_eq!(node["status"]["capacity"]["pods"], "110");
    let lease = ObjectKey::new("kube-node-lease", "node");
    let leases = Gvr::new("coordination.k8s.io", "v1", "leases");
    let held = |lease: &Value| lease["spec"]["holderIdentity"] == "node";
    machine.until(|| machine.fake.object(&leases, &lease), held).await;
    machine.clean().await;
}

pub async fn survives_restart() {
    let mut machine = Machine::new().await;
    let folder = machine.folder.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let ready_probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 3});
    machine.pod("stays", json!({"containers": [{"name": "main", "command": ["sleep", "1000"], "readinessProbe": ready_probe}]}));
    machine.pod("leaves", json!({"containers": [{"name": "main", "command": ["sleep", "1000"]}]}));
    machine.pod(
        "ends",
        json!({"restartPolicy": "Never", "volumes": [{"name": "out", "hostPath": {"path": folder}}],
            "containers": [{"name": "main", "volumeMounts": [{"name": "out", "mountPath": "/out"}],
                "command": ["sh", "-c", "until test -e /out/end; do sleep 0.05; done"]}]}),
    );
    let before = machine.wait("stays", ready).await;
    machine.wait("leaves", ready).await;
    machine.phase("ends", "Running").await;
    machine.kill_agent().await;
    // While nobody looks one pod is removed, and another ends.
    machine.fake.remove(&Gvr::core("pods"), &ObjectKey::new("default", "leaves"));
    std::fs::write(folder.join("end"), "").unwrap();
    machine.fake.writes();
    machine.start().await;
    machine.phase("ends", "Succeeded").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = machine.get("stays").unwrap();
    assert_eq!(before["status"].to_string(), after["status"].to_string(), "nothing of it changed");
    let written = machine.fake.writes();
    assert!(!written.iter().any(|write| write.contains("pods/stays")), "{written:?}");
    machine.clean().await;
}

pub async fn many() {
    let machine = Machine::new().await;
    let one = json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "command": ["sleep", "1000"]}]});
    let begun = Instant::now();
    machine.pod("first", one.clone());
    machine.wait("first", ready).await;
    println!("     one pod: {:?}", begun.elapsed());
    let writes = machine.fake.writes();
    let statuses = writes.iter().filter(|write| write.ends_with("pods/first/status")).count();
    assert!(statuses <= 6, "{writes:#?}");
    let begun = Instant::now();
    for number in 0..20 {
        machine.pod(&format!("p{number}"), one.clone());
    }
    for number in 0..20 {
        machine.wait(&format!("p{number}"), ready).await;
    }
    println!("     20 pods: {:?}", begun.elapsed());
    machine.clean().await;
}

/// However early an agent is killed, the next one brings everything up, and restarts nothing that ran.
pub async fn killed_while_starting() {
    let mut machine = Machine::without_agent().await;
    let one = json!({"terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "init", "command": ["true"]}],
        "containers": [{"name": "main", "command": ["sleep", "1000"]}]});
    for number in 0..6 {
        machine.pod(&format!("p{number}"), one.clone());
    }
    for pause in [40, 90, 150, 220, 300] {
        machine.start().await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        machine.kill_agent().await;
    }
    machine.start().await;
    for number in 0..6 {
        let pod = machine.wait(&format!("p{number}"), ready).await;
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
    }
    assert_eq!(machine.runtime.sandboxes().await.unwrap().len(), 6);
    for number in 0..3 {
        machine.delete(&format!("p{number}"), None).await;
    }
    for pause in [30, 100, 200] {
        machine.kill_agent().await;
        machine.start().await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    machine.clean().await;
}
