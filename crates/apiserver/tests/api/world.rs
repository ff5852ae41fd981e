//! A server with all built-in kinds, and a client of a few words.

use async_trait::async_trait;
use gifee_apiserver::seam::{
    Admission, Answer as Later, Asked, Authenticated, Authenticator, Authorizer, Identity, Issued, Review,
    Reviewed, TokenRequest,
};
use gifee_apiserver::{Body, Config, Server};
use gifee_base::Status;
use gifee_policy::authorize::{Decision, Rule, Rules};
use gifee_policy::{Attributes, Lookup, User};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Everybody may do everything.
pub struct Anything;

impl Authorizer for Anything {
    fn authorize<'a>(&'a self, attributes: &'a Attributes, _: &'a dyn Lookup) -> Later<'a, Decision> {
        if attributes.user.name == "nobody" {
            return Later::Now(Decision::NoOpinion("not you".into()));
        }
        Later::Now(Decision::Allow(Arc::default()))
    }

    fn rules(&self, _: &User, _: &str, _: &dyn Lookup) -> Rules {
        let rule = Rule {
            verbs: vec!["*".into()],
            resources: vec!["*".into()],
            api_groups: vec!["*".into()],
            ..Rule::default()
        };
        Rules { rules: vec![rule], incomplete: String::new() }
    }
}

#[async_trait]
impl Admission for Anything {
    async fn mutate(&self, _: &mut Review<'_>, _: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }
    async fn validate(&self, _: &mut Review<'_>, _: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }
}

impl Authenticator for Anything {
    fn certificate(&self, _: &[rustls_pki_types::CertificateDer<'_>]) -> Option<Identity> {
        None
    }
    fn headers<'a>(
        &'a self,
        asked: Asked<'a>,
        _: &'a dyn Lookup,
    ) -> Later<'a, Result<Option<Authenticated>, Status>> {
        let Some(token) = asked.headers.get("authorization").and_then(|value| value.to_str().ok()) else {
            return Later::Now(Ok(None));
        };
        let name = token.strip_prefix("Bearer ").unwrap_or(token).to_owned();
        let user = User { name, groups: vec!["system:authenticated".into()], ..User::default() };
        Later::Now(Ok(Some(Arc::new(user).into())))
    }
    fn review<'a>(
        &'a self,
        token: &'a str,
        _: &'a [String],
        _: &'a dyn Lookup,
    ) -> Later<'a, Result<Reviewed, Status>> {
        let user = User { name: token.into(), ..User::default() };
        Later::Now(Ok(Reviewed { user: Some(Arc::new(user)), ..Reviewed::default() }))
    }
    fn issue(&self, request: &TokenRequest<'_>) -> Result<Issued, Status> {
        Ok(Issued {
            token: format!("token-of-{}", request.account.name),
            expiration: "2030-01-01T00:00:00Z".into(),
            audiences: request.audiences.clone(),
            credential_id: "JTI=x".into(),
        })
    }
}

/// A server and its client.
pub struct World {
    pub server: Arc<Server>,
    store: Arc<dyn gifee_store::Store>,
}

/// What came back.
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The body, if the code is as expected.
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// `code reason: message`
    pub fn failure(&self) -> String {
        let value = self.json();
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", self.code, word("reason"), word("message"))
    }

    pub fn warnings(&self) -> Vec<String> {
        self.headers.get_all("warning").iter().map(|one| one.to_str().unwrap().to_owned()).collect()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let store: Arc<dyn gifee_store::Store> = Arc::new(gifee_store::memory::open());
        let mut config = Config::new(
            store,
            gifee_registry::kinds(&gifee_registry::Settings::default()),
            Arc::new(|gvk: &gifee_base::Gvk| {
                gifee_schema::Schema::builtin(&gvk.group, &gvk.version, &gvk.kind)
            }),
            Arc::new(Anything),
            Arc::new(Anything),
            Arc::new(Anything),
        );
        change(&mut config);
        let store = config.store.clone();
        let server = Server::start(config).await.unwrap();
        Self { server, store }
    }

    /// What is under the server.
    pub fn store(&self) -> &dyn gifee_store::Store {
        &*self.store
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.server.handle(None, request).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(Duration::from_secs(20), body.collect());
        let bytes = bytes.await.expect("the answer ends").unwrap().to_bytes().to_vec();
        Answer { code: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// `GET /path`, with a body if it is not null; further headers as pairs.
    pub async fn call(&self, request: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let (method, path) = request.split_once(' ').unwrap();
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        self.send(builder.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), &Value::Null, &[]).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(&format!("POST {path}"), body, &[]).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(&format!("PUT {path}"), body, &[]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(&format!("DELETE {path}"), &Value::Null, &[]).await
    }

    pub async fn patch(&self, path: &str, strategy: &str, body: &Value) -> Answer {
        let strategy = format!("application/{strategy}+json");
        self.call(&format!("PATCH {path}"), body, &[("content-type", &strategy)]).await
    }

    /// A Service in `default` with a slice of endpoints, ready or not; puts new endpoints in place of old ones.
    pub async fn add_service(&self, name: &str, port: u16, endpoints: &[(&str, bool)], target: u16) {
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "ports": [{ "port": port }] } });
        self.post("/api/v1/namespaces/default/services", &service).await;
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(address, ready)| json!({ "addresses": [address], "conditions": { "ready": ready } }))
            .collect();
        let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
            "ports": [{ "name": "", "port": target }], "endpoints": endpoints });
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        self.delete(&format!("{slices}/{name}")).await;
        self.post(slices, &slice).await.expect(201);
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.server.handle(None, request).await;
        assert_eq!(response.status(), 200);
        Events::of(response)
    }
}

/// A running watch.
pub struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    pub fn of(response: http::Response<Body>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next event; None when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame());
            let frame = frame.await.expect("an event comes")?;
            self.buffer.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// `TYPE name` of the next events.
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            let event = self.next().await.expect("the watch goes on");
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
            all.push(format!("{} {name}", event["type"].as_str().unwrap()));
        }
        all
    }
}
