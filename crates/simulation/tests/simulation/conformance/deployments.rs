//! Deployments: scale, lifecycle, status, both strategies, clean-up, rollover, shares.

use super::Step;
use super::place::{Place, condition, controller, live, names, observed, ready, template};
use serde_json::{Value, json};

/// What is done.
pub const STEPS: &[Step] = &[
    ("deployment-scale", |place| Box::pin(the_scale_of_a_deployment(place))),
    ("deployment-recreate", |place| Box::pin(a_deployment_recreates(place))),
    ("deployment-rolling", |place| Box::pin(a_deployment_adopts_and_rolls(place))),
    ("deployment-cleanup", |place| Box::pin(old_replica_sets_go(place))),
    ("deployment-rollover", |place| Box::pin(a_rollout_is_rolled_over(place))),
    ("deployment-shares", |place| Box::pin(growth_is_shared(place))),
    ("deployment-life", |place| Box::pin(a_deployment_lives(place))),
    ("deployment-status", |place| Box::pin(the_status_of_a_deployment(place))),
];

const DEPLOYMENTS: &str = "apps/v1/deployments";
const SETS: &str = "apps/v1/replicasets";
const REVISION: &str = "deployment.kubernetes.io/revision";

fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    let labels = json!({ "name": "sample-pod" });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": labels },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": template(&labels, image) } })
}

fn set(name: &str, image: &str) -> Value {
    let mut set = deployment(name, 1, image);
    set["kind"] = "ReplicaSet".into();
    set
}

/// All pods are of the newest template and available, and no others are left.
fn complete(deployment: &Value) -> bool {
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    observed(deployment)
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|count| &status[count] == wanted)
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

fn of<'a>(sets: &'a [Value], image: &str) -> Option<&'a Value> {
    sets.iter().find(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == image)
}

async fn the_scale_of_a_deployment(place: Place) {
    place.post(DEPLOYMENTS, &deployment("test", 1, "httpd")).await;
    place.until(DEPLOYMENTS, "test", complete).await;
    let path = "apps/v1/deployments/test/scale";
    let scale = place.get(path).await;
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(scale["status"]["selector"], "name=sample-pod");
    let mut wanted = scale.clone();
    wanted["metadata"]["resourceVersion"] = "".into();
    wanted["spec"]["replicas"] = 2.into();
    let set = place.try_call(http::Method::PUT, path, "application/json", &wanted).await.unwrap();
    assert_eq!(set["spec"]["replicas"], 2);
    assert_eq!(place.get("apps/v1/deployments/test").await["spec"]["replicas"], 2);
    let patched = place.patch(path, &json!({ "spec": { "replicas": 4 } })).await;
    assert_eq!(patched["spec"]["replicas"], 4);
    place.until(DEPLOYMENTS, "test", |one| complete(one) && one["spec"]["replicas"] == 4).await;
    // Somebody who read it before cannot set it any more.
    let stale = place.try_call(http::Method::PUT, path, "application/json", &scale).await.unwrap_err();
    assert_eq!(stale.code, 409);
}

async fn a_deployment_recreates(place: Place) {
    let mut body = deployment("test-recreate-deployment", 1, "agnhost");
    body["spec"]["strategy"] = json!({ "type": "Recreate" });
    let name = "test-recreate-deployment";
    place.post(DEPLOYMENTS, &body).await;
    let first = place.until(DEPLOYMENTS, name, complete).await;
    assert_eq!(first["metadata"]["annotations"][REVISION], "1");
    place.strategic("apps/v1/deployments/test-recreate-deployment", &image("httpd")).await;
    let of = |pod: &Value, image: &str| pod["spec"]["containers"][0]["image"] == image;
    place
        .until_all("v1/pods", "name=sample-pod", |pods| {
            let runs = |image: &str| pods.iter().any(|pod| live(pod) && of(pod, image));
            assert!(!(runs("agnhost") && runs("httpd")), "old and new pods at once");
            pods.len() == 1 && ready(&pods[0]) && of(&pods[0], "httpd")
        })
        .await;
    let last = place.until(DEPLOYMENTS, name, complete).await;
    assert_eq!(last["metadata"]["annotations"][REVISION], "2");
}

async fn a_deployment_adopts_and_rolls(place: Place) {
    let mut old = set("test-rolling-update-controller", "httpd");
    old["metadata"]["annotations"] = json!({ REVISION: "3546343826724305832" });
    place.post(SETS, &old).await;
    place.until_all("v1/pods", "name=sample-pod", |pods| pods.len() == 1 && ready(&pods[0])).await;
    let name = "test-rolling-update-deployment";
    let made = place.post(DEPLOYMENTS, &deployment(name, 1, "agnhost")).await;
    // It is complete for a moment if it is seen before the set that it adopts.
    let follows = |one: &Value| one["metadata"]["annotations"][REVISION] == "3546343826724305833";
    let told = |one: &Value| condition(one, "Progressing")["reason"] == "NewReplicaSetAvailable";
    place.until(DEPLOYMENTS, name, |one| complete(one) && follows(one) && told(one)).await;
    let sets = place
        .until_all(SETS, "", |sets| {
            sets.len() == 2 && of(sets, "httpd").is_some_and(|set| set["status"]["replicas"] == 0)
        })
        .await;
    assert!(sets.iter().all(|set| controller(set) == made["metadata"]["uid"]), "the old set is adopted");
    assert!(sets.iter().all(|set| set["metadata"]["labels"]["name"] == "sample-pod"));
}

async fn old_replica_sets_go(place: Place) {
    place.post(SETS, &set("test-cleanup-controller", "httpd")).await;
    place.until_all("v1/pods", "name=sample-pod", |pods| pods.len() == 1 && ready(&pods[0])).await;
    let mut body = deployment("test-cleanup-deployment", 1, "agnhost");
    body["spec"]["revisionHistoryLimit"] = 0.into();
    place.post(DEPLOYMENTS, &body).await;
    place.until_all(SETS, "", |sets| sets.len() == 1 && of(sets, "agnhost").is_some()).await;
    place.until_all("v1/pods", "name=sample-pod", |pods| pods.len() == 1 && ready(&pods[0])).await;
}

async fn a_rollout_is_rolled_over(place: Place) {
    place.post(SETS, &set("test-rollover-controller", "httpd")).await;
    place.until(SETS, "test-rollover-controller", |set| set["status"]["availableReplicas"] == 1).await;
    let mut body = deployment("test-rollover-deployment", 1, "none.example/redis-slave");
    body["spec"]["minReadySeconds"] = 1.into();
    body["spec"]["strategy"] = json!({ "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
    let name = "test-rollover-deployment";
    place.post(DEPLOYMENTS, &body).await;
    let first = place
        .until(DEPLOYMENTS, name, |one| observed(one) && one["status"]["unavailableReplicas"] == 1)
        .await;
    assert_eq!(first["metadata"]["annotations"][REVISION], "1");
    // Before it is complete there is the next one; no step has fewer pods than are wanted.
    place.strategic("apps/v1/deployments/test-rollover-deployment", &image("agnhost")).await;
    place
        .until_all(SETS, "", |sets| {
            let served: i64 = sets.iter().filter_map(|set| set["status"]["availableReplicas"].as_i64()).sum();
            let wanted: i64 = sets.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).sum();
            assert!(wanted <= 2, "more than one above what is wanted: {}", names(sets).join(" "));
            assert!(served > 0 || sets.iter().any(|set| !observed(set)), "nobody serves");
            let others = |set: &&Value| set["status"]["replicas"] == 0;
            sets.len() == 3 && sets.iter().filter(others).count() == 2
        })
        .await;
    let last = place.until(DEPLOYMENTS, name, complete).await;
    assert_eq!(last["metadata"]["annotations"][REVISION], "2");
}

async fn growth_is_shared(place: Place) {
    let mut body = deployment("webserver", 10, "httpd");
    body["spec"]["strategy"] = json!({ "rollingUpdate": { "maxUnavailable": 2, "maxSurge": 3 } });
    place.post(DEPLOYMENTS, &body).await;
    place.until(DEPLOYMENTS, "webserver", complete).await;
    place.strategic("apps/v1/deployments/webserver", &image("none/webserver:404")).await;
    let sizes = |sets: &[Value], old: i32, new: i32, available: i32| {
        let (Some(first), Some(second)) = (of(sets, "httpd"), of(sets, "none/webserver:404")) else {
            return false;
        };
        let is =
            |set: &Value, count: i32| set["spec"]["replicas"] == count && set["status"]["replicas"] == count;
        is(first, old)
            && first["status"]["availableReplicas"] == available
            && is(second, new)
            && second["status"]["availableReplicas"].as_i64().unwrap_or_default() == 0
    };
    place.until_all(SETS, "", |sets| sizes(sets, 8, 5, 8)).await;
    let stuck = place.until(DEPLOYMENTS, "webserver", |one| one["status"]["replicas"] == 13).await;
    assert_eq!(condition(&stuck, "Available")["status"], "True");
    place.patch("apps/v1/deployments/webserver/scale", &json!({ "spec": { "replicas": 30 } })).await;
    place.until_all(SETS, "", |sets| sizes(sets, 20, 13, 20)).await;
}

async fn a_deployment_lives(place: Place) {
    let (name, path) = ("test-deployment", "apps/v1/deployments/test-deployment");
    let mut body = deployment(name, 2, "agnhost");
    body["metadata"]["labels"] = json!({ "test-deployment-static": "true" });
    place.post(DEPLOYMENTS, &body).await;
    place.until(DEPLOYMENTS, name, |one| one["status"]["readyReplicas"] == 2).await;
    let mut patch = image("pause");
    patch["metadata"] = json!({ "labels": { "test-deployment": "patched" } });
    patch["spec"]["replicas"] = 1.into();
    place.strategic(path, &patch).await;
    let patched = place.until(DEPLOYMENTS, name, complete).await;
    assert_eq!(patched["metadata"]["labels"]["test-deployment"], "patched");
    let list = place.list("/apis/apps/v1/deployments?labelSelector=test-deployment-static%3Dtrue").await;
    assert_eq!(names(&list), [name]);
    let status = "apps/v1/deployments/test-deployment/status";
    let none = json!({ "readyReplicas": 0, "availableReplicas": 0 });
    place
        .update(status, |one| {
            one["status"].as_object_mut().unwrap().extend(none.as_object().unwrap().clone());
        })
        .await;
    place.until(DEPLOYMENTS, name, |one| one["status"]["readyReplicas"] == 1).await;
    place.strategic(status, &json!({ "status": none })).await;
    place.until(DEPLOYMENTS, name, |one| one["status"]["readyReplicas"] == 1).await;
    place
        .update(path, |one| one["spec"]["template"]["spec"]["containers"][0]["image"] = "httpd".into())
        .await;
    place.until(DEPLOYMENTS, name, complete).await;
    place.delete("apps/v1/deployments?labelSelector=test-deployment-static%3Dtrue", &Value::Null).await;
    place.until(DEPLOYMENTS, name, Value::is_null).await;
    place.until_all("v1/pods", "name=sample-pod", <[Value]>::is_empty).await;
}

async fn the_status_of_a_deployment(place: Place) {
    place.post(DEPLOYMENTS, &deployment("test", 1, "httpd")).await;
    place.until(DEPLOYMENTS, "test", complete).await;
    statuses_are_written(&place, DEPLOYMENTS, "test").await;
}

/// The status is read, replaced and patched as a resource of its own, and its controller keeps foreign conditions.
pub async fn statuses_are_written(place: &Place, resource: &str, name: &str) {
    let path = format!("{resource}/{name}/status");
    let read = place.get(&path).await;
    assert_eq!(read["metadata"]["name"], name);
    let one = |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test" });
    let updated = place
        .update(&path, |object| {
            let conditions = &mut object["status"]["conditions"];
            if !conditions.is_array() {
                *conditions = json!([]);
            }
            conditions.as_array_mut().unwrap().push(one("StatusUpdate"));
        })
        .await;
    assert_eq!(condition(&updated, "StatusUpdate")["reason"], "E2E");
    place.until(resource, name, |object| condition(object, "StatusUpdate")["status"] == "True").await;
    let patched = place.patch(&path, &json!({ "status": { "conditions": [one("StatusPatched")] } })).await;
    assert_eq!(condition(&patched, "StatusPatched")["reason"], "E2E");
    place.until(resource, name, |object| condition(object, "StatusPatched")["status"] == "True").await;
}
