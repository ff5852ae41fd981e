//! What pods and nodes use, as `kubectl top` and horizontal pod autoscalers see it.

use crate::fixture::{BUSYBOX, Cluster};
use crate::run::DEADLINE;
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A Deployment of pods that use a processor as far as they may.
fn burner() -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "burner" }, "spec": {
        "replicas": 1, "selector": { "matchLabels": { "app": "burner" } },
        "template": { "metadata": { "labels": { "app": "burner" } }, "spec": { "terminationGracePeriodSeconds": 1, "containers": [
            { "name": "burn", "image": BUSYBOX, "command": ["sh", "-c", "while true; do true; done"],
              "resources": { "requests": { "cpu": "50m" }, "limits": { "cpu": "200m" } } },
            { "name": "rest", "image": BUSYBOX, "command": ["sleep", "3600"],
              "resources": { "requests": { "cpu": "10m" } } }] } } } })
}

/// The cells of the line that begins so.
fn line<'a>(text: &'a str, start: &str) -> Option<Vec<&'a str>> {
    let found = text.lines().find(|line| line.starts_with(start))?;
    Some(found.split_whitespace().collect())
}

fn number(cell: &str, unit: &str) -> u64 {
    cell.strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{cell:?} is no {unit}"))
}

/// Looks until figures are there: nothing tells that they are.
fn look<T>(wanted: impl Fn() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match wanted() {
            Ok(found) => return found,
            Err(last) => assert!(begun.elapsed() < DEADLINE, "no figures: {last}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn top_of_nodes(cluster: &Cluster) {
    for age in ["1.32", "1.36"] {
        let text = cluster.aged(age, &["top", "node", "--no-headers"], "").ok();
        let cells: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(cells.len(), 5, "{text}");
        assert!(number(cells[1], "m") > 0 && number(cells[3], "Mi") > 0, "{text}");
    }
}

fn top_of_pods(cluster: &Cluster) {
    let top = |age: &str, more: &[&str]| cluster.aged(age, &[&["top", "pod"], more].concat(), "").ok();
    let used = look(|| {
        let ran = cluster.aged("1.36", &["top", "pod", "-l", "app=burner", "--containers"], "");
        let text = ran.to_string();
        let burning = text.lines().find_map(|line| line.split_once(" burn ")?.1.split_whitespace().next());
        // Half of what it may use, on a busy machine.
        burning.map(|cell| number(cell, "m")).filter(|used| *used >= 100).ok_or(text.clone())
    });
    assert!(used <= 300, "{used}");
    let text = top("1.36", &["-l", "app=burner", "--containers"]);
    let rest = text.lines().find(|line| line.contains(" rest ")).unwrap();
    assert!(number(rest.split_whitespace().nth(2).unwrap(), "m") < 20, "{text}");
    let text = top("1.32", &["-A", "--sort-by=cpu"]);
    assert!(line(&text, "NAMESPACE").is_some() && line(&text, "default").is_some(), "{text}");
}

fn raw_figures(cluster: &Cluster) {
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    let raw = |path: &str| cluster.kubectl(&["get", "--raw", path]).ok();
    let text = raw(&format!("/api/v1/nodes/{}/proxy/metrics/resource", node.trim()));
    assert!(
        text.contains("container_cpu_usage_seconds_total{container=\"burn\",namespace=\"default\""),
        "{text}"
    );
    let summary: Value =
        serde_json::from_str(&raw(&format!("/api/v1/nodes/{}/proxy/stats/summary", node.trim()))).unwrap();
    assert_eq!(summary["node"]["nodeName"], node.trim());
    let text = cluster.kubectl(&["get", "pods.metrics.k8s.io", "-l", "app=burner"]).ok();
    assert_eq!(line(&text, "NAME"), Some(vec!["NAME", "CPU", "MEMORY", "WINDOW"]), "{text}");
}

fn grows(cluster: &Cluster) {
    let words = ["autoscale", "deployment", "burner", "--min=1", "--max=3", "--cpu=50%"];
    cluster.kubectl(&words).ok();
    let autoscalers = Gvr::new("autoscaling", "v2", "horizontalpodautoscalers");
    let holds = |autoscaler: &Value, kind: &str, reason: &str| {
        let conditions = autoscaler["status"]["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter().any(|one| one["type"] == kind && one["status"] == "True" && one["reason"] == reason)
        })
    };
    let grown = cluster.until(&autoscalers, "default", "burner", |autoscaler| {
        autoscaler["status"]["desiredReplicas"] == 3 && autoscaler["status"]["currentReplicas"] == 3
    });
    assert!(holds(&grown, "ScalingActive", "ValidMetricFound"), "{grown:#}");
    let current = &grown["status"]["currentMetrics"][0]["resource"]["current"];
    assert!(current["averageUtilization"].as_i64().is_some_and(|percent| percent > 60), "{grown:#}");
    cluster.kubectl(&["rollout", "status", "deployment/burner", "--timeout=60s"]).ok();
    let text = cluster.kubectl(&["get", "hpa", "burner", "--no-headers"]).ok();
    assert!(text.contains("Deployment/burner") && text.contains("cpu: ") && text.contains("%/50%"), "{text}");
    let text = cluster.kubectl(&["describe", "hpa", "burner"]).ok();
    for part in [
        "ScalingActive",
        "ValidMetricFound",
        "AbleToScale",
        "ScalingLimited",
        "SuccessfulRescale",
        "New size: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("cpu resource utilization (percentage of request) above target"), "{text}");
}

#[test]
fn usage_is_seen_and_acted_on() {
    let cluster = Cluster::up("usage");
    let steps = Steps::new(&cluster);
    steps.step("an image of one's own", || cluster.busybox());
    steps.step("a burner", || {
        cluster.gifee_with(&["apply", "-f", "-"], &burner().to_string()).ok();
        cluster.kubectl(&["rollout", "status", "deployment/burner", "--timeout=60s"]).ok();
    });
    steps.step("figures of nodes", || top_of_nodes(&cluster));
    steps.step("figures of pods", || top_of_pods(&cluster));
    steps.step("figures as nodes tell them", || raw_figures(&cluster));
    steps.step("an autoscaler makes more of it", || grows(&cluster));
    steps.end();
}
