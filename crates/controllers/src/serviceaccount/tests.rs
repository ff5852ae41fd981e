//! Every namespace gets its service account.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn every_namespace_gets_its_account_and_root_certificate() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    let config = Arc::new(Config { root_ca: Some("PEM".into()), ..Config::default() });
    tokio::spawn(run(context.clone(), config.clone()));
    tokio::spawn(crate::rootca::run(context, config));
    let namespace =
        |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    fake.put(namespace("web"));
    let mut going = namespace("going");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    fake.put(going);
    let (accounts, maps) = (Gvr::core("serviceaccounts"), Gvr::core("configmaps"));
    let certificate = ObjectKey::new("web", "kube-root-ca.crt");
    let until = async |test: &dyn Fn() -> bool| {
        for _ in 0..500 {
            if test() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?}", fake.writes());
    };
    let complete = || {
        fake.object(&accounts, &ObjectKey::new("web", "default")).is_some()
            && fake.object(&maps, &certificate).is_some_and(|map| map["data"]["ca.crt"] == "PEM")
    };
    until(&complete).await;
    assert_eq!(fake.writes().len(), 2);
    fake.remove(&accounts, &ObjectKey::new("web", "default"));
    fake.change(&maps, &certificate, |map| map["data"] = json!({ "ca.crt": "wrong" }));
    until(&complete).await;
    fake.remove(&maps, &certificate);
    until(&complete).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(fake.writes().len(), 3);
    stop.cancel();
}
