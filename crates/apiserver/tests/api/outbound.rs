//! Calls of the server to others: whom it trusts, how it finds them, and how failures read.

use crate::backend::{self, Authority, Backend, Net};
use crate::world::World;
use bytes::Bytes;
use gifee_apiserver::outbound::{Endpoint, Identity, Outbound, Place, Trust};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn outbound() -> Outbound {
    Outbound::new(Arc::new(gifee_apiserver::outbound::Direct), None)
}

fn endpoint(url: &str, authority: &Authority) -> Endpoint {
    Endpoint::from_client_config(&json!({ "url": url, "caBundle": authority.bundle() })).unwrap()
}

async fn failure(outbound: &Outbound, endpoint: &Endpoint) -> String {
    let timeout = Duration::from_secs(60);
    outbound.post_json(endpoint, Bytes::from_static(b"{}"), timeout).await.unwrap_err().to_string()
}

#[tokio::test]
async fn webhooks_are_called_over_pooled_connections() {
    let authority = Authority::new();
    let backend =
        Backend::tls(&authority, &["localhost"], backend::json(|body| json!({ "got": body }))).await;
    let (outbound, endpoint) = (outbound(), endpoint(&backend.url("/hook"), &authority));
    for _ in 0..20 {
        let answer = outbound.post_json(&endpoint, Bytes::from_static(b"[1]"), Duration::from_secs(5)).await;
        assert_eq!(&answer.unwrap()[..], br#"{"got":[1]}"#);
    }
    assert_eq!(backend.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_sent_is_what_webhooks_expect() {
    let authority = Authority::new();
    let shown: backend::Answers = Arc::new(|request| {
        Box::pin(async move {
            let header =
                |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let certificate = request.extensions().get::<backend::Shown>().unwrap().0.is_some();
            let text = format!(
                "{} {} {:?} {:?} {:?} {:?} {certificate}",
                request.method(),
                request.uri(),
                request.version(),
                header("host"),
                header("content-type"),
                header("authorization"),
            );
            http::Response::new(gifee_apiserver::Body::from(text))
        })
    });
    let backend = Backend::tls(&authority, &["localhost"], shown).await;
    let mut endpoint = endpoint(&backend.url("/hook?a=b"), &authority);
    let (_, key, certificate) = authority.issue(&[], "me");
    endpoint.identity =
        Some(Arc::new(Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap()));
    endpoint.authorization = Some("Bearer t".parse().unwrap());
    let answer = outbound().post_json(&endpoint, Bytes::new(), Duration::from_secs(90)).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&answer),
        format!(
            "POST /hook?a=b&timeout=1m30s HTTP/1.1 Some(\"localhost:{}\") Some(\"application/json\") Some(\"Bearer t\") true",
            backend.address.port()
        )
    );
}

#[tokio::test]
async fn failures_read_as_upstreams() {
    let (authority, other) = (Authority::new(), Authority::new());
    let outbound = outbound();
    let good = backend::json(|body| body);
    let backend = Backend::tls(&authority, &["localhost"], good.clone()).await;
    let url = |path: &str| format!("Post \"{}\": ", backend.url(path));
    let asked = url("/?timeout=1m0s");
    assert_eq!(
        failure(&outbound, &endpoint(&backend.url("/"), &other)).await,
        format!("{asked}tls: failed to verify certificate: x509: certificate signed by unknown authority")
    );
    let wrong = Backend::tls(&authority, &["elsewhere", "other.example"], good.clone()).await;
    assert_eq!(
        failure(&outbound, &endpoint(&wrong.url("/"), &authority)).await,
        format!(
            "Post \"{}\": tls: failed to verify certificate: x509: certificate is valid for elsewhere, other.example, not localhost",
            wrong.url("/?timeout=1m0s")
        )
    );
    let old = Backend::tls(&authority, &[], good.clone()).await;
    assert_eq!(
        failure(&outbound, &endpoint(&old.url("/"), &authority)).await,
        format!(
            "Post \"{}\": tls: failed to verify certificate: x509: certificate relies on legacy Common Name field, use SANs instead",
            old.url("/?timeout=1m0s")
        )
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(
        failure(&outbound, &endpoint(&format!("https://{nobody}/x"), &authority)).await,
        format!("Post \"https://{nobody}/x?timeout=1m0s\": dial tcp {nobody}: connect: connection refused")
    );
    let plain = Backend::plain(good).await;
    assert_eq!(
        failure(&outbound, &endpoint(&plain.url("/"), &authority)).await,
        format!("Post \"{}\": http: server gave HTTP response to HTTPS client", plain.url("/?timeout=1m0s"))
    );
    for (code, expect) in [
        (400, "the server rejected our request for an unknown reason"),
        (404, "the server could not find the requested resource"),
        (500, "an error on the server (\"no luck\") has prevented the request from being successful"),
        (302, "the server responded with the status code 302 but did not return more information"),
    ] {
        let backend = Backend::tls(&authority, &["localhost"], backend::text(code, "no luck\n")).await;
        assert_eq!(failure(&outbound, &endpoint(&backend.url("/"), &authority)).await, expect);
    }
}

#[tokio::test]
async fn slow_endless_and_huge_answers_end() {
    let authority = Authority::new();
    let outbound = outbound();
    for (answers, expect) in [
        (backend::silent(), "context deadline exceeded"),
        (backend::dripping(), "context deadline exceeded"),
        (backend::endless(), "the answer is longer than 16777216 bytes"),
    ] {
        let backend = Backend::tls(&authority, &["localhost"], answers).await;
        let endpoint = endpoint(&backend.url("/"), &authority);
        let (began, timeout) =
            (Instant::now(), Duration::from_millis(if expect.contains("longer") { 20_000 } else { 300 }));
        let failed = outbound.post_json(&endpoint, Bytes::new(), timeout).await.unwrap_err();
        assert!(failed.to_string().ends_with(expect), "{failed}");
        assert_eq!(failed.is_timeout(), timeout < Duration::from_secs(1));
        assert!(began.elapsed() < Duration::from_secs(15));
    }
}

#[tokio::test]
async fn an_authoritys_own_certificate_is_taken_if_it_is_the_bundle() {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = gifee_apiserver::tls(vec![certificate.der().clone()], der, Vec::new()).unwrap();
    let backend = Backend::start(Some(tls), backend::json(|body| body)).await;
    let mut endpoint = Endpoint::from_url(&backend.url("/")).unwrap();
    endpoint.trust = Trust::Bundle(certificate.pem().into_bytes().into());
    let call = async |endpoint: &Endpoint| {
        outbound().post_json(endpoint, Bytes::from_static(b"1"), Duration::from_secs(5)).await
    };
    call(&endpoint).await.unwrap();
    let mut elsewhere =
        Endpoint::from_url(&format!("https://127.0.0.1:{}/", backend.address.port())).unwrap();
    elsewhere.trust = endpoint.trust.clone();
    assert!(call(&elsewhere).await.is_err(), "the name counts");
}

#[tokio::test]
async fn services_are_reached_at_their_ready_endpoints() {
    let authority = Authority::new();
    let backend = Backend::tls(&authority, &["hook.default.svc"], backend::json(|body| body)).await;
    let net = Net(vec![("10.1.0.7:8443".into(), backend.address)]);
    let world = World::with(|config| config.dialer = Arc::new(net)).await;
    let outbound = world.server.outbound();
    let config = |name: &str, port: u16| {
        let service = json!({ "namespace": "default", "name": name, "port": port, "path": "/p" });
        Endpoint::from_client_config(&json!({ "service": service, "caBundle": authority.bundle() })).unwrap()
    };
    assert_eq!(
        failure(&outbound, &config("hook", 443)).await,
        "Post \"https://hook.default.svc:443/p?timeout=1m0s\": service \"hook\" not found"
    );
    world.add_service("hook", 443, &[("10.1.0.6", false)], 8443).await;
    assert!(
        failure(&outbound, &config("hook", 444))
            .await
            .ends_with("no service port 444 found for service \"hook\"")
    );
    assert!(
        failure(&outbound, &config("hook", 443))
            .await
            .ends_with("no endpoints available for service \"hook\"")
    );
    world.add_service("hook", 443, &[("10.1.0.6", false), ("10.1.0.7", true)], 8443).await;
    let answer =
        outbound.post_json(&config("hook", 443), Bytes::from_static(b"1"), Duration::from_secs(5)).await;
    assert_eq!(&answer.unwrap()[..], b"1");
    let by_address = Endpoint::new(Place::Address { tls: false, host: "10.9.9.9".into(), port: 1 });
    assert!(
        failure(&outbound, &by_address).await.ends_with("dial tcp 10.9.9.9:1: connect: connection refused")
    );
}
