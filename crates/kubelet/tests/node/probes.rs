//! Probes of real containers.

use serde_json::{Value, json};

use crate::machine::Machine;

fn ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

pub async fn readiness_and_liveness() {
    let machine = Machine::new().await;
    let folder = machine.folder.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    machine.pod(
        "web",
        json!({"volumes": [{"name": "state", "hostPath": {"path": folder}}],
            "containers": [{"name": "main", "command": ["sh", "-c", "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"],
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 1, "failureThreshold": 1},
                "livenessProbe": {"exec": {"command": ["sh", "-c", "test ! -e /state/sick"]}, "periodSeconds": 1, "failureThreshold": 2},
                "volumeMounts": [{"name": "state", "mountPath": "/state"}]}]}),
    );
    machine.wait("web", ready).await;
    std::fs::write(folder.join("sick"), "").unwrap();
    let pod = machine.wait("web", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    std::fs::remove_file(folder.join("sick")).unwrap();
    assert_eq!(pod["status"]["phase"], "Running");
    machine.wait("web", ready).await;
    let events = machine.events();
    assert!(
        events
            .iter()
            .any(|event| event == "Killing: Container main failed liveness probe, will be restarted"),
        "{events:#?}"
    );
    machine.clean().await;
}

pub async fn startup_holds_back() {
    let machine = Machine::new().await;
    machine.pod("slow", json!({"containers": [{"name": "main", "command": ["sh", "-c", "sleep 2; touch /tmp/up; exec sleep 1000"],
        "startupProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 30},
        "livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1}}]}));
    let pod = machine.wait("slow", |pod| pod["status"]["phase"] == "Running").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["started"], false);
    let pod = machine.wait("slow", ready).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["started"], true);
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    machine.clean().await;
}
