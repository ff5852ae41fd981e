//! Streams over one WebSocket: each message begins with the number of its channel.
//!
//! Subprotocols `channel.k8s.io` to `v5.channel.k8s.io` and those of them in base64. Only version 5 can say that a channel
//! has ended; with the others the input of a program goes on for as long as the connection. Answers to `wsstream`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};

use super::{ALIVE, FAREWELL, Inlet, Out, Receiver, Sender};

/// In version 5: the channel whose number follows is closed.
const CLOSE: u8 = 255;

/// A WebSocket over what a request was switched to.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What was switched, as the server's side of a WebSocket.
pub(crate) async fn socket(upgraded: hyper::upgrade::Upgraded) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coding {
    /// In base64, behind a digit.
    pub base64: bool,
    /// Whether channels can be closed.
    pub closes: bool,
}

/// The channels of a connection.
pub(crate) struct Channels {
    inputs: Vec<Option<Receiver>>,
    queue: mpsc::Sender<Out>,
}

impl Channels {
    /// What comes in on a channel, for the first who asks.
    pub fn input(&mut self, number: u8) -> Option<Receiver> {
        self.inputs.get_mut(usize::from(number))?.take()
    }

    /// What goes out on a channel.
    pub fn output(&self, number: u8) -> Sender {
        Sender { stream: u32::from(number), queue: self.queue.clone() }
    }
}

/// Carries a connection while `work` uses its channels; the peer is heard on those of `inputs`.
pub(crate) async fn serve<F>(
    socket: Socket,
    coding: Coding,
    inputs: impl IntoIterator<Item = u8>,
    work: impl FnOnce(Channels) -> F,
) where
    F: Future<Output = ()>,
{
    let (sink, mut frames) = socket.split();
    let (queue, outgoing) = mpsc::channel(super::WAITING);
    let budget = super::budget();
    let mut inlets: Vec<Option<Inlet>> = Vec::new();
    let mut channels = Channels { inputs: Vec::new(), queue: queue.clone() };
    for number in inputs {
        let size = usize::from(number) + 1;
        inlets.resize_with(inlets.len().max(size), || None);
        channels.inputs.resize_with(inlets.len(), || None);
        let (inlet, receiver) = Inlet::new(&budget);
        inlets[size - 1] = Some(inlet);
        channels.inputs[size - 1] = Some(receiver);
    }
    let mut writer = Writer { sink, coding };
    let reading = read(&mut frames, coding, inlets, queue);
    super::serve(&mut writer, outgoing, reading, work(channels)).await;
    // The connection's own farewell, for without it what was sent last may be taken for cut off.
    if let Ok(mut socket) = frames.reunite(writer.sink) {
        let _ = tokio::time::timeout(FAREWELL, socket.get_mut().shutdown()).await;
    }
}

/// Takes what comes until the peer is gone.
async fn read(
    frames: &mut SplitStream<Socket>,
    coding: Coding,
    mut inlets: Vec<Option<Inlet>>,
    queue: mpsc::Sender<Out>,
) {
    while let Some(Ok(message)) = frames.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        let Some((number, data)) = decode(coding, data) else { continue };
        if number == CLOSE && coding.closes {
            let inlet = data.first().and_then(|number| inlets.get_mut(usize::from(*number)));
            if let Some(inlet) = inlet.and_then(Option::take) {
                inlet.end().await;
            }
        } else if let Some(Some(inlet)) = inlets.get(usize::from(number)) {
            let mut giving = std::pin::pin!(inlet.give(data));
            // While this waits, questions whether it lives are not read: the answer comes unasked.
            while tokio::time::timeout(ALIVE, &mut giving).await.is_err() {
                let _ = queue.try_send(Out::Alive);
            }
        }
    }
}

/// The channel of a message, and the rest of it. What is none is `None`.
pub(super) fn decode(coding: Coding, mut data: Bytes) -> Option<(u8, Bytes)> {
    let first = *data.first()?;
    let rest = data.split_off(1);
    if !coding.base64 {
        return Some((first, rest));
    }
    let bytes = STANDARD.decode(&rest).ok()?;
    Some((first.checked_sub(b'0')?, bytes.into()))
}

/// A message of a channel.
pub(super) fn encode(coding: Coding, number: u8, data: &[u8]) -> Message {
    if coding.base64 {
        let mut text = String::from(char::from(b'0'.saturating_add(number)));
        STANDARD.encode_string(data, &mut text);
        return Message::Text(text.into());
    }
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(number);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

struct Writer {
    sink: SplitSink<Socket, Message>,
    coding: Coding,
}

impl super::Sink for Writer {
    async fn put(&mut self, out: Out) -> std::io::Result<()> {
        let message = match out {
            Out::Data(stream, bytes) => encode(self.coding, u8::try_from(stream).unwrap_or(u8::MAX), &bytes),
            Out::Alive => Message::Pong(Bytes::new()),
            Out::End(_) | Out::Accept(_) | Out::Refuse(_) | Out::Pong(_) => return Ok(()),
        };
        self.sink.feed(message).await.map_err(error)
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush().await.map_err(error)
    }

    async fn farewell(&mut self) -> std::io::Result<()> {
        // Without a code, kubectl takes the end for a failure of the connection.
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.sink.send(Message::Close(Some(end))).await.map_err(error)
    }
}

/// An error of a WebSocket as one of a stream.
pub(super) fn error(error: Error) -> std::io::Error {
    match error {
        Error::Io(error) => error,
        other => std::io::Error::other(other),
    }
}
