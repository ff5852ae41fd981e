//! Streams over one WebSocket: each frame begins with the number of its channel.
//!
//! Answers to apimachinery's `remotecommand` and apiserver's `wsstream`, subprotocols `v4.channel.k8s.io` and
//! `v5.channel.k8s.io`; the latter can end the input while the output goes on.

use futures_util::{SinkExt, StreamExt};
use gifee_base::Status;
use gifee_oci::Session;
use gifee_oci::runtime::{Input, Output};
use gifee_oci::spec::Size;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};

use super::{Body, respond};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In version 5: the channel whose number follows is closed.
const CLOSE: u8 = 255;
/// The subprotocols, the better one first.
pub(super) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Bytes of output in a frame.
const FRAME: usize = 32 * 1024;
/// Frames that wait for a slow peer.
const WAITING: usize = 16;

pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers an upgrade to one of these subprotocols; `serve` gets the socket.
pub(super) fn upgrade<F>(
    mut request: Request<Incoming>,
    protocols: &[&'static str],
    serve: impl FnOnce(Socket) -> F + Send + 'static,
) -> Result<Response<Body>, Status>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (accept, protocol) = negotiate(request.headers(), protocols)?;
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A peer that goes away in between is no event.
        if let Ok(upgraded) = upgrading.await {
            serve(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await).await;
        }
    });
    let mut response = respond(StatusCode::SWITCHING_PROTOCOLS, "text/plain", String::new());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// What an upgrade to one of these subprotocols is answered with.
pub(super) fn negotiate(
    headers: &HeaderMap,
    protocols: &[&'static str],
) -> Result<(HeaderValue, &'static str), Status> {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let upgrade = text(header::UPGRADE);
    if upgrade.to_ascii_lowercase().starts_with("spdy/") {
        let protocols = protocols.join(", ");
        return Err(Status::bad_request(format!(
            "this node streams over WebSockets ({protocols}), not over SPDY"
        )));
    }
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let key = text(header::SEC_WEBSOCKET_KEY);
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| Status::bad_request("a malformed Sec-WebSocket-Key"))?;
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let chosen = protocols.iter().copied().find(|protocol| offered.contains(protocol));
    let chosen = chosen.ok_or_else(|| {
        Status::bad_request(format!(
            "unable to upgrade: none of the protocols {offered:?} is one of {protocols:?}"
        ))
    })?;
    Ok((accept, chosen))
}

/// Carries a session's streams until its program ends, or the peer goes away.
pub(super) async fn serve(socket: Socket, session: Result<Session, gifee_oci::Error>) {
    let (mut sink, mut frames) = socket.split();
    let (sender, mut queue) = mpsc::channel::<Message>(WAITING);
    let writing = async {
        while let Some(message) = queue.recv().await {
            sink.send(message).await?;
        }
        // Without a code, kubectl takes the end for a failure of the connection.
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        sink.send(Message::Close(Some(end))).await?;
        sink.close().await
    };
    let working = async {
        match session {
            Ok(session) => carry(session, &mut frames, sender).await,
            Err(error) => {
                let _ = sender.send(frame(ERROR, failure(&error).to_string().as_bytes())).await;
            }
        }
    };
    // Whichever direction ends early, the other has nothing more to do.
    let _ = tokio::join!(writing, working);
    // The socket's own farewell, for without it what was sent last may be taken for cut off.
    if let Ok(mut socket) = frames.reunite(sink) {
        let _ = socket.get_mut().shutdown().await;
    }
}

async fn carry(
    session: Session,
    frames: &mut futures_util::stream::SplitStream<Socket>,
    sender: mpsc::Sender<Message>,
) {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    // Tells the peer that the streams are there.
    let first = if stdout.is_some() { STDOUT } else { ERROR };
    let _ = sender.send(frame(first, &[])).await;
    let output = async {
        tokio::join!(pump(STDOUT, stdout, &sender), pump(STDERR, stderr, &sender));
    };
    let ending = async {
        let ((), code) = tokio::join!(output, exit);
        code
    };
    tokio::select! {
        ended = ending => {
            let status = match ended {
                Ok(0) => json!({"metadata": {}, "status": "Success"}),
                Ok(code) => exited(code),
                Err(error) => failure(&error),
            };
            let _ = sender.send(frame(ERROR, status.to_string().as_bytes())).await;
        }
        // The session is dropped, and with it the program.
        () = receive(frames, stdin, resize) => {}
        () = sender.closed() => {}
    }
}

/// A frame of a channel.
pub(super) fn frame(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// Sends one output to its end.
async fn pump(channel: u8, output: Option<Output>, sender: &mpsc::Sender<Message>) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; FRAME];
    loop {
        match output.read(&mut buffer).await {
            // A terminal whose program ended is an error to read from.
            Ok(0) | Err(_) => return,
            Ok(size) => {
                if sender.send(frame(channel, &buffer[..size])).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewSize {
    width: u16,
    height: u16,
}

/// Takes what the peer sends; returns when it goes away.
async fn receive(
    frames: &mut futures_util::stream::SplitStream<Socket>,
    mut stdin: Option<Input>,
    resize: Option<mpsc::Sender<Size>>,
) {
    while let Some(Ok(message)) = frames.next().await {
        let data = match &message {
            Message::Binary(data) => data.as_ref(),
            Message::Text(text) => text.as_bytes(),
            Message::Close(_) => return,
            _ => continue,
        };
        match data.split_first() {
            Some((&STDIN, data)) => {
                let failed = match &mut stdin {
                    Some(input) => input.write_all(data).await.is_err() || input.flush().await.is_err(),
                    None => false,
                };
                if failed {
                    // The program reads no more; its output still counts.
                    stdin = None;
                }
            }
            Some((&RESIZE, data)) => {
                if let (Ok(size), Some(resize)) = (serde_json::from_slice::<NewSize>(data), &resize) {
                    let _ = resize.send(Size { width: size.width, height: size.height }).await;
                }
            }
            Some((&CLOSE, [STDIN, ..])) => {
                if let Some(mut input) = stdin.take() {
                    let _ = input.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

fn exited(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}
    })
}

fn failure(error: &gifee_oci::Error) -> Value {
    Status::internal(format!("error executing command in container: {error}")).to_value()
}
