//! `/portForward`: connections to ports inside a pod.

use std::sync::Arc;

use gifee_base::Status;
use http::{Request, Response};
use hyper::body::Incoming;

use super::Body;
use super::query::Query;
use super::routes;
use crate::agent::Agent;
use crate::streams::forward::{self, Place};
use crate::streams::upgrade::{self, Framing};

/// Ports of one request: two channels each, and channels are numbered by a byte.
const PORTS: usize = 64;

pub(super) async fn answer(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let (namespace, name) = match parts.as_slice() {
        [namespace, name] | [namespace, name, _] => (*namespace, *name),
        _ => return Err(Status::no_such_path()),
    };
    let shown = agent.mailbox(namespace, name).and_then(|mailbox| mailbox.shown());
    let shown = shown.ok_or_else(|| Status::not_found("", "pods", name))?;
    let (agreed, headers) = upgrade::negotiate(request.headers(), upgrade::FORWARD)?;
    // Only where nothing else tells the ports does the request have to.
    let ports = match agreed.framing {
        Framing::Channels(_) => ports(&routes::query(&request))?,
        Framing::Spdy | Framing::Tunnel => Vec::new(),
    };
    let place = Place::of(&shown)?;
    upgrade::answer(&agent, request, headers, move |upgraded| forward::serve(place, ports, agreed, upgraded))
}

/// The ports that are asked for.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Status::bad_request(format!("invalid port {text:?}"))),
    };
    let ports: Vec<u16> = query.all("port").map(number).collect::<Result<_, _>>()?;
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"port\" is required")),
        1..=PORTS => Ok(ports),
        _ => Err(Status::bad_request(format!("at most {PORTS} ports can be forwarded at once"))),
    }
}
