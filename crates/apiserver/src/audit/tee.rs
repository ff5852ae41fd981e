//! A streamed answer that the audit log follows to its end, however it ends.

use super::Trail;
use crate::body::{Body, BodyError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A body whose end is written down.
pub struct Tee {
    inner: Body,
    trail: Arc<Trail>,
    content_type: String,
    kept: Option<Vec<u8>>,
    limit: usize,
    ended: bool,
}

impl Tee {
    /// Keeps up to `limit` bytes; with a limit of 0 nothing, and nothing is missed.
    pub fn new(inner: Body, trail: Arc<Trail>, content_type: String, limit: usize) -> Self {
        Self { inner, trail, content_type, kept: Some(Vec::new()), limit, ended: false }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.trail.ended(self.kept.as_deref(), &self.content_type);
        }
    }
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let this = &mut *self;
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), true) = (frame.data_ref(), this.limit > 0) {
                    let fits = this.kept.as_ref().is_some_and(|kept| kept.len() + data.len() <= this.limit);
                    match &mut this.kept {
                        Some(kept) if fits => kept.extend_from_slice(data),
                        kept => *kept = None,
                    }
                }
            }
            Some(Err(_)) | None => this.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // The end has to be seen: it is what is waited for.
        self.ended && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.end();
    }
}
