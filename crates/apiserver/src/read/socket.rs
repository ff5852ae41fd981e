//! Watches and logs over a WebSocket: each event is a message, of text for JSON and of bytes for protobuf; a log comes in
//! messages as it was read.
//!
//! Invariant: what the client sends is read, as far as it takes to see that it leaves, and thrown away. Answers to
//! `WatchServer.HandleWS` and to `wsstream.Reader`.

use crate::body::Body;
use crate::negotiate::Media;
use crate::request::Request;
use base64::Engine;
use bytes::{Buf, Bytes};
use futures_util::{SinkExt, Stream, StreamExt};
use gifee_base::Status;
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

/// What the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Events of a watch.
    Events(Media),
    /// What comes, as it comes; an empty one first, which says that it begins.
    Bytes,
    /// The same as text.
    Base64,
}

/// Bytes of a message that a client may send: it has nothing to say.
const RECEIVED_BYTES: usize = 4 << 10;
/// What a token among the protocols begins with.
const BEARER: &str = "base64url.bearer.";

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a request asks for a WebSocket.
pub fn wanted(headers: &HeaderMap) -> bool {
    let upgrades = text(headers, CONNECTION).split(',').any(|one| one.trim().eq_ignore_ascii_case("upgrade"));
    upgrades && text(headers, UPGRADE).eq_ignore_ascii_case("websocket")
}

/// How a stream of bytes is sent that is asked for over a WebSocket.
pub fn shape(headers: &HeaderMap) -> Shape {
    let mut offered = text(headers, SEC_WEBSOCKET_PROTOCOL).split(',').map(str::trim);
    let first = offered.find(|one| !one.is_empty() && !one.starts_with(BEARER));
    if first == Some("base64.binary.k8s.io") { Shape::Base64 } else { Shape::Bytes }
}

/// Switches protocols and sends the frames as messages.
///
/// # Errors
/// 400 if the handshake is not one.
pub fn upgrade<S, E>(request: &Request<'_>, shape: Shape, frames: S) -> Result<Response<Body>, Status>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Send + 'static,
{
    let key = text(request.headers, SEC_WEBSOCKET_KEY);
    if key.is_empty() || text(request.headers, SEC_WEBSOCKET_VERSION) != "13" {
        return Err(Status::bad_request("the request is not a WebSocket handshake of version 13"));
    }
    let Some(upgrade) = request.upgrade.lock().take() else {
        return Err(Status::bad_request("this connection cannot switch to another protocol"));
    };
    let stop = request.server.stopping();
    tokio::spawn(async move {
        // A peer that goes away in between is no event.
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(RECEIVED_BYTES))
            .max_frame_size(Some(RECEIVED_BYTES));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = send(socket, shape, frames) => {}
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal)?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    // The one protocol that is not a token is agreed to, whatever it is called.
    let offered = text(request.headers, SEC_WEBSOCKET_PROTOCOL).split(',').map(str::trim);
    let offered: Vec<_> = offered.filter(|one| !one.is_empty() && !one.starts_with(BEARER)).collect();
    if let [one] = offered[..]
        && let Ok(one) = HeaderValue::from_str(one)
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, one);
    }
    Ok(response)
}

async fn send<I, S, E>(socket: WebSocketStream<I>, shape: Shape, frames: S)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    S: Stream<Item = Result<Bytes, E>>,
{
    let (mut sink, mut source) = socket.split();
    let begins = match shape {
        Shape::Events(_) => None,
        Shape::Bytes => Some(Message::Binary(Bytes::new())),
        Shape::Base64 => Some(Message::Text("".into())),
    };
    if let Some(begins) = begins
        && sink.send(begins).await.is_err()
    {
        return;
    }
    let mut frames = std::pin::pin!(frames);
    loop {
        let mut piece = tokio::select! {
            received = source.next() => match received {
                Some(Ok(message)) if !message.is_close() => continue,
                _ => return,
            },
            piece = frames.next() => match piece {
                Some(Ok(piece)) => piece,
                _ => break,
            },
        };
        while let Some(message) = message(&mut piece, shape) {
            if sink.feed(message).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

/// Takes the next event off a piece that holds whole frames, or all of it.
fn message(piece: &mut Bytes, shape: Shape) -> Option<Message> {
    if piece.is_empty() {
        return None;
    }
    let media = match shape {
        Shape::Events(media) => media,
        Shape::Bytes => return Some(Message::Binary(std::mem::take(piece))),
        Shape::Base64 => {
            let text = base64::engine::general_purpose::STANDARD.encode(std::mem::take(piece));
            return Some(Message::Text(text.into()));
        }
    };
    if media == Media::Protobuf {
        // A message has a length of its own.
        let length = usize::try_from(piece.try_get_u32().ok()?).ok()?;
        return Some(Message::Binary(piece.split_to(length.min(piece.len()))));
    }
    let end = piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |end| end + 1);
    // What is written as JSON is text.
    let text = piece.split_to(end).try_into().ok()?;
    Some(Message::Text(text))
}
