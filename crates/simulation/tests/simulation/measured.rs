//! A server of custom and external metrics behind a Service, which says what a test tells it to.
//!
//! Invariant: it is reached through memory alone, so that time stands still while it works.

use crate::conformance::place::{Place, condition};
use async_trait::async_trait;
use gifee_apiserver::seam::{Dialer, Duplex};
use gifee_apiserver::{Aggregation, Body, Config};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Where its pod is.
const ADDRESS: &str = "10.1.0.7";
const PORT: u16 = 6443;
/// How much a connection holds that was not read yet.
const PIPE_BYTES: usize = 64 << 10;
/// What it serves: groups and versions.
const APIS: [(&str, &str); 2] =
    [("custom.metrics.k8s.io", "v1beta2"), ("external.metrics.k8s.io", "v1beta1")];

/// What it says.
#[derive(Default)]
pub struct Told {
    /// Items of metrics by the end of their path.
    items: Mutex<BTreeMap<String, Vec<Value>>>,
    /// What was asked, with queries.
    asked: Mutex<Vec<String>>,
}

impl Told {
    /// From now on a metric has these items; `path` is what follows `namespaces/NAME/`.
    pub fn set(&self, path: &str, items: &[Value]) {
        self.items.lock().insert(path.to_owned(), items.to_vec());
    }

    /// Whether this was asked.
    pub fn was_asked(&self, path: &str) -> bool {
        self.asked.lock().iter().any(|asked| asked == path)
    }

    fn answer(&self, request: &Request<Incoming>) -> (u16, Value) {
        let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["apis", group, version] => {
                let all = json!({ "kind": "APIResourceList", "apiVersion": "v1",
                    "groupVersion": format!("{group}/{version}"), "resources": [] });
                (200, all)
            }
            ["apis", _, version, "namespaces", _, rest @ ..] => {
                let path = rest.join("/").replace("%2A", "*");
                self.asked.lock().push(format!("{path}?{}", request.uri().query().unwrap_or_default()));
                match self.items.lock().get(&path) {
                    Some(items) => (200, json!({ "kind": "List", "apiVersion": version, "items": items })),
                    None => (404, gifee_base::Status::not_found("", "metrics", &path).to_value()),
                }
            }
            _ => (404, Value::Null),
        }
    }
}

/// Leads to it from wherever its pod is looked for.
pub struct Net {
    told: Arc<Told>,
    acceptor: TlsAcceptor,
}

impl Net {
    /// Leads to a server that says what it is told.
    pub fn new(told: Arc<Told>) -> Arc<Self> {
        let issued = rcgen::generate_simple_self_signed([String::from("metrics")]).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let config = gifee_apiserver::tls(vec![issued.cert.der().clone()], key, Vec::new()).unwrap();
        Arc::new(Self { told, acceptor: TlsAcceptor::from(config) })
    }

    /// Lets an API server reach it.
    pub fn configure(self: Arc<Self>, config: &mut Config) {
        config.dialer = self;
        config.aggregation = Some(Aggregation::default());
    }
}

#[async_trait]
impl Dialer for Net {
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Duplex>> {
        if (host, port) != (ADDRESS, PORT) {
            return Err(std::io::Error::other(format!("nobody is at {host}:{port}")));
        }
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (told, acceptor) = (self.told.clone(), self.acceptor.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(far).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let (code, value) = told.answer(&request);
                let mut response = Response::new(Body::from(value.to_string()));
                *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
                response.headers_mut().insert("content-type", "application/json".parse().unwrap());
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        Ok(Box::new(near))
    }
}

/// A value of a metric from outside.
pub fn waiting(value: &str) -> Value {
    json!({ "metricName": "queue", "metricLabels": { "q": "mail" }, "timestamp": "2026-01-01T00:00:00Z", "value": value })
}

/// Says where it is, and waits until it is taken for available.
pub async fn register(place: &Place) {
    let port = json!([{ "port": 443, "targetPort": PORT, "protocol": "TCP" }]);
    place.post("v1/services", &json!({ "metadata": { "name": "metrics" }, "spec": { "ports": port } })).await;
    let slice = json!({ "metadata": { "name": "metrics", "labels": { "kubernetes.io/service-name": "metrics" } },
        "addressType": "IPv4", "ports": [{ "name": "", "port": PORT, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true } }] });
    place.post("discovery.k8s.io/v1/endpointslices", &slice).await;
    for (group, version) in APIS {
        let service = json!({ "metadata": { "name": format!("{version}.{group}") }, "spec": { "group": group,
            "version": version, "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": true,
            "service": { "namespace": place.namespace, "name": "metrics", "port": 443 } } });
        place.post("/apis/apiregistration.k8s.io/v1/apiservices", &service).await;
    }
    let cluster = Place { namespace: String::new(), ..place.clone() };
    for (group, version) in APIS {
        let name = format!("{version}.{group}");
        let available = |one: &Value| condition(one, "Available")["status"] == "True";
        cluster.until("apiregistration.k8s.io/v1/apiservices", &name, available).await;
    }
}
