//! Streams between clients and programs: byte channels, whatever frames carry them.
//!
//! Everything that serves one (a command, an attachment, a forwarded port) speaks to [`Receiver`]s and [`Sender`]s;
//! what travels is decided by a framing: [`spdy`], or [`channels`] over a WebSocket, or SPDY within a WebSocket
//! ([`tunnel`]). Invariant: what waits for a slow program or a slow peer is bounded, and its source is not read while it
//! does; nothing that was sent before an end is lost by it. Answers to `k8s.io/streaming` and to the streaming servers of
//! kubelet and container runtimes.

mod channels;
pub(crate) mod forward;
pub(crate) mod remote;
pub mod spdy;
#[cfg(test)]
mod tests;
mod tunnel;
pub(crate) mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Bytes that are read at once from a program or a peer.
pub(crate) const CHUNK: usize = 32 << 10;
/// Pieces that wait in one direction of a stream, and all that wait to be sent to a peer.
const WAITING: usize = 16;
/// Bytes of a connection that wait for its programs.
const BUDGET: usize = 4 << 20;
/// How long a peer is waited for that was told that all is over, or that has said so itself.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often a peer hears that its connection lives while nothing of it is read, since a program takes nothing.
const ALIVE: Duration = Duration::from_secs(10);

/// Something to be sent. A framing leaves out what it has no word for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// A stream has no more bytes.
    End(u32),
    /// A stream that the peer opened is there.
    Accept(u32),
    /// A stream that the peer opened is not wanted.
    Refuse(u32),
    /// The answer to a question whether this side lives.
    Pong(u32),
    /// This side lives.
    Alive,
}

/// What a framing writes with.
pub(crate) trait Sink {
    /// Writes one thing; it may stay in a buffer.
    async fn put(&mut self, out: Out) -> std::io::Result<()>;
    /// Sends what stayed in buffers.
    async fn flush(&mut self) -> std::io::Result<()>;
    /// Says that all is over.
    async fn farewell(&mut self) -> std::io::Result<()>;
}

/// The outgoing direction of a stream.
#[derive(Clone)]
pub(crate) struct Sender {
    stream: u32,
    queue: mpsc::Sender<Out>,
}

impl Sender {
    /// Whether there is still somebody to send to.
    async fn send(&self, bytes: Bytes) -> bool {
        self.queue.send(Out::Data(self.stream, bytes)).await.is_ok()
    }

    /// There will be no more.
    async fn end(&self) {
        let _ = self.queue.send(Out::End(self.stream)).await;
    }

    /// The stream makes no sense.
    async fn refuse(&self) {
        let _ = self.queue.send(Out::Refuse(self.stream)).await;
    }

    /// Sends all of a source, and then the end.
    async fn copy(&self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match (&mut source).take(CHUNK as u64).read_buf(&mut buffer).await {
                // A terminal whose program ended is an error to read from.
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if !self.send(buffer.split().freeze()).await {
                        return;
                    }
                }
            }
        }
        self.end().await;
    }
}

/// What comes in on a stream.
enum In {
    Data(Bytes, #[expect(dead_code, reason = "held until the bytes are taken")] OwnedSemaphorePermit),
    End,
}

/// How a stream broke: its peer took it back, or is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// The incoming direction of a stream.
pub(crate) struct Receiver(mpsc::Receiver<In>);

impl Receiver {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.0.recv().await {
            Some(In::Data(bytes, _)) => Ok(Some(bytes)),
            Some(In::End) => Ok(None),
            None => Err(Broken),
        }
    }

    /// Gives all to a program, and then the end, if the peer said one. What the program does not take is dropped.
    async fn copy(&mut self, into: &mut (impl AsyncWrite + Unpin)) -> Result<(), Broken> {
        while let Some(bytes) = self.next().await? {
            if into.write_all(&bytes).await.is_err() || into.flush().await.is_err() {
                while self.next().await?.is_some() {}
                return Ok(());
            }
        }
        let _ = into.shutdown().await;
        Ok(())
    }
}

/// Where a framing puts what comes in on a stream. Dropped without an end, the stream is broken.
struct Inlet {
    queue: mpsc::Sender<In>,
    budget: Arc<Semaphore>,
}

impl Inlet {
    /// The two ends of a direction.
    fn new(budget: &Arc<Semaphore>) -> (Inlet, Receiver) {
        let (queue, receiver) = mpsc::channel(WAITING);
        (Inlet { queue, budget: budget.clone() }, Receiver(receiver))
    }

    /// Gives bytes; what nobody takes any more is dropped.
    async fn give(&self, bytes: Bytes) {
        if bytes.is_empty() || self.queue.is_closed() {
            return;
        }
        let size = u32::try_from(bytes.len().min(BUDGET)).unwrap_or(u32::MAX);
        let put = async {
            if let Ok(permit) = self.budget.clone().acquire_many_owned(size).await {
                let _ = self.queue.send(In::Data(bytes, permit)).await;
            }
        };
        tokio::select! {
            () = put => {}
            () = self.queue.closed() => {}
        }
    }

    async fn end(self) {
        let _ = self.queue.send(In::End).await;
    }
}

/// All that waits for the programs of one connection.
fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BUDGET))
}

/// Carries a connection: `reading` takes what comes until the peer is gone, `work` uses the streams, and what it leaves
/// behind is written before the end.
async fn serve(
    sink: &mut impl Sink,
    queue: mpsc::Receiver<Out>,
    reading: impl Future<Output = ()>,
    work: impl Future<Output = ()>,
) {
    let (finish, finished) = oneshot::channel::<()>();
    let mut writing = std::pin::pin!(write(sink, queue, finished));
    let mut reading = std::pin::pin!(reading);
    let mut gone = {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            () = &mut work => false,
            () = &mut reading => true,
            // It cannot be written to any more.
            _ = &mut writing => return,
        }
    };
    drop(finish);
    // As long as there is somebody who reads, however slowly.
    if !gone {
        tokio::select! {
            _ = &mut writing => {
                // What was sent last arrives only if what still comes is taken.
                let _ = tokio::time::timeout(FAREWELL, reading).await;
                return;
            }
            () = &mut reading => gone = true,
        }
    }
    if gone {
        let _ = tokio::time::timeout(FAREWELL, writing).await;
    }
}

/// Writes what is queued until the work is finished and the queue empty.
async fn write(
    sink: &mut impl Sink,
    mut queue: mpsc::Receiver<Out>,
    mut finished: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    loop {
        let out = match queue.try_recv() {
            Ok(out) => Some(out),
            Err(_) => {
                sink.flush().await?;
                tokio::select! {
                    biased;
                    out = queue.recv() => out,
                    _ = &mut finished => None,
                }
            }
        };
        match out {
            Some(out) => sink.put(out).await?,
            None => break,
        }
    }
    sink.farewell().await
}
