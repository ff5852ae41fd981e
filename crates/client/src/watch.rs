//! A watch: frames of JSON, a line each, cut out of the chunks of a response.
//!
//! An object is a slice of the frame it came in, so that an in-process server and all caches share one
//! allocation. Only where a chunk carries much more than the frame is the object copied out, so that an
//! object kept never keeps more than about twice its size. A server in the same process may hand over its objects
//! instead, and no frames are made.

use crate::body::Body;
use crate::error::{BoxError, Error, Result};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use gifee_base::{Object, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The longest frame; a longer one ends the watch with an error.
const FRAME_MAXIMUM: usize = 64 << 20;

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object is new, or new to the selector.
    Added(Object),
    /// The object changed.
    Modified(Object),
    /// The object is gone, or no longer selected; this is its last state.
    Deleted(Object),
    /// All events up to a resource version have been sent.
    Bookmark {
        /// The resource version.
        revision: u64,
        /// Whether this ends the initial events of a streaming list.
        initial_events_end: bool,
    },
}

/// A stream of events. An ERROR event comes as [`Error::Status`] and ends it.
pub struct Watch(Source);

enum Source {
    Events(Pin<Box<dyn Stream<Item = Result<Event>> + Send>>),
    Frames(Frames),
}

struct Frames {
    path: String,
    body: Body,
    chunk: Bytes,
    chunk_len: usize,
    partial: BytesMut,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(path: String, body: Body) -> Self {
        Self(match body.into_events() {
            Ok(events) => Source::Events(events),
            Err(body) => Source::Frames(Frames {
                path,
                body,
                chunk: Bytes::new(),
                chunk_len: 0,
                partial: BytesMut::new(),
                ended: false,
            }),
        })
    }
}

impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Source::Events(events) => events.as_mut().poll_next(context),
            Source::Frames(frames) => frames.poll_next_unpin(context),
        }
    }
}

impl Frames {
    /// Cuts the next frame out of what has arrived.
    fn frame(&mut self) -> Option<Bytes> {
        while !self.chunk.is_empty() {
            let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') else {
                self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
                return None;
            };
            let line = self.chunk.split_to(end + 1);
            let whole = self.partial.is_empty();
            if !whole {
                self.partial.extend_from_slice(&line);
                return Some(std::mem::take(&mut self.partial).freeze());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            return Some(if line.len() * 2 < self.chunk_len { Bytes::copy_from_slice(&line) } else { line });
        }
        None
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Event>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Frames {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(frame) = self.frame() {
                return match event(&frame) {
                    Ok(Ok(event)) => Poll::Ready(Some(Ok(event))),
                    Ok(Err(status)) => self.fail(status.into()),
                    Err(error) => {
                        let error = Error::decode(&self.path, error);
                        self.fail(error)
                    }
                };
            }
            if self.partial.len() > FRAME_MAXIMUM {
                let error = Error::decode(&self.path, format!("a frame of more than {FRAME_MAXIMUM} bytes"));
                return self.fail(error);
            }
            match ready!(self.body.poll_next_unpin(context)) {
                Some(Ok(chunk)) => {
                    self.chunk_len = chunk.len();
                    self.chunk = chunk;
                }
                Some(Err(error)) => {
                    let error = Error::transport(&self.path, error);
                    return self.fail(error);
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

type Head = (&'static [u8], fn(Object) -> Event);

/// How servers begin a frame: saves a pass over the object.
const HEADS: [Head; 3] = [
    (br#"{"type":"ADDED","object":"#, Event::Added),
    (br#"{"type":"MODIFIED","object":"#, Event::Modified),
    (br#"{"type":"DELETED","object":"#, Event::Deleted),
];

fn event(frame: &Bytes) -> Result<Result<Event, Status>, BoxError> {
    let trimmed = frame.trim_ascii_end();
    for (head, make) in HEADS {
        if trimmed.starts_with(head) && trimmed.ends_with(b"}") {
            // Anything but one object between head and brace does not parse, and takes the general way.
            if let Ok(object) = Object::received(frame.slice(head.len()..trimmed.len() - 1)) {
                return Ok(Ok(make(object)));
            }
        }
    }
    let parsed: Frame<'_> = serde_json::from_slice(frame)?;
    let text = parsed.object.get();
    if parsed.r#type == "ERROR" {
        return Ok(Err(Status::from_body(500, text.as_bytes())));
    }
    let object = Object::received(frame.slice_ref(text.as_bytes()))?;
    Ok(Ok(match parsed.r#type {
        "ADDED" => Event::Added(object),
        "MODIFIED" => Event::Modified(object),
        "DELETED" => Event::Deleted(object),
        "BOOKMARK" => {
            let mark = &object.to_value()?["metadata"]["annotations"]["k8s.io/initial-events-end"];
            Event::Bookmark { revision: object.revision(), initial_events_end: mark == "true" }
        }
        other => return Err(format!("an event of type {other:?}").into()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(chunks: &[&Bytes]) -> Watch {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::clone(chunk))).collect();
        Watch::new("/pods".into(), Body::chunks(futures_util::stream::iter(chunks)))
    }

    fn added(name: &str) -> Bytes {
        format!("{{\"type\":\"ADDED\",\"object\":{{\"metadata\":{{\"name\":\"{name}\"}}}}}}\n").into()
    }

    async fn events(chunks: &[&Bytes]) -> String {
        let events: Vec<String> = watch(chunks)
            .map(|event| match event {
                Ok(Event::Added(object)) => format!("+{}", object.name()),
                Ok(Event::Modified(object)) => format!("~{}", object.name()),
                Ok(Event::Deleted(object)) => format!("-{}", object.name()),
                Ok(Event::Bookmark { revision, initial_events_end }) => {
                    format!("@{revision} {initial_events_end}")
                }
                Err(error) => error.to_string(),
            })
            .collect()
            .await;
        events.join(", ")
    }

    #[tokio::test]
    async fn frames_are_found_wherever_chunks_end() {
        let all = Bytes::from([added("one"), added("two"), added("three")].concat());
        for cut in 0..all.len() {
            assert_eq!(events(&[&all.slice(..cut), &all.slice(cut..)]).await, "+one, +two, +three");
        }
        let bytes: Vec<Bytes> = (0..all.len()).map(|at| all.slice(at..=at)).collect();
        assert_eq!(events(&bytes.iter().collect::<Vec<_>>()).await, "+one, +two, +three");
    }

    #[tokio::test]
    async fn every_kind_of_frame_is_understood() {
        let check = async |frame: &str, expected: &str| {
            assert_eq!(events(&[&Bytes::copy_from_slice(format!("{frame}\n").as_bytes())]).await, expected);
        };
        check(r#"{"object":{"metadata":{"name":"a"}},"type":"MODIFIED"}"#, "~a").await;
        check(r#" {"type": "DELETED", "object": {"metadata": {"name": "a"}}} "#, "-a").await;
        check(
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "@7 true",
        )
        .await;
        check(r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#, "too old").await;
        check(r#"{"type":"ADDED","object":{"metadata":{"name":"a"}},"more":{}}"#, "+a").await;
        check("\n", "").await;
        assert!(events(&[&Bytes::from("nonsense\n")]).await.starts_with("decoding the answer of /pods"));
    }

    #[tokio::test]
    async fn an_object_is_a_slice_of_its_own_frame_and_no_more() {
        let within = |object: &Object, chunk: &Bytes| chunk.as_ptr_range().contains(&object.raw().as_ptr());
        let one = added("one");
        let Some(Ok(Event::Added(object))) = watch(&[&one]).next().await else { panic!() };
        assert!(within(&object, &one), "a frame that came alone is not copied");
        let many = Bytes::from([added("one"), added("two"), added("three")].concat());
        let Some(Ok(Event::Added(object))) = watch(&[&many]).next().await else { panic!() };
        assert!(!within(&object, &many), "an object does not keep its neighbours");
    }
}
