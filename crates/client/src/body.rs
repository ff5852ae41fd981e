//! A response body: bytes that are there, or a stream of chunks.
//!
//! A whole body stays one allocation on its way through an in-process transport.

use crate::error::{BoxError, Error};
use crate::watch::Event;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The largest body that is collected into memory; a longer one is an error.
const COLLECT_MAXIMUM: usize = 512 << 20;

type Events = Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>;
type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// A response body, itself a stream of chunks.
pub struct Body(Inner);

enum Inner {
    Whole(Bytes),
    Chunks(Chunks),
    Events(Events),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// Bytes that are there.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Inner::Whole(bytes))
    }

    /// Chunks as they come.
    pub fn chunks(stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Self {
        Self(Inner::Chunks(Box::pin(stream)))
    }

    /// From any HTTP body; trailers are dropped.
    pub fn from_http<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::chunks(body.into_data_stream().map(|chunk| chunk.map_err(Into::into)))
    }

    /// The events of a watch, of a server in the same process that shares its objects. There are no bytes of it.
    pub fn events(stream: impl Stream<Item = Result<Event, Error>> + Send + 'static) -> Self {
        Self(Inner::Events(Box::pin(stream)))
    }

    /// The events, or the body itself if it is one of bytes.
    pub(crate) fn into_events(self) -> Result<Events, Self> {
        match self.0 {
            Inner::Events(events) => Ok(events),
            _ => Err(self),
        }
    }

    /// The same body, ended early when a future does: as if a connection had broken off.
    #[must_use]
    pub fn until(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        match self.0 {
            Inner::Whole(bytes) => Self::whole(bytes),
            Inner::Chunks(chunks) => Self(Inner::Chunks(Box::pin(chunks.take_until(end)))),
            Inner::Events(events) => Self(Inner::Events(Box::pin(events.take_until(end)))),
        }
    }

    /// Waits for all chunks.
    ///
    /// # Errors
    /// If the stream breaks off, or brings more than 512 MiB.
    pub async fn collect(mut self) -> Result<Bytes, BoxError> {
        let Some(first) = self.next().await else { return Ok(Bytes::new()) };
        let first = first?;
        let Some(second) = self.next().await else { return Ok(first) };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second?);
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > COLLECT_MAXIMUM {
                return Err(format!("a body of more than {COLLECT_MAXIMUM} bytes").into());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Inner::Chunks(chunks) => chunks.as_mut().poll_next(context),
            Inner::Events(_) => Poll::Ready(None),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes)
    }
}
