//! A deleted class stays while a claim or a volume names it.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn a_class_stays_until_nobody_names_it() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    fake.put(json!({ "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
        "metadata": { "name": "fast" }, "driverName": "d" }));
    fake.put(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "c", "namespace": "web" },
        "status": { "modifyVolumeStatus": { "targetVolumeAttributesClassName": "fast" } } }));
    fake.put(json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
        "spec": { "volumeAttributesClassName": "fast" } }));
    let key = ObjectKey::cluster("fast");
    let until = async |expect: bool| {
        for _ in 0..1000 {
            let class = fake.object(&classes(), &key);
            if class.is_some_and(|class| without(&class, FINALIZER).1) == expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{:?}", fake.object(&classes(), &key));
    };
    until(true).await;
    fake.change(&classes(), &key, |class| {
        class["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    });
    for gone in [("persistentvolumes", "", "v"), ("persistentvolumeclaims", "web", "c")] {
        tokio::time::sleep(Duration::from_millis(40)).await;
        until(true).await;
        fake.remove(&Gvr::core(gone.0), &ObjectKey::new(gone.1, gone.2));
    }
    until(false).await;
    assert_eq!(fake.writes().len(), 2);
    stop.cancel();
}
