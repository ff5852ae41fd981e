//! Claims of devices, from fixtures and against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use tokio_util::sync::CancellationToken;

fn pod(name: &str, phase: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "web", "uid": format!("uid-{name}") },
        "spec": { "resourceClaims": [{ "name": "gpu", "resourceClaimTemplateName": "one" }] },
        "status": { "phase": phase } })
}

fn template() -> Value {
    json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": { "name": "one", "namespace": "web" },
        "spec": { "metadata": { "labels": { "a": "b" } }, "spec": { "devices": {} } } })
}

#[test]
fn a_claim_is_given_back_by_the_last_who_uses_it() {
    let check = |reserved: usize, consumers: &[Consumer], deleting: bool, owner: Option<Consumer>| {
        let entries: Vec<Value> =
            (0..reserved).map(|index| json!({ "resource": "pods", "uid": index.to_string() })).collect();
        let mut one = json!({ "metadata": { "finalizers": ["resource.kubernetes.io/delete-protection", "mine"] },
            "status": { "allocation": {}, "reservedFor": entries } });
        if deleting {
            one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let plan = plan::claim(&one, consumers, owner);
        let status = plan.status.map_or("-".to_owned(), |status| status.to_string());
        let finalizers = plan.finalizers.map_or("-".to_owned(), |all| Value::from(all).to_string());
        format!("{status} {finalizers} {}", plan.delete)
    };
    use Consumer::{Done, Lives, Unseen};
    assert_eq!(check(1, &[Lives], false, None), "- - false");
    assert_eq!(check(1, &[Unseen], true, None), "- - false");
    let freed = r#"{"allocation":null,"reservedFor":null} ["mine"] "#;
    assert_eq!(check(1, &[Done], false, None), format!("{freed}false"));
    assert_eq!(check(1, &[Done], false, Some(Done)), format!("{freed}true"));
    assert_eq!(check(1, &[Done], false, Some(Lives)), format!("{freed}false"));
    assert_eq!(
        check(2, &[Done, Lives], false, Some(Done)),
        r#"{"reservedFor":[{"resource":"pods","uid":"1"}]} - false"#
    );
    assert_eq!(check(0, &[], true, None), r#"{"allocation":null} ["mine"] false"#);
    assert_eq!(check(0, &[], false, None), "- - false");
}

#[test]
fn long_names_are_cut_on_both_sides() {
    struct None;
    impl Lookup for None {
        fn claim(&self, _: &str) -> Option<Value> {
            Option::None
        }
        fn own(&self) -> Vec<Value> {
            Vec::new()
        }
        fn template(&self, _: &str) -> Option<Value> {
            Some(template())
        }
    }
    let name = |pod_name: String| {
        let plan = plan::pod(&pod(&pod_name, "Pending"), &None);
        plan.create[0].1["metadata"]["generateName"].as_str().unwrap().to_owned()
    };
    assert_eq!(name("p".into()), "p-gpu-");
    assert_eq!(name("p".repeat(100)), format!("{}-g", "p".repeat(54)));
}

#[tokio::test(start_paused = true)]
async fn claims_come_and_go_with_their_pods() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    let until = async |what: &str, so: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{what}: {:?} {:?}", fake.objects(&resource_claims()), fake.objects(&pods()));
    };
    fake.put(pod("p", "Pending"));
    let told = std::cell::RefCell::new(Vec::new());
    until("told", &|| {
        told.borrow_mut().extend(events.take());
        !told.borrow().is_empty()
    })
    .await;
    let told = told.into_inner();
    assert_eq!(told[0].reason, "FailedResourceClaimCreation");
    assert_eq!(
        told[0].message,
        "PodResourceClaim gpu: resource claim template \"one\": resourceclaimtemplate.resource.k8s.io \"one\" not found"
    );
    fake.put(template());
    let key = ObjectKey::new("web", "p");
    let claim = || fake.objects(&resource_claims()).first().cloned().unwrap_or_default();
    let status = || fake.object(&pods(), &key).unwrap()["status"]["resourceClaimStatuses"].clone();
    until("made", &|| status().is_array()).await;
    assert_eq!(status(), json!([{ "name": "gpu", "resourceClaimName": claim()["metadata"]["name"] }]));
    assert_eq!(claim()["metadata"]["labels"], json!({ "a": "b" }));
    assert_eq!(claim()["metadata"]["ownerReferences"][0]["uid"], "uid-p");
    // Somebody placed and allocated it without the scheduler.
    let name = ObjectKey::new("web", claim()["metadata"]["name"].as_str().unwrap());
    fake.change(&resource_claims(), &name, |claim| {
        claim["status"] = json!({ "allocation": { "devices": {} } });
        claim["metadata"]["finalizers"] = json!(["resource.kubernetes.io/delete-protection"]);
    });
    fake.change(&pods(), &key, |pod| pod["spec"]["nodeName"] = "n".into());
    until("reserved", &|| claim()["status"]["reservedFor"][0]["uid"] == "uid-p").await;
    fake.writes();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    fake.change(&pods(), &key, |pod| pod["status"]["phase"] = "Succeeded".into());
    until("gone", &|| fake.objects(&resource_claims()).is_empty()).await;
    // A scheduler makes claims of its own for extended resources; they go the same way.
    let mut extended = pod("e", "Running");
    extended["spec"] = json!({ "nodeName": "n" });
    extended["status"]["extendedResourceClaimStatus"] = json!({ "resourceClaimName": "made" });
    fake.put(extended);
    fake.put(json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": { "name": "made", "namespace": "web", "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod",
            "name": "e", "uid": "uid-e", "controller": true }] },
        "status": { "allocation": {}, "reservedFor": [{ "resource": "pods", "name": "e", "uid": "uid-e" }] } }));
    let key = ObjectKey::new("web", "e");
    fake.change(&pods(), &key, |pod| pod["status"]["phase"] = "Succeeded".into());
    until("given back", &|| fake.objects(&resource_claims()).is_empty()).await;
    stop.cancel();
}
