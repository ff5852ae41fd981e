//! What is written again, and what a migration says.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use tokio_util::sync::CancellationToken;

#[test]
fn an_end_is_an_end() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let running = status(&json!({ "resourceVersion": "7" }), (RUNNING, "R", ""), now);
    assert!(!ended(&json!({ "status": running })));
    let done = status(&running, (SUCCEEDED, "S", ""), now);
    assert!(ended(&json!({ "status": done })));
    assert_eq!(done["resourceVersion"], "7");
    let states: Vec<String> = done["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}{}", one["type"], one["status"]))
        .collect();
    assert_eq!(states, ["\"Running\"\"False\"", "\"Succeeded\"\"True\""]);
    assert_eq!(status(&done, (SUCCEEDED, "S", ""), now), done);
}

#[tokio::test(start_paused = true)]
async fn every_object_is_written_once() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    for name in ["a", "b", "c"] {
        fake.put(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "web" } }));
    }
    tokio::spawn(run(context, Arc::default()));
    let migrate = |name: &str, resource: &str| {
        fake.put(json!({ "apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration",
            "metadata": { "name": name, "creationTimestamp": "2020-01-01T00:00:00Z" },
            "spec": { "resource": { "resource": resource } } }));
    };
    let until = async |name: &str, condition: &str| {
        for _ in 0..1000 {
            let one = fake.object(&migrations(), &ObjectKey::cluster(name)).unwrap_or_default();
            let conditions = one["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|one| one["type"] == condition && one["status"] == "True") {
                return one;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{:?}", fake.objects(&migrations()));
    };
    migrate("good", "configmaps");
    let good = until("good", SUCCEEDED).await;
    assert!(good["status"]["resourceVersion"].is_string());
    let mut writes = fake.writes();
    writes.sort();
    let own = "PATCH /apis/storagemigration.k8s.io/v1/storageversionmigrations/good/status".to_owned();
    let objects = ["a", "b", "c"].map(|name| format!("PATCH /api/v1/namespaces/web/configmaps/{name}"));
    assert_eq!(writes, [objects.to_vec(), vec![own.clone(), own]].concat());
    migrate("bad", "nothings");
    let bad = until("bad", FAILED).await;
    assert_eq!(bad["status"]["conditions"][0]["message"], "resource not found");
    stop.cancel();
}
