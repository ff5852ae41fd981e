//! Bodies of requests and responses: whole bytes, or a stream of them.
//!
//! Invariant: what comes from a client is read into memory only up to a stated limit.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use gifee_base::{Reason, Status};
use http_body::Frame;
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of a body that is too large which are read all the same, so that the client hears of it.
const DISCARDED_BYTES: usize = 32 << 20;

/// How long a body that nobody wants is read at most.
const DISCARDED_TIME: Duration = Duration::from_secs(10);

/// The error of a body stream.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body.
#[derive(Default)]
pub struct Body(Inner);

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Whole(Bytes),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Inner::Empty)
    }

    /// Bytes as they become ready; each item is flushed to the client when nothing follows at once.
    pub fn stream<E: Into<BodyError>>(stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Self {
        let frames = stream.map(|item| item.map(Frame::data).map_err(Into::into));
        Self(Inner::Stream(Box::pin(http_body_util::StreamBody::new(frames))))
    }

    /// Any other body, such as what hyper receives.
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Inner::Stream(Box::pin(body.map_err(Into::into))))
    }

    /// What a client sends. What nobody read of it is read when it is dropped: over HTTP/2 the stream would be reset
    /// after the answer, and some clients then take the answer for lost.
    pub fn received<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Inner::Stream(Box::pin(Received(Some(body)))))
    }

    /// The bytes, if they are all here.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Empty => Some(&[]),
            Inner::Whole(bytes) => Some(bytes),
            Inner::Stream(_) => None,
        }
    }

    /// Whether there are no bytes for certain.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Inner::Empty)
    }

    /// Reads all of it, up to `limit` bytes.
    ///
    /// # Errors
    /// 413 in upstream's words if there is more, 400 if the client broke off.
    pub async fn read(self, limit: usize) -> Result<Bytes, Status> {
        let mut stream = match self.0 {
            Inner::Empty => return Ok(Bytes::new()),
            Inner::Whole(bytes) if bytes.len() <= limit => return Ok(bytes),
            Inner::Whole(_) => return Err(too_large(limit)),
            Inner::Stream(stream) => stream,
        };
        if http_body::Body::size_hint(&stream).lower() > limit as u64 {
            discard(stream).await;
            return Err(too_large(limit));
        }
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = stream.frame().await {
            let frame = frame.map_err(|error| Status::bad_request(format!("reading the body: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            match &mut rest {
                Some(all) => all.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    let mut all = BytesMut::with_capacity(2 * (first.len() + data.len()));
                    all.extend_from_slice(&first);
                    all.extend_from_slice(&data);
                    rest = Some(all);
                }
            }
            if rest.as_ref().map_or(first.len(), BytesMut::len) > limit {
                discard(stream).await;
                return Err(too_large(limit));
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    }
}

/// A body as it comes, until its end.
struct Received<B>(Option<B>)
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>;

impl<B> http_body::Body for Received<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let none = || http_body::SizeHint::with_exact(0);
        self.0.as_ref().map_or_else(none, http_body::Body::size_hint)
    }
}

impl<B> Drop for Received<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let rest = Box::pin(body.map_err(Into::into));
            runtime.spawn(tokio::time::timeout(DISCARDED_TIME, discard(rest)));
        }
    }
}

/// Reads the rest of a body that is refused, for a client that is still sending does not hear the refusal.
async fn discard(mut stream: Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>) {
    let mut left = DISCARDED_BYTES;
    while let Some(Ok(frame)) = stream.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

/// 413 for a body above the limit.
fn too_large(limit: usize) -> Status {
    Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {limit}"))
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Inner::Empty } else { Inner::Whole(bytes) })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Stream(stream) => stream.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Whole(_) => false,
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Inner::Empty => http_body::SizeHint::with_exact(0),
            Inner::Whole(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}
