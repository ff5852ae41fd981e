//! Bytes between a container's standard streams, its log and whoever is attached.
//!
//! Invariant: nothing here waits. What a reader does not take at once waits in a buffer of at most [`CHUNK_BYTES`],
//! and while it does, its source is not read: a slow attachment slows the container down, as in containerd, but for
//! at most [`PATIENCE`], after which the attachment is dropped.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::log::{Stream, Tail};

/// Most that is read at once, and so most that waits anywhere.
pub(super) const CHUNK_BYTES: usize = 32 << 10;
/// How long an attached reader may not read.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Most that is read from the streams of a process that has ended, should someone else still write to them.
const DRAIN_BYTES: usize = 4 << 20;

/// An output of a container.
pub(super) struct Source {
    pub file: OwnedFd,
    pub stream: Stream,
    pub tail: Tail,
}

/// What reading a source gave.
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

impl Source {
    pub(super) fn new(file: OwnedFd, stream: Stream) -> Source {
        let _ = rustix::io::ioctl_fionbio(&file, true);
        Source { file, stream, tail: Tail::default() }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        match rustix::io::read(&self.file, buffer) {
            Ok(0) => Read::End,
            Ok(length) => Read::Bytes(length),
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // A terminal whose other side is closed answers EIO.
            Err(_) => Read::End,
        }
    }

    /// How often a source is read at most when its process has ended.
    pub(super) const DRAIN_READS: usize = DRAIN_BYTES / CHUNK_BYTES;
}

/// A descriptor that is written to without waiting.
pub(super) struct Sink {
    pub file: OwnedFd,
    waiting: Vec<u8>,
    since: Option<Instant>,
}

impl Sink {
    pub(super) fn new(file: OwnedFd) -> Sink {
        let _ = rustix::io::ioctl_fionbio(&file, true);
        Sink { file, waiting: Vec::new(), since: None }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How long it may still wait; `None` if it does not.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| PATIENCE.saturating_sub(now.duration_since(since)))
    }

    /// Writes, or keeps what does not go out yet. `false` if nobody will read it any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        if self.is_waiting() {
            self.waiting.extend_from_slice(bytes);
            return true;
        }
        let Some(written) = push(&self.file, bytes) else { return false };
        if written < bytes.len() {
            self.waiting.extend_from_slice(&bytes[written..]);
            self.since = Some(Instant::now());
        }
        true
    }

    /// Goes on with what is waiting. `false` if nobody will read it any more.
    pub(super) fn flush(&mut self) -> bool {
        let Some(written) = push(&self.file, &self.waiting) else { return false };
        self.waiting.drain(..written);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
            self.since = None;
        } else if written > 0 {
            self.since = Some(Instant::now());
        }
        true
    }
}

fn push(file: &OwnedFd, mut bytes: &[u8]) -> Option<usize> {
    let mut written = 0;
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(length) => {
                written += length;
                bytes = &bytes[length..];
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(_) => return None,
        }
    }
    Some(written)
}
