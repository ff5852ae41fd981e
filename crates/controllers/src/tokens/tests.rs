//! Secrets are filled once, and go with their account.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn secrets_are_filled_and_go_with_their_account() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let context =
        Context::with(fake.client(), gifee_testkit::RuntimeClock::new(), Recorder::memory(), stop.clone());
    let issuer = Issuer(Arc::new(|token: &Token<'_>| {
        Ok(format!("{}/{}/{}", token.namespace, token.account, token.secret))
    }));
    let config = Config { root_ca: Some("PEM".into()), tokens: Some(issuer), ..Config::default() };
    tokio::spawn(run(context, Arc::new(config)));
    let account = |name: &str| json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "namespace": "a", "name": name } });
    let secret = |name: &str, account: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": { "namespace": "a", "name": name, "annotations": { ACCOUNT: account } } })
    };
    let uid = fake.put(account("robot")).uid().to_owned();
    fake.put(secret("s", "robot"));
    fake.put(secret("orphan", "nobody"));
    let (good, orphan) = (ObjectKey::new("a", "s"), ObjectKey::new("a", "orphan"));
    let until = async |test: &dyn Fn() -> bool| {
        for _ in 0..500 {
            if test() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?}", fake.writes());
    };
    let found = |key: &ObjectKey| fake.object(&secrets(), key);
    until(&|| found(&orphan).is_none() && found(&good).is_some_and(|one| one["data"]["token"].is_string()))
        .await;
    let filled = found(&good).unwrap();
    assert_eq!(STANDARD.decode(filled["data"]["token"].as_str().unwrap()).unwrap(), b"a/robot/s");
    assert_eq!(STANDARD.decode(filled["data"]["ca.crt"].as_str().unwrap()).unwrap(), b"PEM");
    assert_eq!(filled["metadata"]["annotations"][UID], uid);
    let object = fake.put(account("robot"));
    assert_eq!(
        plan(&filled, Some(&object), "PEM"),
        if object.uid() == uid { Plan::Nothing } else { Plan::Delete }
    );
    fake.change(&accounts(), &ObjectKey::new("a", "robot"), |account| {
        account["secrets"] = json!([{ "name": "s" }])
    });
    fake.remove(&secrets(), &good);
    let robot = ObjectKey::new("a", "robot");
    until(&|| {
        fake.object(&accounts(), &robot)
            .is_some_and(|one| one["secrets"] == json!([]) || one["secrets"].is_null())
    })
    .await;
    fake.put(secret("t", "robot"));
    let next = ObjectKey::new("a", "t");
    until(&|| found(&next).is_some_and(|one| one["data"]["token"].is_string())).await;
    fake.remove(&accounts(), &robot);
    until(&|| found(&next).is_none()).await;
    stop.cancel();
}
