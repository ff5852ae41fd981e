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
