//! What containers use, as the agent's server tells it.

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::streams::get;

/// The value of a sample of a text of metrics.
fn value(text: &str, start: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
    let rest = &line[line.rfind('}').map_or(start.len(), |at| at + 1)..];
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

pub async fn usage() {
    let machine = Machine::new().await;
    machine.pod(
        "busy",
        json!({"volumes": [{"name": "room", "emptyDir": {}}], "containers": [
            {"name": "burner", "command": ["sh", "-c", "echo begun; while true; do true; done"]},
            {"name": "keeper", "resources": {"limits": {"memory": "64Mi"}},
                "volumeMounts": [{"name": "room", "mountPath": "/room"}],
                "readinessProbe": {"exec": {"command": ["test", "-e", "/room/big"]}, "periodSeconds": 1},
                "command": ["sh", "-c", "head -c 1000000 /dev/zero > /room/big; sleep 1000"]}]}),
    );
    machine.wait("busy", |pod| pod["status"]["containerStatuses"][1]["ready"] == true).await;
    let port = machine.port().await;
    let (status, text) = get(port, "/stats/summary").await;
    assert_eq!(status, 200);
    let summary: Value = serde_json::from_str(&text).unwrap();
    let node = &summary["node"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number: {summary:#}"));
    assert_eq!(node["nodeName"], "node");
    // Other tests burn, too, so there is only a lower bound.
    assert!(number(&node["cpu"]["usageNanoCores"]) > 50_000_000, "{node:#}");
    assert!(number(&node["memory"]["workingSetBytes"]) > 1 << 20, "{node:#}");
    assert!(number(&node["fs"]["capacityBytes"]) > number(&node["fs"]["availableBytes"]), "{node:#}");
    let [pod] = summary["pods"].as_array().unwrap().as_slice() else { panic!("{summary:#}") };
    assert_eq!((&pod["podRef"]["name"], &pod["podRef"]["namespace"]), (&json!("busy"), &json!("default")));
    let container = |name: &str| {
        let mut all = pod["containers"].as_array().unwrap().iter();
        all.find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}: {pod:#}"))
    };
    let (burner, keeper) = (container("burner"), container("keeper"));
    assert!(number(&burner["cpu"]["usageNanoCores"]) > 50_000_000, "{burner:#}");
    assert!(number(&keeper["cpu"]["usageNanoCores"]) < 50_000_000, "{keeper:#}");
    assert!(number(&pod["cpu"]["usageNanoCores"]) >= number(&burner["cpu"]["usageNanoCores"]) / 2, "{pod:#}");
    assert!(number(&burner["logs"]["usedBytes"]) > 0, "{burner:#}");
    let working = number(&keeper["memory"]["workingSetBytes"]);
    assert!(working > 0 && number(&keeper["memory"]["availableBytes"]) == (64 << 20) - working, "{keeper:#}");
    let room = pod["volume"].as_array().unwrap().iter().find(|one| one["name"] == "room").unwrap();
    assert!((1_000_000..1_100_000).contains(&number(&room["usedBytes"])), "{room:#}");
    assert!(number(&pod["ephemeral-storage"]["usedBytes"]) >= number(&room["usedBytes"]), "{pod:#}");
    assert!(pod["network"]["name"].is_string(), "{pod:#}");
    let brief: Value =
        serde_json::from_str(&get(port, "/stats/summary?only_cpu_and_memory=true").await.1).unwrap();
    assert!(brief["node"]["fs"].is_null() && brief["pods"][0]["network"].is_null(), "{brief:#}");
    let (status, text) = get(port, "/metrics/resource").await;
    assert_eq!(status, 200);
    let of = r#"{container="burner",namespace="default",pod="busy"}"#;
    let used = value(&text, &format!("container_cpu_usage_seconds_total{of}"));
    assert!(used > 0.0 && used <= value(&text, "node_cpu_usage_seconds_total "), "{text}");
    assert_eq!(value(&text, "resource_scrape_error "), 0.0);
    let text = get(port, "/metrics/cadvisor").await.1;
    assert!(text.contains(r#"image="busybox:test""#) && text.contains(r#"interface=""#), "{text}");
    let text = get(port, "/metrics/probes").await.1;
    assert!(value(&text, r#"prober_probe_total{container="keeper""#) >= 1.0, "{text}");
    machine.clean().await;
}
