//! ROUTES: what the server answers to.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use gifee_base::{Reason, Status};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::query::Query;
use super::{Body, cadvisor, exec, forward, logs, metrics, respond, storage, summary};
use crate::agent::Agent;
use crate::worker::Shown;

type Answer = fn(Arc<Agent>, String, Request<Incoming>) -> BoxFuture<'static, Result<Response<Body>, Status>>;

/// A row.
pub(super) struct Route {
    /// The path; with a slash at the end, and whatever follows.
    path: &'static str,
    /// What a peer must be allowed to use of the node.
    pub subresource: &'static str,
    /// What answers; it gets what follows the path.
    pub answer: Answer,
}

/// The rows.
const ROUTES: &[Route] = &[
    Route { path: "/healthz", subresource: "healthz", answer: |_, _, _| Box::pin(healthy()) },
    Route { path: "/healthz/", subresource: "healthz", answer: |_, _, _| Box::pin(healthy()) },
    Route { path: "/pods", subresource: "pods", answer: |agent, _, _| Box::pin(pods(agent)) },
    Route { path: "/metrics", subresource: "metrics", answer: |agent, _, _| Box::pin(metrics::own(agent)) },
    Route {
        path: "/metrics/cadvisor",
        subresource: "metrics",
        answer: |agent, _, _| Box::pin(cadvisor::answer(agent)),
    },
    Route {
        path: "/metrics/probes",
        subresource: "metrics",
        answer: |agent, _, _| Box::pin(metrics::probes(agent)),
    },
    Route {
        path: "/metrics/resource",
        subresource: "metrics",
        answer: |agent, _, _| Box::pin(metrics::resource(agent)),
    },
    Route {
        path: "/stats/summary",
        subresource: "stats",
        answer: |agent, _, request| Box::pin(summary::answer(agent, request)),
    },
    Route {
        path: "/stats/summary/",
        subresource: "stats",
        answer: |agent, _, request| Box::pin(summary::answer(agent, request)),
    },
    Route {
        path: "/containerLogs/",
        subresource: "proxy",
        answer: |agent, rest, request| Box::pin(logs::answer(agent, rest, request)),
    },
    Route {
        path: "/exec/",
        subresource: "proxy",
        answer: |agent, rest, request| Box::pin(exec::exec(agent, rest, request)),
    },
    Route {
        path: "/attach/",
        subresource: "proxy",
        answer: |agent, rest, request| Box::pin(exec::attach(agent, rest, request)),
    },
    Route {
        path: "/run/",
        subresource: "proxy",
        answer: |agent, rest, request| Box::pin(exec::run(agent, rest, request)),
    },
    Route {
        path: "/portForward/",
        subresource: "proxy",
        answer: |agent, rest, request| Box::pin(forward::answer(agent, rest, request)),
    },
    Route {
        path: STORAGE,
        subresource: "proxy",
        answer: |agent, rest, request| Box::pin(storage::answer(agent, rest, request)),
    },
];

/// The only row that changes something by PUT and DELETE.
const STORAGE: &str = "/localVolumes/";

impl Route {
    /// The verb of a method on this row.
    pub(super) fn verb(&self, method: &Method) -> Option<&'static str> {
        match *method {
            Method::PUT if self.path == STORAGE => Some("update"),
            Method::DELETE if self.path == STORAGE => Some("delete"),
            Method::GET | Method::HEAD if self.path != STORAGE => Some("get"),
            Method::POST if self.path != STORAGE => Some("create"),
            _ => None,
        }
    }
}

/// The row of a path, and what follows it.
pub(super) fn find(path: &str) -> Option<(&'static Route, &str)> {
    ROUTES.iter().find_map(|route| {
        let rest = path.strip_prefix(route.path)?;
        (rest.is_empty() || route.path.ends_with('/')).then_some((route, rest))
    })
}

async fn healthy() -> Result<Response<Body>, Status> {
    Ok(respond(StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned()))
}

async fn pods(agent: Arc<Agent>) -> Result<Response<Body>, Status> {
    let mailboxes: Vec<_> = agent.pods.lock().values().cloned().collect();
    let items: Vec<_> = mailboxes
        .iter()
        .filter_map(|mailbox| mailbox.shown())
        .filter_map(|shown| serde_json::to_value(shown.pod.as_ref()).ok())
        .collect();
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
    Ok(respond(StatusCode::OK, "application/json", list.to_string()))
}

/// The container that a path names: `namespace/pod/container` or `namespace/pod/uid/container`.
pub(super) struct Named {
    pub shown: Arc<Shown>,
    pub container: String,
}

impl Named {
    pub(super) fn find(agent: &Agent, rest: &str) -> Result<Named, Status> {
        let decoded = |part| percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        let parts: Vec<_> = rest.trim_end_matches('/').split('/').map(decoded).collect();
        let (namespace, pod, container) = match parts.as_slice() {
            [namespace, pod, container] | [namespace, pod, _, container] => {
                (namespace.as_ref(), pod.as_ref(), container.as_ref())
            }
            _ => return Err(Status::no_such_path()),
        };
        let shown = agent.mailbox(namespace, pod).and_then(|mailbox| mailbox.shown());
        let shown = shown.ok_or_else(|| Status::not_found("", "pods", pod))?;
        if !shown.containers.contains_key(container) {
            return Err(Status::bad_request(format!("container {container} is not valid for pod {pod}")));
        }
        Ok(Named { shown, container: container.to_owned() })
    }

    /// The run that runs.
    pub(super) fn running(&self) -> Result<&str, Status> {
        let runs = &self.shown.containers[&self.container];
        let running = runs.iter().find(|(_, _, running)| *running);
        running.map(|(id, _, _)| id.as_str()).ok_or_else(|| {
            let message = format!("container not found ({:?})", self.container);
            Status::new(Reason::NotFound, message)
        })
    }
}

/// The query of a request.
pub(super) fn query(request: &Request<Incoming>) -> Query {
    Query::parse(request.uri().query())
}
