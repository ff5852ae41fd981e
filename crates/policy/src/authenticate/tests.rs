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
    let token = tokens.issue(request(), NOW).unwrap();
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
    let good = tokens.issue(request(), NOW).unwrap();
    assert_eq!(refused(&good, &[], NOW + 601), "service account token has expired");
    assert_eq!(refused(&good, &[], NOW - 60), "service account token is not valid yet");
    assert!(refused(&good, &["other".into()], NOW).contains("invalid for the target audiences"));
    let mut forged = good.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    assert!(refused(&forged, &[], NOW).starts_with("invalid bearer token"));
    assert!(refused("", &[], NOW).starts_with("invalid bearer token"));
    assert!(refused("a.b.c", &[], NOW).starts_with("invalid bearer token"));
    let foreign =
        Tokens::new(&Tokens::generate_key().unwrap(), "https://issuer", vec!["api".into()]).unwrap();
    assert!(refused(&foreign.issue(request(), NOW).unwrap(), &[], NOW).starts_with("invalid bearer token"));
    let gone = Request { pod: Some(bound("gone", "u2")), ..request() };
    assert!(refused(&tokens.issue(gone, NOW).unwrap(), &[], NOW).contains("does not exist"));
    let reborn = Request { pod: Some(bound("p", "old")), ..request() };
    assert!(refused(&tokens.issue(reborn, NOW).unwrap(), &[], NOW).contains("does not match claim"));
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
