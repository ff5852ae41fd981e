//! Requests for certificates, and accounts, through all that clients do with them.

use crate::world::{Anything, World};
use base64::Engine;
use gifee_apiserver::admission::Rules;
use gifee_apiserver::seam::{Answer, Authorizer};
use gifee_policy::authorize::Decision;
use gifee_policy::{Attributes, Lookup, User};
use serde_json::{Value, json};
use std::sync::Arc;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn request(name: &str) -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem =
        rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap().serialize_request(&key).unwrap();
    json!({ "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": { "name": name, "labels": { "test": "yes" } },
        "spec": { "request": encoded(&pem.pem().unwrap()), "signerName": "example.com/signer", "expirationSeconds": 3600,
            "usages": ["digital signature", "key encipherment", "server auth"], "username": "somebody", "groups": ["else"] } })
}

#[tokio::test]
async fn requests_are_decided_by_one_and_signed_by_another() {
    let world = World::new().await;
    let found = world.get("/apis/certificates.k8s.io/v1").await.expect(200);
    let names: Vec<&str> =
        found["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    for part in [
        "certificatesigningrequests",
        "certificatesigningrequests/approval",
        "certificatesigningrequests/status",
    ] {
        assert!(names.contains(&part), "{names:?}");
    }
    let me = [("authorization", "Bearer me")];
    let made = world.call(&format!("POST {REQUESTS}"), &request("one"), &me).await.expect(201);
    assert_eq!(made["spec"]["username"], "me");
    assert_eq!(made["spec"]["groups"], json!(["system:authenticated"]));
    let mut watch = world.watch(&format!("{REQUESTS}?watch=1&labelSelector=test%3Dyes")).await;
    assert_eq!(watch.take(1).await, ["ADDED one"]);
    let one = format!("{REQUESTS}/one");
    let note = json!({ "metadata": { "annotations": { "patched": "true" } } });
    let patched = world.patch(&one, "merge-patch", &note).await.expect(200);
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    let mut changed = patched.clone();
    changed["spec"]["signerName"] = "example.com/other".into();
    let same = world.put(&one, &changed).await.expect(200);
    assert_eq!(same["spec"]["signerName"], "example.com/signer", "what was asked stays");
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "reason": "e2e", "message": "from a test" });
    let approve = json!({ "status": { "conditions": [condition("Approved")] } });
    let approved = world.patch(&format!("{one}/approval"), "merge-patch", &approve).await.expect(200);
    let first = &approved["status"]["conditions"][0];
    assert!(first["lastUpdateTime"].is_string() && first["lastTransitionTime"].is_string(), "{approved}");
    let deny = json!({ "status": { "conditions": [condition("Denied")] } });
    assert_eq!(world.patch(&format!("{one}/approval"), "merge-patch", &deny).await.code, 422);
    let certificate = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap().cert.pem();
    let sign =
        json!({ "status": { "certificate": encoded(&certificate), "conditions": [condition("Ready")] } });
    let signed = world.patch(&format!("{one}/status"), "merge-patch", &sign).await.expect(200);
    assert_eq!(signed["status"]["certificate"], encoded(&certificate));
    let kinds: Vec<&Value> =
        signed["status"]["conditions"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(kinds, ["Approved", "Ready"], "who signs does not undo the approval");
    for part in ["approval", "status"] {
        assert_eq!(world.get(&format!("{one}/{part}")).await.expect(200)["metadata"]["name"], "one");
    }
    world.delete(&one).await.expect(200);
    assert_eq!(world.get(&one).await.code, 404);
    world.post(REQUESTS, &request("two")).await.expect(201);
    world.delete(&format!("{REQUESTS}?labelSelector=test%3Dyes")).await.expect(200);
    assert_eq!(world.get(REQUESTS).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn requests_of_pods_are_answered_once() {
    let world = World::new().await;
    let requests = "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests";
    let uid = |digit: char| format!("7d3c6e0a-6f4b-4c3f-8f5e-0d7e5a0f9c1{digit}");
    let key = rcgen::KeyPair::generate().unwrap();
    let stub = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let stub = base64::engine::general_purpose::STANDARD.encode(stub.der());
    let body = json!({ "apiVersion": "certificates.k8s.io/v1", "kind": "PodCertificateRequest", "metadata": { "name": "web" },
        "spec": { "signerName": "example.com/signer", "podName": "web", "podUID": uid('1'), "serviceAccountName": "default",
            "serviceAccountUID": uid('2'), "nodeName": "n", "nodeUID": uid('3'), "maxExpirationSeconds": 86_400, "stubPKCS10Request": stub } });
    world.post(requests, &body).await.expect(201);
    let found = world
        .get("/apis/certificates.k8s.io/v1/podcertificaterequests?fieldSelector=spec.nodeName%3Dn")
        .await
        .expect(200);
    assert_eq!(found["items"][0]["metadata"]["name"], "web");
    let other = json!({ "spec": { "podName": "other" } });
    assert_eq!(world.patch(&format!("{requests}/web"), "merge-patch", &other).await.code, 422);
    let denied = json!({ "status": { "conditions": [{ "type": "Denied", "status": "True", "reason": "Test", "message": "no",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
    let answered = world.patch(&format!("{requests}/web/status"), "merge-patch", &denied).await.expect(200);
    assert_eq!(answered["status"]["conditions"][0]["type"], "Denied");
    world.delete(&format!("{requests}/web")).await.expect(200);
}

#[tokio::test]
async fn an_account_lives_through_all_verbs() {
    let world = World::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let body = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "sa", "labels": { "own": "yes" } },
        "automountServiceAccountToken": false });
    world.post(accounts, &body).await.expect(201);
    let mut watch = world.watch(&format!("{accounts}?watch=1&labelSelector=own%3Dyes")).await;
    let patch = json!({ "automountServiceAccountToken": true });
    let patched = world.patch(&format!("{accounts}/sa"), "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(patched["automountServiceAccountToken"], true);
    let listed = world.get("/api/v1/serviceaccounts?labelSelector=own%3Dyes").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let mut changed = patched.clone();
    changed["automountServiceAccountToken"] = false.into();
    assert_eq!(
        world.put(&format!("{accounts}/sa"), &changed).await.expect(200)["automountServiceAccountToken"],
        false
    );
    world.delete(&format!("{accounts}?labelSelector=own%3Dyes")).await.expect(200);
    assert_eq!(watch.take(4).await, ["ADDED sa", "MODIFIED sa", "MODIFIED sa", "DELETED sa"]);
}

#[tokio::test]
async fn reviews_are_held_to_their_form() {
    let world = World::new().await;
    let group = "/apis/authorization.k8s.io/v1";
    let ask = async |kind: &str, place: &str, metadata: Value, spec: Value| {
        let body = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec });
        world.post(&format!("{group}{place}"), &body).await
    };
    let attributes = |selector: Value| {
        json!({ "user": "ann", "resourceAttributes": { "verb": "list", "resource": "pods",
        "namespace": "default", "fieldSelector": selector } })
    };
    let (named, place) = ("SubjectAccessReview", "/subjectaccessreviews");
    let fine = json!({ "requirements": [{ "key": "spec.nodeName", "operator": "In", "values": ["n"] }] });
    let answer = ask(named, place, json!({}), attributes(fine)).await.expect(201);
    assert_eq!(answer["status"]["allowed"], true);
    for (selector, why) in [
        (json!({}), "requirements or rawSelector is required"),
        (
            json!({ "rawSelector": "a=b", "requirements": [{ "key": "a", "operator": "In", "values": ["b"] }] }),
            "may not specified at the same time as requirements",
        ),
    ] {
        let refused = ask(named, place, json!({}), attributes(selector)).await;
        assert!(refused.failure().contains(why), "{}", refused.failure());
    }
    let refused = ask(named, place, json!({ "name": "x" }), attributes(Value::Null)).await;
    assert!(refused.failure().contains("metadata: Invalid value"), "{}", refused.failure());
    let local = "/namespaces/default/localsubjectaccessreviews";
    let fine =
        ask("LocalSubjectAccessReview", local, json!({ "namespace": "default" }), attributes(Value::Null))
            .await;
    assert_eq!(fine.expect(201)["status"]["allowed"], true);
    let elsewhere = json!({ "user": "ann", "resourceAttributes": { "verb": "list", "resource": "pods", "namespace": "other" } });
    let refused = ask("LocalSubjectAccessReview", local, json!({}), elsewhere).await;
    assert!(refused.failure().contains("must match metadata.namespace"));
}

/// Decides of signers only after somebody elsewhere was asked.
struct Elsewhere;

impl Authorizer for Elsewhere {
    fn authorize<'a>(&'a self, attributes: &'a Attributes, lookup: &'a dyn Lookup) -> Answer<'a, Decision> {
        if attributes.resource != "signers" {
            return Anything.authorize(attributes, lookup);
        }
        Answer::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            match (&*attributes.verb, &*attributes.name) {
                ("approve", "example.com/signer") => Decision::Allow(Arc::default()),
                _ => Decision::NoOpinion("not that one".into()),
            }
        }))
    }

    fn rules(&self, user: &User, namespace: &str, lookup: &dyn Lookup) -> gifee_policy::authorize::Rules {
        Anything.rules(user, namespace, lookup)
    }
}

#[tokio::test]
async fn admission_asks_authorizers_elsewhere_too() {
    let world = World::with(|config| {
        config.authorizer = Arc::new(Elsewhere);
        config.admission = Arc::new(Rules::new(Arc::new(Elsewhere)));
    })
    .await;
    for (name, signer) in [("good", "example.com/signer"), ("bad", "example.com/other")] {
        let mut request = request(name);
        request["spec"]["signerName"] = signer.into();
        world.post(REQUESTS, &request).await.expect(201);
        let approve = json!({ "status": { "conditions": [{ "type": "Approved", "status": "True", "reason": "r", "message": "m" }] } });
        let answer = world.patch(&format!("{REQUESTS}/{name}/approval"), "merge-patch", &approve).await;
        if name == "good" {
            answer.expect(200);
        } else {
            assert_eq!(
                answer.failure(),
                "403 Forbidden: certificatesigningrequests.certificates.k8s.io \"bad\" is forbidden: user not permitted to approve requests with signerName \"example.com/other\""
            );
        }
    }
}
