//! What `kubectl get` prints of objects in particular states.

use super::{age, pod, selector};
use serde_json::{Value, json};

#[test]
fn durations_read_as_upstream_writes_them() {
    let cases = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3600 * 3 - 1, "179m"),
        (3600 * 3, "3h"),
        (3600 * 7 + 60, "7h1m"),
        (3600 * 47, "47h"),
        (3600 * 49, "2d1h"),
        (86400 * 8, "8d"),
        (86400 * 729, "729d"),
        (86400 * 731, "2y1d"),
        (86400 * 365 * 8, "8y"),
    ];
    for (seconds, expect) in cases {
        assert_eq!(age::human(seconds), expect, "{seconds}");
    }
}

fn check(pod: Value, expect: [&str; 3]) {
    let cells = (pod::table_of_pods().row)(&pod, 1_000_000);
    let shown: Vec<&str> = cells[1..4].iter().map(super::text).collect();
    assert_eq!(shown, expect, "{pod}");
}

fn with(mut status: Value, spec: Value) -> Value {
    let deleted = status.as_object_mut().and_then(|map| map.remove("deleted"));
    let mut pod = json!({ "metadata": { "name": "a" }, "spec": spec, "status": status });
    if let Some(at) = deleted {
        pod["metadata"]["deletionTimestamp"] = at;
    }
    pod
}

#[test]
fn a_pod_is_summed_up_by_its_containers() {
    let one = json!({ "containers": [{ "name": "c" }] });
    let running = json!({ "name": "c", "ready": true, "state": { "running": {} } });
    check(with(json!({ "phase": "Pending" }), one.clone()), ["0/1", "Pending", "0"]);
    check(
        with(json!({ "phase": "Running", "containerStatuses": [running] }), one.clone()),
        ["1/1", "Running", "0"],
    );
    let waiting = json!({ "name": "c", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "finishedAt": "1970-01-12T13:41:40Z" } } });
    check(
        with(json!({ "phase": "Running", "containerStatuses": [waiting] }), one.clone()),
        ["0/1", "CrashLoopBackOff", "3 (5m ago)"],
    );
    let done = json!({ "name": "c", "state": { "terminated": { "reason": "Completed" } } });
    check(
        with(json!({ "phase": "Succeeded", "containerStatuses": [done] }), one.clone()),
        ["0/1", "Completed", "0"],
    );
    let killed = json!({ "name": "c", "state": { "terminated": { "signal": 9 } } });
    check(
        with(json!({ "phase": "Failed", "containerStatuses": [killed] }), one.clone()),
        ["0/1", "Signal:9", "0"],
    );
    let leaving = json!({ "phase": "Running", "deleted": "2020-01-01T00:00:00Z" });
    check(with(leaving, one.clone()), ["0/1", "Terminating", "0"]);
    let gated = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "reason": "SchedulingGated" }] });
    check(with(gated, one), ["0/1", "SchedulingGated", "0"]);
}

#[test]
fn init_containers_show_before_the_others() {
    let spec = json!({ "containers": [{ "name": "c" }],
        "initContainers": [{ "name": "i" }, { "name": "s", "restartPolicy": "Always" }] });
    let done = json!({ "name": "i", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } });
    let first =
        json!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "state": { "running": {} } }] });
    check(with(first, spec.clone()), ["0/2", "Init:0/2", "0"]);
    let failed = json!({ "name": "i", "restartCount": 1, "state": { "terminated": { "exitCode": 2 } } });
    let failed = json!({ "phase": "Pending", "initContainerStatuses": [failed] });
    check(with(failed, spec.clone()), ["0/2", "Init:ExitCode:2", "1"]);
    let second = json!({ "phase": "Pending", "initContainerStatuses": [done, { "name": "s", "started": true, "ready": true,
        "state": { "running": {} } }], "containerStatuses": [{ "name": "c", "state": { "waiting": { "reason": "PodInitializing" } } }] });
    check(with(second, spec), ["1/2", "PodInitializing", "0"]);
}

#[test]
fn selectors_are_written_as_queries() {
    let value = json!({ "matchLabels": { "b": "1" }, "matchExpressions": [
        { "key": "a", "operator": "In", "values": ["z", "x"] }, { "key": "c", "operator": "DoesNotExist" }] });
    assert_eq!(selector(&value), "a in (x,z),b=1,!c");
}
