//! Tokens good and bad, and identities of certificates.

use super::*;
use crate::lookup::tests::World;
use serde_json::json;
use token::{Bound, Request, Tokens};

const NOW: i64 = 1_700_000_000;

fn bound(name: &str, uid: &str) -> Bound {
    Bound { name: name.into(), uid: uid.into() }
}

fn world() -> World {
    let mut world = World::default();
    world.add(
        "",
        "serviceaccounts",
        json!({ "metadata": { "namespace": "a", "name": "robot", "uid": "u1" } }),
    );
    world.add("", "pods", json!({ "metadata": { "namespace": "a", "name": "p", "uid": "u2" } }));
    world
}

fn tokens() -> Tokens {
    Tokens::new(&Tokens::generate_key().unwrap(), "https://issuer", vec!["api".into()]).unwrap()
}

fn request() -> Request {
    Request {
        namespace: "a".into(),
        service_account: bound("robot", "u1"),
        expiration_seconds: 600,
        pod: Some(bound("p", "u2")),
        node: Some(bound("n", "u3")),
        ..Request::default()
    }
}

#[test]
fn a_good_token_names_account_groups_and_bindings() {
    let tokens = tokens();
    let token = tokens.issue(request(), NOW).unwrap().token;
    assert!(tokens.knows(&token));
    let verified = tokens.verify(&token, &[], NOW + 1, &world()).unwrap();
    assert_eq!(verified.user.name, "system:serviceaccount:a:robot");
    assert_eq!(
        verified.user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
    );
    assert_eq!(verified.user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(verified.user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
    assert_eq!(verified.audiences, ["api"]);
}

#[test]
fn bad_tokens_are_refused() {
    let (tokens, world) = (tokens(), world());
    let refused = |token: &str, audiences: &[String], now: i64| {
        tokens.verify(token, audiences, now, &world).unwrap_err().to_string()
    };
    let good = tokens.issue(request(), NOW).unwrap().token;
    assert_eq!(refused(&good, &[], NOW + 661), "service account token has expired");
    assert_eq!(refused(&good, &[], NOW - 61), "service account token is not valid yet");
    assert!(refused(&good, &["other".into()], NOW).contains("invalid for the target audiences"));
    let mut forged = good.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    assert!(refused(&forged, &[], NOW).starts_with("invalid bearer token"));
    assert!(refused("", &[], NOW).starts_with("invalid bearer token"));
    assert!(refused("a.b.c", &[], NOW).starts_with("invalid bearer token"));
    let foreign =
        Tokens::new(&Tokens::generate_key().unwrap(), "https://issuer", vec!["api".into()]).unwrap();
    assert!(
        refused(&foreign.issue(request(), NOW).unwrap().token, &[], NOW).starts_with("invalid bearer token")
    );
    let gone = Request { pod: Some(bound("gone", "u2")), ..request() };
    assert!(
        refused(&tokens.issue(gone, NOW).unwrap().token, &[], NOW)
            .contains("service account token has been invalidated")
    );
    let reborn = Request { pod: Some(bound("p", "old")), ..request() };
    assert!(
        refused(&tokens.issue(reborn, NOW).unwrap().token, &[], NOW)
            .contains("pod UID (u2) does not match service account pod ref claim (old)")
    );
}

#[test]
fn no_algorithm_and_other_issuers_are_refused() {
    let tokens = tokens();
    // {"alg":"none"} . {"iss":"https://issuer"}
    let none = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lzc3VlciJ9.";
    assert!(tokens.knows(none));
    assert!(tokens.verify(none, &[], NOW, &world()).is_err());
    assert!(!tokens.knows("eyJhbGciOiJub25lIn0.eyJpc3MiOiJvdGhlciJ9."));
}

#[test]
fn what_is_no_certificate_names_nobody() {
    assert_eq!(certificate::user(b""), None);
    assert_eq!(certificate::user(&[0x30, 0x82, 0xff, 0xff]), None);
}

fn encoded(data: &serde_json::Value) -> serde_json::Value {
    use base64::Engine;
    let data = data.as_object().unwrap().iter().map(|(key, value)| {
        (key.clone(), base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap()).into())
    });
    serde_json::Value::Object(data.collect())
}

#[test]
fn tokens_end_with_what_they_are_bound_to_and_say_when_they_are_stale() {
    let tokens = tokens();
    let stale = Request { warn_after_seconds: Some(10), ..request() };
    let token = tokens.issue(stale, NOW).unwrap();
    assert!(token.credential_id.starts_with("JTI="));
    assert_eq!(tokens.verify(&token.token, &[], NOW + 10, &world()).unwrap().annotations, []);
    let annotations = tokens.verify(&token.token, &[], NOW + 15, &world()).unwrap().annotations;
    let text = "subject: system:serviceaccount:a:robot, seconds after warning threshold: 5";
    assert_eq!(annotations, [("authentication.k8s.io/stale-token", text.to_owned())]);
    // The node of a pod is information; a token that is bound to a node ends with it.
    let of_node = Request { pod: None, node: Some(bound("n", "u3")), ..request() };
    let of_node = tokens.issue(of_node, NOW).unwrap().token;
    let refused = |world: &World| tokens.verify(&of_node, &[], NOW, world).unwrap_err().to_string();
    let mut world = world();
    assert_eq!(refused(&world), "service account token has been invalidated");
    world.add("", "nodes", json!({ "metadata": { "name": "n", "uid": "u9" } }));
    assert_eq!(refused(&world), "node UID (u9) does not match service account node ref claim (u3)");
    world.add("", "nodes", json!({ "metadata": { "name": "n", "uid": "u3" } }));
    assert!(tokens.verify(&of_node, &[], NOW, &world).is_ok());
    // A pod that is being deleted keeps its tokens for a minute.
    let deleting = |at: &str| json!({ "metadata": { "namespace": "a", "name": "p", "uid": "u2", "deletionTimestamp": at } });
    world.add("", "pods", deleting("2023-11-14T22:13:00Z"));
    let of_pod = tokens.issue(request(), NOW).unwrap().token;
    assert!(tokens.verify(&of_pod, &[], NOW, &world).is_ok());
    world.add("", "pods", deleting("2023-11-14T22:12:00Z"));
    assert!(tokens.verify(&of_pod, &[], NOW, &world).is_err());
}

#[test]
fn a_token_out_of_a_secret_is_good_while_the_secret_holds_it() {
    let tokens = tokens();
    let legacy = token::Legacy { namespace: "a", account: "robot", account_uid: "u1", secret: "s" };
    let token = tokens.issue_legacy(&legacy).unwrap();
    assert!(tokens.knows(&token));
    let mut world = world();
    let verify = |world: &World| tokens.verify(&token, &[], NOW, world);
    assert_eq!(verify(&world).unwrap_err().to_string(), "Token has been invalidated");
    let secret = |token: &str, labels: serde_json::Value| {
        json!({ "metadata": { "namespace": "a", "name": "s", "labels": labels },
            "type": "kubernetes.io/service-account-token", "data": encoded(&json!({ "token": token })) })
    };
    world.add("", "secrets", secret("other", json!({})));
    assert_eq!(verify(&world).unwrap_err().to_string(), "Token does not match server's copy");
    world.add("", "secrets", secret(&token, json!({})));
    let verified = verify(&world).unwrap();
    assert_eq!(verified.user.name, "system:serviceaccount:a:robot");
    assert_eq!(verified.used, Some(gifee_base::ObjectKey::new("a", "s")));
    let annotation = ("authentication.k8s.io/legacy-token-manual-secret", "s/a".to_owned());
    assert_eq!(verified.annotations, [annotation]);
    world.add("", "secrets", secret(&token, json!({ legacy::LAST_USED: "2023-11-14" })));
    assert_eq!(verify(&world).unwrap().used, None);
    assert!(tokens.verify(&token, &["other".into()], NOW, &world).is_err());
    world.add("", "secrets", secret(&token, json!({ legacy::INVALID_SINCE: "2023-11-14" })));
    assert!(verify(&world).unwrap_err().to_string().contains("has been marked invalid"));
}

#[test]
fn bootstrap_tokens_name_their_groups_until_they_expire() {
    let good = json!({ "token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true", "expiration": "2030-01-01T00:00:00Z",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token" });
    let ask = |token: &str, change: serde_json::Value, kind: &str| {
        let mut data = good.clone();
        for (key, value) in change.as_object().unwrap() {
            data[key] = value.clone();
        }
        let mut world = World::default();
        world.add(
            "",
            "secrets",
            json!({ "metadata": { "namespace": "kube-system", "name": "bootstrap-token-abcdef" },
            "type": kind, "data": encoded(&data) }),
        );
        bootstrap::user(token, NOW, &world)
    };
    let (token, kind) = ("abcdef.0123456789abcdef", bootstrap::SECRET_TYPE);
    let user = ask(token, json!({}), kind).unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    let groups = ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", AUTHENTICATED];
    assert_eq!(user.groups, groups);
    for (token, change, kind) in [
        ("abcdef.0123456789abcdeg", json!({}), kind),
        ("abcdef.0123456789ABCDEF", json!({}), kind),
        ("abcdeg.0123456789abcdef", json!({}), kind),
        (token, json!({}), "Opaque"),
        (token, json!({ "token-id": "abcdeg" }), kind),
        (token, json!({ "expiration": "2020-01-01T00:00:00Z" }), kind),
        (token, json!({ "expiration": "soon" }), kind),
        (token, json!({ "usage-bootstrap-authentication": "false" }), kind),
        (token, json!({ "auth-extra-groups": "system:masters" }), kind),
    ] {
        assert_eq!(ask(token, change.clone(), kind), None, "{token} {change} {kind}");
    }
}

#[test]
fn a_front_proxys_headers_are_read_as_they_are_written() {
    let mut user = User {
        name: "ann".into(),
        uid: "7".into(),
        groups: vec!["team".into(), AUTHENTICATED.into()],
        ..User::default()
    };
    user.extra.insert("example.org/Ä b".to_lowercase(), vec!["x".into(), "y".into()]);
    let headers = request_header::headers(&user);
    assert!(headers.iter().all(|(name, _)| request_header::concerns(name)));
    let read = request_header::user(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    assert_eq!(read, Some(user));
    assert_eq!(request_header::user([("x-remote-group", "system:masters")].into_iter()), None);
}
