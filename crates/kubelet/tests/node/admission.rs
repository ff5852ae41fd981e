//! Pods that do not fit beside those that are there.

use serde_json::{Value, json};

use crate::machine::Machine;

fn listener(port: i32) -> Value {
    json!({"containers": [{"name": "main", "command": ["sleep", "1000"],
        "ports": [{"containerPort": port, "hostPort": port, "protocol": "TCP"}]}]})
}

pub async fn refuses_what_does_not_fit() {
    let machine = Machine::new().await;
    machine.pod("first", listener(18_080));
    machine.phase("first", "Running").await;
    machine.pod("second", listener(18_080));
    let refused = machine.phase("second", "Failed").await;
    let status = |pod: &Value| (pod["status"]["reason"].clone(), pod["status"]["message"].clone());
    assert_eq!(
        status(&refused),
        (
            json!("NodePorts"),
            json!(
                "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            )
        )
    );
    machine.pod("third", listener(18_081));
    machine.phase("third", "Running").await;
    let much = json!({"containers": [{"name": "main", "command": ["sleep", "1000"],
        "resources": {"requests": {"cpu": "5000"}}}]});
    machine.pod("large", much);
    assert_eq!(machine.phase("large", "Failed").await["status"]["reason"], "OutOfcpu");
    let elsewhere = json!({"nodeSelector": {"no": "node"}, "containers": [{"name": "main"}]});
    machine.pod("elsewhere", elsewhere);
    assert_eq!(machine.phase("elsewhere", "Failed").await["status"]["reason"], "NodeAffinity");
    let events = machine.events();
    assert!(
        events.iter().any(|event| event.starts_with("NodePorts: Predicate NodePorts failed")),
        "{events:?}"
    );
    // What it took is free again once it has gone.
    machine.delete("first", Some(1)).await;
    machine.gone("first").await;
    machine.pod("fourth", listener(18_080));
    machine.phase("fourth", "Running").await;
    machine.clean().await;
}

pub async fn critical_pods_find_room() {
    let machine = Machine::new().await;
    let cpus = std::thread::available_parallelism().unwrap().get();
    let asks = |priority: i64, cpu: String| {
        json!({"priority": priority, "containers": [{"name": "main", "command": ["sleep", "1000"],
            "resources": {"requests": {"cpu": cpu}}}]})
    };
    machine.pod("effort", json!({"containers": [{"name": "main", "command": ["sleep", "1000"]}]}));
    machine.pod("large", asks(0, format!("{}m", cpus * 1000 - 300)));
    machine.pod("small", asks(0, "200m".to_owned()));
    for name in ["effort", "large", "small"] {
        machine.phase(name, "Running").await;
    }
    machine.pod("plain", asks(1, "250m".to_owned()));
    assert_eq!(machine.phase("plain", "Failed").await["status"]["reason"], "OutOfcpu");
    // The one that gives enough goes, and the least of those that do.
    machine.pod("critical", asks(2_000_000_000, "250m".to_owned()));
    machine.phase("critical", "Running").await;
    let gone = machine.phase("small", "Failed").await;
    assert_eq!(gone["status"]["reason"], "Preempting");
    assert_eq!(gone["status"]["message"], "Preempted in order to admit critical pod");
    let conditions = gone["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!(target["message"], "Pod was preempted by Kubelet to accommodate a critical pod.");
    for name in ["effort", "large"] {
        assert_eq!(machine.get(name).unwrap()["status"]["phase"], "Running");
    }
    machine.clean().await;
}
