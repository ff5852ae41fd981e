//! A connection whose peer has to say which protocol it speaks, and to take what it is sent.
//!
//! Invariant: a write that does not get on for the limit ends the connection, so nobody holds what a response is made
//! of by not reading it. While there is nothing to write, no clock runs; nor once the peer has said enough.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes that tell one protocol from the other: the length of what HTTP/2 begins with.
const PREFACE: usize = 24;

/// The connection.
pub struct Steady<I> {
    inner: I,
    limit: Duration,
    /// Running while a write waits.
    clock: Option<Pin<Box<Sleep>>>,
    /// Running until the peer has said which protocol it speaks, and how many bytes of that are to come.
    opening: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<I> Steady<I> {
    /// Around a connection: the longest time in which nothing gets on, and how long the peer may take to begin.
    pub fn new(inner: I, limit: Duration, opening: Duration) -> Self {
        Self { inner, limit, clock: None, opening: Some((Box::pin(sleep(opening)), PREFACE)) }
    }

    fn watched<T>(&mut self, outcome: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if outcome.is_ready() {
            self.clock = None;
            return outcome;
        }
        let limit = self.limit;
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(limit)));
        match clock.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Steady<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.inner).poll_read(context, buffer);
        let Some((clock, left)) = &mut this.opening else { return outcome };
        *left = left.saturating_sub(buffer.filled().len() - before);
        if *left == 0 {
            this.opening = None;
        } else if outcome.is_pending() && clock.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer says nothing")));
        }
        outcome
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Steady<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watched(outcome, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.watched(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watched(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watched(outcome, context)
    }
}
