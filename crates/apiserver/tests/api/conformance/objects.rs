//! The lives of ConfigMaps, Secrets, PodTemplates, Endpoints, ServiceAccounts and jobs' schedules, step by step.

use crate::world::World;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";

fn count(list: &Value) -> usize {
    list["items"].as_array().unwrap().len()
}

fn map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

/// Nothing may be called by an empty name.
#[tokio::test]
async fn keys_are_not_empty() {
    let world = World::new().await;
    let refused = world.post(MAPS, &map("empty", json!({ "": "value-1" }))).await.failure();
    assert!(
        refused.starts_with("422 Invalid: ConfigMap \"empty\" is invalid: data[]: Invalid value: \"\""),
        "{refused}"
    );
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "empty" },
        "data": { "": "dmFsdWUtMQo=" } });
    let refused = world.post(SECRETS, &secret).await.failure();
    assert!(
        refused.starts_with("422 Invalid: Secret \"empty\" is invalid: data[]: Invalid value: \"\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_config_map_lives_as_it_is_watched() {
    let world = World::new().await;
    let mut watch = world.watch(&format!("{MAPS}?watch=1&labelSelector=test-configmap-static%3Dtrue")).await;
    let mut one = map("test", json!({ "valueName": "value" }));
    one["metadata"]["labels"] = json!({ "test-configmap-static": "true" });
    world.post(MAPS, &one).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED test"]);
    let patch = json!({ "metadata": { "labels": { "test-configmap": "patched" } }, "data": { "valueName": "value1" } });
    world.patch(&format!("{MAPS}/test"), "strategic-merge-patch", &patch).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["data"]["valueName"]),
        (&json!("MODIFIED"), &json!("value1"))
    );
    assert_eq!(event["object"]["metadata"]["labels"]["test-configmap"], "patched");
    let all = "/api/v1/configmaps?labelSelector=test-configmap-static%3Dtrue";
    let listed = world.get(all).await.expect(200);
    assert_eq!((count(&listed), &listed["items"][0]["data"]["valueName"]), (1, &json!("value1")));
    world.delete(&format!("{MAPS}?labelSelector=test-configmap-static%3Dtrue")).await.expect(200);
    assert_eq!(watch.take(1).await, ["DELETED test"]);
    assert_eq!(count(&world.get(all).await.expect(200)), 0);
}

#[tokio::test]
async fn a_config_map_is_updated() {
    let world = World::new().await;
    let mut made = world.post(MAPS, &map("update", json!({ "data": "value" }))).await.expect(201);
    made["data"]["data"] = "value-2".into();
    world.put(&format!("{MAPS}/update"), &made).await.expect(200);
    let read = world.get(&format!("{MAPS}/update")).await.expect(200);
    assert_eq!(read["data"], json!({ "data": "value-2" }));
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
}

#[tokio::test]
async fn what_is_immutable_stays_so() {
    let world = World::new().await;
    for (path, kind, data) in [(MAPS, "ConfigMap", "data"), (SECRETS, "Secret", "stringData")] {
        let body = json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "immutable" }, data: { "data-1": "value-1" } });
        let made = world.post(path, &body).await.expect(201);
        let one = format!("{path}/immutable");
        // What is mutable may be changed, and made immutable.
        let mut changed = made.clone();
        changed["data"]["data-4"] = "dmFsdWUtNA==".into();
        let mut changed = world.put(&one, &changed).await.expect(200);
        changed["immutable"] = true.into();
        let fixed = world.put(&one, &changed).await.expect(200);
        for (field, value) in
            [("immutable", json!(false)), ("immutable", Value::Null), ("data", json!({ "data-5": "dg==" }))]
        {
            let mut wrong = fixed.clone();
            wrong[field] = value;
            let refused = world.put(&one, &wrong).await.failure();
            assert!(refused.contains("field is immutable when `immutable` is set"), "{refused}");
        }
        let mut labelled = fixed.clone();
        labelled["metadata"]["labels"] = json!({ "label1": "value1" });
        world.put(&one, &labelled).await.expect(200);
        world.delete(&one).await.expect(200);
        assert_eq!(world.get(&one).await.code, 404);
    }
}

#[tokio::test]
async fn a_secret_is_patched_and_found_everywhere() {
    let world = World::new().await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "test",
        "labels": { "testsecret-constant": "true" } }, "data": { "key": "dmFsdWU=" }, "type": "Opaque" });
    world.post(SECRETS, &secret).await.expect(201);
    let all = "/api/v1/secrets?labelSelector=testsecret-constant%3Dtrue";
    assert_eq!(count(&world.get(all).await.expect(200)), 1);
    let patch = json!({ "metadata": { "labels": { "testsecret": "true" } }, "data": { "key": "dmFsdWUx" } });
    world.patch(&format!("{SECRETS}/test"), "strategic-merge-patch", &patch).await.expect(200);
    let read = world.get(&format!("{SECRETS}/test")).await.expect(200);
    assert_eq!(read["data"]["key"], "dmFsdWUx");
    let both = "labelSelector=testsecret%3Dtrue";
    world.delete(&format!("{SECRETS}?{both}")).await.expect(200);
    assert_eq!(count(&world.get(&format!("/api/v1/secrets?{both}")).await.expect(200)), 0);
}

fn template(name: &str, label: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": name, "labels": { label: "true" } },
        "template": { "spec": { "containers": [{ "name": "nginx", "image": "nginx" }] } } })
}

#[tokio::test]
async fn a_pod_template_lives() {
    let world = World::new().await;
    world.post(TEMPLATES, &template("nginx", "podtemplate-static")).await.expect(201);
    let all = "/api/v1/podtemplates?labelSelector=podtemplate-static%3Dtrue";
    assert_eq!(count(&world.get(all).await.expect(200)), 1);
    let patch = json!({ "metadata": { "labels": { "podtemplate": "patched" } } });
    world.patch(&format!("{TEMPLATES}/nginx"), "strategic-merge-patch", &patch).await.expect(200);
    let mut read = world.get(&format!("{TEMPLATES}/nginx")).await.expect(200);
    assert_eq!(read["metadata"]["labels"]["podtemplate"], "patched");
    // Replaced, with an annotation and without a version.
    read["metadata"]["annotations"] = json!({ "updated": "true" });
    read["metadata"]["resourceVersion"].take();
    let replaced = world.put(&format!("{TEMPLATES}/nginx"), &read).await.expect(200);
    assert_eq!(replaced["metadata"]["annotations"]["updated"], "true");
    world.delete(&format!("{TEMPLATES}/nginx")).await.expect(200);
    assert_eq!(count(&world.get(all).await.expect(200)), 0);
}

#[tokio::test]
async fn pod_templates_go_together() {
    let world = World::new().await;
    for name in ["test-podtemplate-1", "test-podtemplate-2", "test-podtemplate-3"] {
        world.post(TEMPLATES, &template(name, "podtemplate-set")).await.expect(201);
    }
    let selected = format!("{TEMPLATES}?labelSelector=podtemplate-set%3Dtrue");
    assert_eq!(count(&world.get(&selected).await.expect(200)), 3);
    world.delete(&selected).await.expect(200);
    assert_eq!(count(&world.get(&selected).await.expect(200)), 0);
}

#[tokio::test]
async fn endpoints_live_as_they_are_watched() {
    let world = World::new().await;
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let selector = "labelSelector=test-endpoint-static%3Dtrue";
    let subset = |ip: &str, port: u16| json!([{ "addresses": [{ "ip": ip }], "ports": [{ "name": "http", "port": port, "protocol": "TCP" }] }]);
    let one = json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "testservice",
        "labels": { "test-endpoint-static": "true" } }, "subsets": subset("10.0.0.24", 80) });
    world.post(endpoints, &one).await.expect(201);
    let mut watch = world.watch(&format!("{endpoints}?watch=1&{selector}")).await;
    assert_eq!(watch.take(1).await, ["ADDED testservice"]);
    let list = world.get(&format!("/api/v1/endpoints?{selector}")).await.expect(200);
    let mut found = list["items"][0].clone();
    found["metadata"]["labels"]["test-service"] = "updated".into();
    found["apiVersion"] = "v1".into();
    found["kind"] = "Endpoints".into();
    world.put(&format!("{endpoints}/testservice"), &found).await.expect(200);
    assert_eq!(watch.take(1).await, ["MODIFIED testservice"]);
    let patch = json!({ "metadata": { "labels": { "test-service": "patched" } }, "subsets": subset("10.0.0.25", 8080) });
    world.patch(&format!("{endpoints}/testservice"), "strategic-merge-patch", &patch).await.expect(200);
    let read = world.get(&format!("{endpoints}/testservice")).await.expect(200);
    assert_eq!(read["subsets"], subset("10.0.0.25", 8080));
    assert_eq!(read["metadata"]["labels"]["test-service"], "patched");
    assert_eq!(watch.take(1).await, ["MODIFIED testservice"]);
    world.delete(&format!("{endpoints}?{selector}")).await.expect(200);
    assert_eq!(watch.take(1).await, ["DELETED testservice"]);
    assert_eq!(world.get(&format!("{endpoints}/testservice")).await.code, 404);
}

#[tokio::test]
async fn a_service_account_is_updated() {
    let world = World::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "e2e-sa" },
        "automountServiceAccountToken": false });
    let mut made = world.post(accounts, &account).await.expect(201);
    assert_eq!(made["automountServiceAccountToken"], false);
    made["automountServiceAccountToken"] = true.into();
    let updated = world.put(&format!("{accounts}/e2e-sa"), &made).await.expect(200);
    assert_eq!(updated["automountServiceAccountToken"], true);
}

/// A schedule's status is what the controller says, whoever says it.
#[tokio::test]
async fn a_cron_job_is_written_by_every_road() {
    let world = World::new().await;
    let jobs = "/apis/batch/v1/namespaces/default/cronjobs";
    let job = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "test-api",
        "labels": { "special-label": "yes" } },
        "spec": { "schedule": "* */1 * * ?", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 2,
            "failedJobsHistoryLimit": 2, "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "OnFailure",
                "containers": [{ "name": "c", "image": "busybox" }] } } } } } });
    world.post(jobs, &job).await.expect(201);
    let path = format!("{jobs}/test-api");
    let now = |second: u32| format!("2026-11-21T10:00:{second:02}Z");
    let patch = json!({ "metadata": { "annotations": { "patchedstatus": "true" } }, "status": { "lastScheduleTime": now(1) } });
    let patched = world.patch(&format!("{path}/status"), "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["status"]["lastScheduleTime"], now(1));
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    let mut update = world.get(&path).await.expect(200);
    update["status"]["lastScheduleTime"] = now(2).into();
    let updated = world.put(&format!("{path}/status"), &update).await.expect(200);
    assert_eq!(updated["status"]["lastScheduleTime"], now(2));
    let read = world.get(&format!("{path}/status")).await.expect(200);
    assert_eq!((&read["kind"], &read["metadata"]["uid"]), (&json!("CronJob"), &updated["metadata"]["uid"]));
    world.delete(&format!("{jobs}?labelSelector=special-label%3Dyes")).await.expect(200);
    assert_eq!(world.get(&path).await.code, 404);
}
