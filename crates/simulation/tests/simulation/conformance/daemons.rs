//! DaemonSets and their revisions: a pod on every node and on those that are asked for, failures, rollouts and back.

use super::deployments::statuses_are_written;
use super::place::{Place, controller, live, names, observed, ready, template};
use super::{NODES, Step};
use serde_json::{Value, json};

/// What is done.
pub const STEPS: &[Step] = &[
    ("daemon-simple", |place| Box::pin(a_daemon_runs_on_every_node(place))),
    ("daemon-complex", |place| Box::pin(a_daemon_follows_labels_of_nodes(place))),
    ("daemon-failed", |place| Box::pin(a_failed_daemon_is_made_again(place))),
    ("daemon-rolls", |place| Box::pin(a_daemon_is_rolled_out(place))),
    ("daemon-back", |place| Box::pin(going_back_restarts_only_what_had_gone_ahead(place))),
    ("daemon-many", |place| Box::pin(daemons_are_deleted_together(place))),
    ("daemon-status", |place| Box::pin(the_status_of_a_daemon(place))),
    ("revisions", |place| Box::pin(revisions_live(place))),
];

const DAEMONS: &str = "apps/v1/daemonsets";
const REVISIONS: &str = "apps/v1/controllerrevisions";

fn daemon(image: &str) -> Value {
    let labels = json!({ "daemonset-name": "daemon-set" });
    json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "daemon-set", "labels": labels },
        "spec": { "selector": { "matchLabels": labels }, "template": template(&labels, image) } })
}

const PATH: &str = "apps/v1/daemonsets/daemon-set";

fn everywhere(pods: &[Value]) -> bool {
    let mut nodes: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    pods.len() == NODES && nodes.len() == NODES && pods.iter().all(ready)
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

fn of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

/// Every node has its pod, and the controller knows it: what it knows of pods decides how many more may go.
async fn complete(place: &Place) -> Vec<Value> {
    place
        .until(DAEMONS, "daemon-set", |set| observed(set) && set["status"]["numberAvailable"] == NODES)
        .await;
    place.until_all("v1/pods", "", everywhere).await
}

async fn a_daemon_runs_on_every_node(place: Place) {
    place.post(DAEMONS, &daemon("httpd")).await;
    let pods = place.until_all("v1/pods", "", everywhere).await;
    let status = place.until(DAEMONS, "daemon-set", |set| set["status"]["numberAvailable"] == NODES).await;
    assert_eq!(status["status"]["desiredNumberScheduled"], NODES);
    // One that is deleted comes again.
    let (name, uid) = (pods[0]["metadata"]["name"].as_str().unwrap(), &pods[0]["metadata"]["uid"]);
    place.delete(&format!("v1/pods/{name}"), &Value::Null).await;
    place
        .until_all("v1/pods", "", |pods| {
            everywhere(pods) && pods.iter().all(|pod| pod["metadata"]["uid"] != *uid)
        })
        .await;
}

async fn a_daemon_follows_labels_of_nodes(place: Place) {
    let mut body = daemon("httpd");
    body["spec"]["template"]["spec"]["nodeSelector"] = json!({ "daemonset-color": "blue" });
    place.post(DAEMONS, &body).await;
    place.until(DAEMONS, "daemon-set", observed).await;
    assert_eq!(place.list("v1/pods").await, Vec::<Value>::new());
    let nodes = place.list("/api/v1/nodes").await;
    let node = format!("/api/v1/nodes/{}", names(&nodes)[0]);
    let label = |color: Value| {
        let (place, node) = (place.clone(), node.clone());
        async move {
            place.patch(&node, &json!({ "metadata": { "labels": { "daemonset-color": color } } })).await;
        }
    };
    label(json!("blue")).await;
    place.until_all("v1/pods", "", |pods| pods.len() == 1 && ready(&pods[0])).await;
    label(json!("green")).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
    let spec = json!({ "updateStrategy": { "type": "RollingUpdate" },
        "template": { "spec": { "nodeSelector": { "daemonset-color": "green" } } } });
    place.strategic(PATH, &json!({ "spec": spec })).await;
    place.until_all("v1/pods", "", |pods| pods.len() == 1 && ready(&pods[0])).await;
    label(Value::Null).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn a_failed_daemon_is_made_again(place: Place) {
    place.post(DAEMONS, &daemon("httpd")).await;
    let pods = place.until_all("v1/pods", "", everywhere).await;
    let (name, uid) = (pods[0]["metadata"]["name"].as_str().unwrap(), &pods[0]["metadata"]["uid"]);
    place.patch(&format!("v1/pods/{name}/status"), &json!({ "status": { "phase": "Failed" } })).await;
    place
        .until_all("v1/pods", "", |pods| {
            everywhere(pods) && pods.iter().all(|pod| pod["metadata"]["uid"] != *uid)
        })
        .await;
}

async fn a_daemon_is_rolled_out(place: Place) {
    let mut body = daemon("httpd");
    body["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate" });
    place.post(DAEMONS, &body).await;
    complete(&place).await;
    let hash = |pods: &[Value]| pods[0]["metadata"]["labels"]["controller-revision-hash"].clone();
    let first = hash(&place.list("v1/pods").await);
    let revisions = place.until_all(REVISIONS, "", |all| all.len() == 1).await;
    assert_eq!(revisions[0]["revision"], 1);
    place.strategic(PATH, &image("agnhost")).await;
    let rolled = |pods: &[Value]| {
        let gone = NODES - pods.iter().filter(|pod| ready(pod)).count().min(NODES);
        assert!(gone <= 1, "{gone} are unavailable");
        everywhere(pods) && pods.iter().all(|pod| of(pod) == "agnhost")
    };
    let pods = place.until_all("v1/pods", "", rolled).await;
    assert_ne!(hash(&pods), first);
    let revisions = place.until_all(REVISIONS, "", |all| all.len() == 2).await;
    assert!(revisions.iter().any(|one| one["revision"] == 2));
}

async fn going_back_restarts_only_what_had_gone_ahead(place: Place) {
    place.post(DAEMONS, &daemon("httpd")).await;
    let before = complete(&place).await;
    place.strategic(PATH, &image("none/foo:non-existent")).await;
    // One is replaced and does not become available, so the others stay.
    let ahead = |pod: &&Value| of(pod) == "none/foo:non-existent" && pod["status"]["phase"] == "Pending";
    let during = place
        .until_all("v1/pods", "", |pods| {
            pods.len() == NODES && pods.iter().filter(ahead).count() == 1 && pods.iter().all(live)
        })
        .await;
    let kept: Vec<&Value> =
        during.iter().filter(|pod| !ahead(pod)).map(|pod| &pod["metadata"]["uid"]).collect();
    assert!(kept.iter().all(|uid| before.iter().any(|pod| pod["metadata"]["uid"] == **uid)));
    place.strategic(PATH, &image("httpd")).await;
    let after = place
        .until_all("v1/pods", "", |pods| everywhere(pods) && pods.iter().all(|pod| of(pod) == "httpd"))
        .await;
    assert!(kept.iter().all(|uid| after.iter().any(|pod| pod["metadata"]["uid"] == **uid)), "restarted");
    place.until(DAEMONS, "daemon-set", |set| set["status"]["updatedNumberScheduled"] == NODES).await;
}

async fn daemons_are_deleted_together(place: Place) {
    place.post(DAEMONS, &daemon("httpd")).await;
    place.until_all("v1/pods", "", everywhere).await;
    let selected = "apps/v1/daemonsets?labelSelector=daemonset-name%3Ddaemon-set";
    assert_eq!(names(&place.list(selected).await), ["daemon-set"]);
    place.delete(selected, &Value::Null).await;
    place.until(DAEMONS, "daemon-set", Value::is_null).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn the_status_of_a_daemon(place: Place) {
    place.post(DAEMONS, &daemon("httpd")).await;
    place.until(DAEMONS, "daemon-set", |set| set["status"]["numberAvailable"] == NODES).await;
    statuses_are_written(&place, DAEMONS, "daemon-set").await;
}

async fn revisions_live(place: Place) {
    let set = place.post(DAEMONS, &daemon("httpd")).await;
    let label = "daemonset-name=daemon-set";
    let first = place.until_all(REVISIONS, label, |all| all.len() == 1).await.remove(0);
    assert_eq!(controller(&first), set["metadata"]["uid"]);
    let everywhere = place.list("/apis/apps/v1/controllerrevisions").await;
    assert!(everywhere.iter().any(|one| one["metadata"]["uid"] == first["metadata"]["uid"]));
    let name = first["metadata"]["name"].as_str().unwrap();
    let path = format!("{REVISIONS}/{name}");
    assert_eq!(place.get(&path).await["revision"], 1);
    let patched = place.strategic(&path, &json!({ "metadata": { "labels": { name: "patched" } } })).await;
    assert_eq!(patched["metadata"]["labels"][name], "patched");
    // A second one, under another name and number; then the first one goes.
    let mut second = first.clone();
    second["metadata"] = json!({ "name": "second", "labels": first["metadata"]["labels"],
        "ownerReferences": first["metadata"]["ownerReferences"] });
    second["data"]["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    second["revision"] = 2.into();
    place.post(REVISIONS, &second).await;
    place.until_all(REVISIONS, label, |all| all.len() == 2).await;
    place.delete(&path, &Value::Null).await;
    // The one that is in use is made again, with the next number.
    let again = place
        .until(REVISIONS, name, |one| one["metadata"]["uid"] != first["metadata"]["uid"] && one.is_object());
    assert_eq!(again.await["revision"], 3);
    let updated = place
        .update(&format!("{REVISIONS}/second"), |one| one["metadata"]["labels"]["second"] = "updated".into())
        .await;
    assert_eq!(updated["metadata"]["labels"]["second"], "updated");
    place.delete("apps/v1/controllerrevisions?labelSelector=second%3Dupdated", &Value::Null).await;
    place.until(REVISIONS, "second", Value::is_null).await;
    // Another template is another revision.
    place.strategic(PATH, &image("pause")).await;
    place
        .until_all(REVISIONS, label, |all| all.len() == 2 && all.iter().any(|one| one["revision"] == 4))
        .await;
    let name = format!("{label},controller-revision-hash");
    place.until_all(REVISIONS, &name, |all| all.len() == 2).await;
}
