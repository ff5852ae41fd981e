//! Watches of a fake server: each reads the log from where it is, and waits for it to grow.

use super::Fake;
use super::route::{Query, Route};
use super::state::{Logged, State};
use crate::body::Body;
use bytes::Bytes;
use futures_util::stream;
use gifee_base::{Gvr, Status};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

struct Open {
    fake: Arc<Fake>,
    gvr: Gvr,
    namespace: String,
    query: Query,
    frames: VecDeque<Bytes>,
    revision: u64,
    ended: bool,
}

pub(super) fn open(fake: Arc<Fake>, state: &State, route: &Route, query: Query) -> Result<Body, Status> {
    let from = query.resource_version.unwrap_or(0);
    let mut open = Open {
        fake,
        gvr: route.gvr.clone(),
        namespace: route.key.namespace.to_string(),
        frames: VecDeque::new(),
        revision: from,
        ended: false,
        query,
    };
    if from == 0 || open.query.send_initial_events {
        for object in state.list(&open.gvr, &open.namespace).filter(|object| open.query.selects(object)) {
            open.frames.push_back(frame("ADDED", object));
        }
        open.revision = state.revision;
        if open.query.send_initial_events && open.query.bookmarks {
            open.frames.push_back(bookmark(state.revision, true));
        }
    } else if from < state.compacted {
        return Err(Status::expired(format!("too old resource version: {from} ({})", state.compacted)));
    }
    Ok(Body::chunks(stream::unfold(open, |mut open| async move {
        let next = open.next().await?;
        Some((Ok(next), open))
    })))
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        let mut grown = self.fake.grown.subscribe();
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            // Marked as seen before the log is read, so that what comes meanwhile wakes this up.
            grown.borrow_and_update();
            self.read();
            if self.frames.is_empty() && grown.changed().await.is_err() {
                return None;
            }
        }
    }

    fn read(&mut self) {
        let state = self.fake.state.lock();
        if self.revision < state.compacted {
            let status = Status::expired(format!("too old resource version: {}", self.revision));
            self.frames.push_back(frame("ERROR", &status.to_value()));
            self.ended = true;
            return;
        }
        for logged in state.log.iter().filter(|logged| logged.revision > self.revision) {
            if let Some(frame) = self.event(logged) {
                self.frames.push_back(frame);
            }
        }
        self.revision = state.revision;
    }

    fn event(&self, logged: &Logged) -> Option<Bytes> {
        let visible = |object: &&Value| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            (self.namespace.is_empty() || namespace == self.namespace) && self.query.selects(object)
        };
        if logged.gvr != self.gvr {
            return None;
        }
        match (logged.old.as_ref().filter(visible), logged.new.as_ref().filter(visible)) {
            (None, Some(new)) => Some(frame("ADDED", new)),
            (Some(_), Some(new)) => Some(frame("MODIFIED", new)),
            (Some(old), None) => {
                let mut last = old.clone();
                last["metadata"]["resourceVersion"] = logged.revision.to_string().into();
                Some(frame("DELETED", &last))
            }
            (None, None) => None,
        }
    }
}

fn frame(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

fn bookmark(revision: u64, end: bool) -> Bytes {
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if end {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    frame("BOOKMARK", &json!({ "kind": "Bookmark", "apiVersion": "v1", "metadata": metadata }))
}
