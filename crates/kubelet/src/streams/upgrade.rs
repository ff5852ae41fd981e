//! Agreeing with a client on how its streams travel.
//!
//! Invariant: of what a client offers, the first that is understood is taken; connections that were switched are bounded
//! by [`STREAMS`] and end with the agent. Answers to `httpstream.Handshake` and `wsstream.Conn.Open`.

use std::sync::Arc;

use gifee_base::{Reason, Status};
use http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::channels::Coding;
use crate::agent::Agent;
use crate::server::{Body, respond};

/// Connections with streams at the same time; further ones are refused.
pub(crate) const STREAMS: usize = 1000;
/// Where SPDY names what it carries.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY: &str = "SPDY/3.1";

/// How streams travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As SPDY.
    Spdy,
    /// As SPDY within a WebSocket.
    Tunnel,
    /// As channels of a WebSocket.
    Channels(Coding),
}

/// A row: a name, how it travels, and its version.
pub(crate) type Protocol = (&'static str, Framing, u8);

const fn plain(closes: bool) -> Framing {
    Framing::Channels(Coding { base64: false, closes })
}

const BASE64: Framing = Framing::Channels(Coding { base64: true, closes: false });

/// Of commands and attachments. Before version 4, failures are told as bare text, before 3 terminals have no size.
pub(crate) const REMOTE: &[Protocol] = &[
    ("v5.channel.k8s.io", plain(true), 5),
    ("v4.channel.k8s.io", plain(false), 4),
    ("v4.base64.channel.k8s.io", BASE64, 4),
    ("channel.k8s.io", plain(false), 1),
    ("base64.channel.k8s.io", BASE64, 1),
    ("", plain(false), 1),
    ("v4.channel.k8s.io", Framing::Spdy, 4),
    ("v3.channel.k8s.io", Framing::Spdy, 3),
    ("v2.channel.k8s.io", Framing::Spdy, 2),
    ("channel.k8s.io", Framing::Spdy, 1),
];

/// Of forwarded ports.
pub(crate) const FORWARD: &[Protocol] = &[
    ("SPDY/3.1+portforward.k8s.io", Framing::Tunnel, 1),
    ("v4.channel.k8s.io", plain(false), 4),
    ("v4.base64.channel.k8s.io", BASE64, 4),
    ("", plain(false), 1),
    ("portforward.k8s.io", Framing::Spdy, 1),
];

/// What was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// How streams travel.
    pub framing: Framing,
    /// The version of what they mean.
    pub version: u8,
}

/// The headers of the answer to what was agreed.
pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

/// The values of a header, which may be many in one line.
fn values(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|value| !value.is_empty()).collect()
}

/// The first of what a client offers that one of the protocols is.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    protocols: &'static [Protocol],
) -> Result<(Agreed, Headers), Status> {
    let upgrades = values(headers, UPGRADE);
    let asks = |protocol: &str| upgrades.iter().any(|one| one.eq_ignore_ascii_case(protocol));
    let (known, offered): (Vec<&Protocol>, _) = if asks(SPDY) {
        let known = protocols.iter().filter(|row| row.1 == Framing::Spdy).collect();
        (known, values(headers, STREAM_PROTOCOL))
    } else if asks("websocket") {
        let known = protocols.iter().filter(|row| row.1 != Framing::Spdy).collect();
        let offered = values(headers, SEC_WEBSOCKET_PROTOCOL);
        // Who asks for nothing gets what there was before there were names.
        (known, if offered.is_empty() { vec![""] } else { offered })
    } else {
        return Err(Status::bad_request("Upgrade request required"));
    };
    if offered.is_empty() {
        return Err(Status::bad_request(format!(
            "unable to upgrade: {} is required",
            "X-Stream-Protocol-Version"
        )));
    }
    let chosen = offered.iter().find_map(|name| known.iter().find(|row| row.0 == *name));
    let Some((name, framing, version)) = chosen else {
        let known: Vec<&str> = known.iter().map(|row| row.0).filter(|name| !name.is_empty()).collect();
        return Err(Status::new(
            Reason::Forbidden,
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                offered.join(" "),
                known.join(" ")
            ),
        ));
    };
    let mut answer = vec![(CONNECTION, HeaderValue::from_static("Upgrade"))];
    if *framing == Framing::Spdy {
        answer.push((UPGRADE, HeaderValue::from_static(SPDY)));
        answer.push((STREAM_PROTOCOL, HeaderValue::from_static(name)));
    } else {
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        let accept = HeaderValue::from_str(&derive_accept_key(key))
            .map_err(|_| Status::bad_request("a malformed Sec-WebSocket-Key"))?;
        answer.push((UPGRADE, HeaderValue::from_static("websocket")));
        answer.push((SEC_WEBSOCKET_ACCEPT, accept));
        if !name.is_empty() {
            answer.push((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name)));
        }
    }
    Ok((Agreed { framing: *framing, version: *version }, answer))
}

/// Answers as agreed; `serve` gets the connection.
pub(crate) fn answer<F>(
    agent: &Arc<Agent>,
    mut request: Request<Incoming>,
    headers: Headers,
    serve: impl FnOnce(Upgraded) -> F + Send + 'static,
) -> Result<Response<Body>, Status>
where
    F: Future<Output = ()> + Send + 'static,
{
    let slot = agent.streams.clone().try_acquire_owned();
    let slot =
        slot.map_err(|_| Status::unavailable(format!("this node already carries {STREAMS} streams")))?;
    let upgrading = hyper::upgrade::on(&mut request);
    let shutdown = agent.shutdown.clone();
    tokio::spawn(async move {
        let serving = async {
            // A peer that goes away in between is no event.
            if let Ok(upgraded) = upgrading.await {
                serve(upgraded).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = shutdown.cancelled() => {}
        }
        drop(slot);
    });
    let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, "text/plain", String::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().extend(headers);
    Ok(response)
}
