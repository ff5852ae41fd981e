//! The streams of one SPDY connection whose peer opens them all.
//!
//! Invariant: at most [`STREAMS`] streams are open for the peer's bytes; further ones are refused.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame::{self, Decoder, Encoder, Event};
use super::headers::Headers;
use crate::streams::{self, CHUNK, Inlet, Out, Receiver, Sender};

/// Streams that are open for what the peer sends.
const STREAMS: usize = 1024;
/// Streams that nobody has looked at yet.
const ARRIVALS: usize = 16;

/// A stream that the peer has opened.
pub(crate) struct Arrival {
    /// Its number.
    pub stream: u32,
    headers: Headers,
    /// What the peer sends.
    pub input: Receiver,
    /// What it is sent.
    pub output: Sender,
}

impl Arrival {
    /// The value of a header; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// Carries a connection while `work` serves the streams that the peer opens. It ends with the work, or with the peer.
pub(crate) async fn serve<I, F>(io: I, work: impl FnOnce(mpsc::Receiver<Arrival>) -> F)
where
    I: AsyncRead + AsyncWrite,
    F: Future<Output = ()>,
{
    let (reader, writer) = tokio::io::split(io);
    let (queue, outgoing) = mpsc::channel(streams::WAITING);
    let (arrivals, arrived) = mpsc::channel(ARRIVALS);
    let mut sink = Writer { writer, encoder: Encoder::default(), buffer: Vec::new(), last: 0 };
    streams::serve(&mut sink, outgoing, read(reader, queue, arrivals), work(arrived)).await;
}

/// Takes what comes until the peer is gone, or speaks no SPDY.
async fn read(mut reader: impl AsyncRead + Unpin, queue: mpsc::Sender<Out>, arrivals: mpsc::Sender<Arrival>) {
    let mut connection =
        Connection { inlets: HashMap::new(), budget: streams::budget(), queue, arrivals, last: 0 };
    let mut decoder = Decoder::default();
    loop {
        loop {
            match decoder.event() {
                Ok(Some(event)) => connection.take(event).await,
                Ok(None) => break,
                Err(error) => return tracing::debug!(%error, "a peer does not speak SPDY"),
            }
        }
        decoder.buffer.reserve(CHUNK);
        match reader.read_buf(&mut decoder.buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

struct Connection {
    inlets: HashMap<u32, Inlet>,
    budget: std::sync::Arc<tokio::sync::Semaphore>,
    queue: mpsc::Sender<Out>,
    arrivals: mpsc::Sender<Arrival>,
    /// The highest number of a stream so far.
    last: u32,
}

impl Connection {
    async fn take(&mut self, event: Event) {
        match event {
            Event::Open { stream, end, headers } => self.open(stream, end, headers).await,
            Event::Data(stream, bytes) => {
                if let Some(inlet) = self.inlets.get(&stream) {
                    inlet.give(bytes).await;
                }
            }
            Event::End(stream) => {
                if let Some(inlet) = self.inlets.remove(&stream) {
                    inlet.end().await;
                }
            }
            Event::Reset(stream) => drop(self.inlets.remove(&stream)),
            // Those with even numbers would be answers to questions that this side does not ask.
            Event::Ping(number) if number % 2 == 1 => self.say(Out::Pong(number)).await,
            Event::Ping(_) | Event::Reply(_) | Event::Away => {}
        }
    }

    /// Once all is over nobody listens, and what comes is only taken.
    async fn say(&self, out: Out) {
        let _ = self.queue.send(out).await;
    }

    async fn open(&mut self, stream: u32, end: bool, headers: Headers) {
        // A peer numbers its streams upward, in odd numbers.
        let valid = stream % 2 == 1 && stream > self.last;
        self.last = self.last.max(stream);
        if !valid || self.inlets.len() >= STREAMS {
            return self.say(Out::Refuse(stream)).await;
        }
        let (inlet, input) = Inlet::new(&self.budget);
        let output = Sender { stream, queue: self.queue.clone() };
        self.say(Out::Accept(stream)).await;
        if self.arrivals.send(Arrival { stream, headers, input, output }).await.is_err() {
            return self.say(Out::Refuse(stream)).await;
        }
        if end {
            inlet.end().await;
        } else {
            self.inlets.insert(stream, inlet);
        }
    }
}

struct Writer<W> {
    writer: W,
    encoder: Encoder,
    buffer: Vec<u8>,
    /// The last stream that was taken on.
    last: u32,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn data(&mut self, stream: u32, end: bool, bytes: Bytes) -> std::io::Result<()> {
        frame::data(stream, end, bytes.len(), &mut self.buffer);
        self.buffer.extend_from_slice(&bytes);
        self.write().await
    }

    async fn write(&mut self) -> std::io::Result<()> {
        let written = self.writer.write_all(&self.buffer).await;
        self.buffer.clear();
        written
    }
}

impl<W: AsyncWrite + Unpin> streams::Sink for Writer<W> {
    async fn put(&mut self, out: Out) -> std::io::Result<()> {
        match out {
            Out::Data(stream, bytes) => return self.data(stream, false, bytes).await,
            Out::End(stream) => return self.data(stream, true, Bytes::new()).await,
            Out::Accept(stream) => {
                self.last = stream;
                self.encoder.reply(stream, &mut self.buffer).map_err(std::io::Error::other)?;
            }
            Out::Refuse(stream) => frame::refuse(stream, &mut self.buffer),
            Out::Pong(number) => frame::ping(number, &mut self.buffer),
            Out::Alive => {}
        }
        self.write().await
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush().await
    }

    async fn farewell(&mut self) -> std::io::Result<()> {
        frame::away(self.last, &mut self.buffer);
        self.write().await?;
        self.writer.shutdown().await
    }
}
