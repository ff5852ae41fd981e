//! When requests go.

use super::*;
use serde_json::{Value, json};

fn goes(status: Value) -> Option<String> {
    let request = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" }, "status": status });
    plan(&serde_json::from_value(request).unwrap()).map(|at| at.to_string())
}

#[test]
fn requests_go_when_nobody_will_look_at_them_again() {
    let decided =
        |kind: &str| json!({ "type": kind, "status": "True", "lastUpdateTime": "2026-01-01T05:00:00Z" });
    assert_eq!(goes(json!({})).unwrap(), "2026-01-02T00:00:00Z");
    assert_eq!(goes(json!({ "conditions": [decided("Denied")] })).unwrap(), "2026-01-01T06:00:00Z");
    assert_eq!(goes(json!({ "conditions": [decided("Approved")] })), None);
    let issued = json!({ "conditions": [decided("Approved")], "certificate": "aXNzdWVk" });
    assert_eq!(goes(issued).unwrap(), "2026-01-01T06:00:00Z");
}
