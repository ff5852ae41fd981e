//! Priority and fairness, by its objects and as clients see it.

use crate::world::World;
use serde_json::{Value, json};
use std::time::Duration;

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn kept() -> World {
    World::with(|config| config.fairness = true).await
}

/// Waits until a read shows what it should.
async fn until(world: &World, path: &str, test: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..500 {
        last = world.get(path).await.json();
        if test(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path}: {last}");
}

fn count(list: &Value) -> usize {
    list["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn the_objects_of_every_cluster_are_made_and_kept() {
    let world = kept().await;
    let settled = |list: &Value| {
        let items = list["items"].as_array().into_iter().flatten();
        count(list) == 11
            && items.into_iter().all(|item| item["status"]["conditions"][0]["status"] == "False")
    };
    let schemas = until(&world, &format!("{GROUP}/flowschemas"), settled).await;
    let levels = world.get(&format!("{GROUP}/prioritylevelconfigurations")).await.expect(200);
    assert_eq!(count(&levels), 8);
    let names: Vec<_> = schemas["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"exempt") && names.contains(&"global-default"), "{names:?}");
    // What was written gives nothing to write.
    let again = world.get(&format!("{GROUP}/flowschemas")).await.expect(200);
    let versions = |list: &Value| {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|one| one["metadata"]["resourceVersion"].to_string()).collect::<Vec<_>>()
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = world.get(&format!("{GROUP}/flowschemas")).await.expect(200);
    assert_eq!(versions(&again), versions(&later));
    // The mandatory ones come back as they were, and the suggested ones if they were not made somebody's own.
    world.delete(&format!("{GROUP}/flowschemas/catch-all")).await.expect(200);
    until(&world, &format!("{GROUP}/flowschemas/catch-all"), |one| one["kind"] == "FlowSchema").await;
    let shares = json!({ "spec": { "limited": { "nominalConcurrencyShares": 7 } } });
    let path = format!("{GROUP}/prioritylevelconfigurations/global-default");
    world.patch(&path, "merge-patch", &shares).await.expect(200);
    let shares_of = |one: &Value| one["spec"]["limited"]["nominalConcurrencyShares"].as_u64();
    until(&world, &path, |one| shares_of(one) == Some(20)).await;
    let own = json!({ "metadata": { "annotations": { "apf.kubernetes.io/autoupdate-spec": "false" } },
        "spec": { "limited": { "nominalConcurrencyShares": 7 } } });
    world.patch(&path, "merge-patch", &own).await.expect(200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shares_of(&world.get(&path).await.expect(200)), Some(7));
    // A schema whose level is not there says so.
    let dangling = json!({ "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": { "name": "lost" },
        "spec": { "priorityLevelConfiguration": { "name": "nowhere" }, "rules": [] } });
    world.post(&format!("{GROUP}/flowschemas"), &dangling).await.expect(201);
    let lost =
        until(&world, &format!("{GROUP}/flowschemas/lost"), |one| one["status"]["conditions"].is_array())
            .await;
    let condition = &lost["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("Dangling"), &json!("True"), &json!("NotFound"))
    );
    assert_eq!(
        condition["message"],
        "This FlowSchema references the PriorityLevelConfiguration object named \"nowhere\" but there is no such object"
    );
}

#[tokio::test]
async fn responses_metrics_and_tables_say_what_decided() {
    let world = kept().await;
    let settled = |list: &Value| count(list) == 11;
    let schemas = until(&world, &format!("{GROUP}/flowschemas"), settled).await;
    let default = schemas["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["metadata"]["name"] == "global-default")
        .unwrap();
    let level = world.get(&format!("{GROUP}/prioritylevelconfigurations/global-default")).await.expect(200);
    let mut found = (String::new(), String::new());
    for _ in 0..200 {
        let answer = world
            .call(
                "GET /api/v1/namespaces/default/pods/none",
                &Value::Null,
                &[("authorization", "Bearer somebody")],
            )
            .await;
        assert_eq!(answer.code, 404);
        let header = |name: &str| {
            answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        found = (header("x-kubernetes-pf-flowschema-uid"), header("x-kubernetes-pf-prioritylevel-uid"));
        if json!(found.0) == default["metadata"]["uid"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        (json!(found.0), json!(found.1)),
        (default["metadata"]["uid"].clone(), level["metadata"]["uid"].clone())
    );
    let metrics = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    for expect in [
        "apiserver_flowcontrol_dispatched_requests_total{priority_level=\"global-default\",flow_schema=\"global-default\"}",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"}",
        "apiserver_flowcontrol_current_executing_seats{",
        "apiserver_flowcontrol_target_seats{priority_level=\"workload-low\"}",
        "apiserver_flowcontrol_seat_fair_frac ",
        "apiserver_flowcontrol_demand_seats_count{priority_level=\"workload-low\"}",
        "apiserver_flowcontrol_demand_seats_stdev{priority_level=\"workload-low\"}",
        "apiserver_flowcontrol_priority_level_seat_utilization_bucket{le=\"0.95\",priority_level=\"workload-low\",phase=\"executing\"}",
        "apiserver_flowcontrol_priority_level_request_utilization_sum{priority_level=\"workload-low\",phase=\"waiting\"}",
        "apiserver_flowcontrol_work_estimated_seats_count{",
    ] {
        assert!(metrics.contains(expect), "{metrics}");
    }
    let table =
        String::from_utf8(world.get("/debug/api_priority_and_fairness/dump_priority_levels").await.bytes)
            .unwrap();
    assert!(table.starts_with("PriorityLevelName, ActiveQueues, IsIdle,"), "{table}");
    assert!(table.contains("\nworkload-low,"), "{table}");
    let queues =
        String::from_utf8(world.get("/debug/api_priority_and_fairness/dump_queues").await.bytes).unwrap();
    assert_eq!(queues.lines().count(), 1 + 64 + 64 + 16 + 128 + 128 + 128);
    let requests = "/debug/api_priority_and_fairness/dump_requests";
    let text = String::from_utf8(world.get(requests).await.bytes).unwrap();
    assert_eq!(
        text.split(',').map(str::trim).collect::<Vec<_>>(),
        [
            "PriorityLevelName",
            "FlowSchemaName",
            "QueueIndex",
            "RequestIndexInQueue",
            "FlowDistingsher",
            "ArriveTime",
            "InitialSeats",
            "FinalSeats",
            "AdditionalLatency",
            "StartTime"
        ]
    );
    let text = world.get(&format!("{requests}?includeRequestDetails=1")).await.bytes;
    assert!(String::from_utf8(text).unwrap().trim_end().ends_with("SubResource"));
    assert_eq!(world.get("/debug/api_priority_and_fairness/dump_nothing").await.code, 404);
}

#[tokio::test]
async fn an_ordinary_request_may_say_how_long_it_waits() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(world.get(&format!("{pods}?timeout=10s")).await.code, 200);
    assert_eq!(world.get(&format!("{pods}?timeout=0s")).await.code, 200);
    assert_eq!(
        world.get(&format!("{pods}?timeout=soon")).await.failure(),
        "400 BadRequest: invalid timeout specified in the request URL - time: invalid duration \"soon\""
    );
    let late = world.get(&format!("{pods}?resourceVersion=99999&timeout=50ms")).await;
    assert_eq!(late.failure(), "504 Timeout: Timeout: request did not complete within the allotted timeout");
}
