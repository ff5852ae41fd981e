//! `/containerLogs`: what a container wrote.
//!
//! Answers to `pkg/kubelet/kuberuntime/logs` and the kubelet's `validateContainerLogStatus`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use gifee_base::Status;
use gifee_base::clock::parse_time;
use http::{Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::follow::Reader;
use super::query::Query;
use super::routes::{self, Named};
use super::{Body, respond};
use crate::agent::Agent;
use crate::container::log_path;
use crate::pod::members;

/// Pieces that wait for a slow peer.
const WAITING: usize = 16;

/// What of a log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail: Option<u64>,
    pub limit: Option<u64>,
    pub since: Option<Timestamp>,
    /// `stdout` or `stderr`; both if `None`.
    pub stream: Option<&'static str>,
}

impl Options {
    pub(super) fn parse(query: &Query, now: Timestamp) -> Result<Options, Status> {
        let number = |name: &str| match query.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "Invalid value: {text:?}: {name} must be greater than or equal to 0"
                ))
            }),
        };
        let seconds = number("sinceSeconds")?.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        let since = seconds.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
        Ok(Options {
            follow: query.flag(&["follow"]),
            previous: query.flag(&["previous"]),
            timestamps: query.flag(&["timestamps"]),
            tail: number("tailLines")?,
            limit: number("limitBytes")?,
            since: since.or_else(|| query.get("sinceTime").and_then(parse_time)),
            stream: match query.get("stream") {
                Some("Stdout") => Some("stdout"),
                Some("Stderr") => Some("stderr"),
                _ => None,
            },
        })
    }
}

pub(super) async fn answer(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let named = Named::find(&agent, &rest)?;
    let options = Options::parse(&routes::query(&request), agent.clock.now())?;
    let (id, file) = choose(&named, options.previous)?;
    let (sender, receiver) = mpsc::channel::<Bytes>(WAITING);
    tokio::spawn(async move {
        let runtime = agent.runtime.clone();
        if let Err(error) = Reader::new(file.clone(), options, sender).read(runtime, &id).await {
            tracing::debug!(?file, %error, "a log ends early");
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok(Frame::data(piece)), receiver))
    });
    let mut response = respond(http::StatusCode::OK, "text/plain", String::new());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(pieces));
    Ok(response)
}

/// The run whose log is asked for, and the file.
fn choose(named: &Named, previous: bool) -> Result<(String, PathBuf), Status> {
    let (pod, container) = (&named.shown.pod, &named.container);
    let runs = &named.shown.containers[container];
    let run = runs.get(usize::from(previous)).ok_or_else(|| {
        let name = members::name(pod);
        Status::bad_request(if previous {
            format!("previous terminated container {container:?} in pod {name:?} not found")
        } else {
            format!("container {container:?} in pod {name:?} is waiting to start: {}", waiting(named))
        })
    })?;
    let folder = named.shown.paths.logs(members::namespace(pod), members::name(pod));
    Ok((run.0.clone(), folder.join(log_path(container, run.1))))
}

/// Why a container waits, as its status says.
fn waiting(named: &Named) -> String {
    let status = named.shown.pod.status.as_ref();
    let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
    let one = lists.into_iter().flatten().flatten().flatten().find(|one| one.name == named.container);
    let reason = one.and_then(|one| one.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match reason.as_deref() {
        Some("ErrImagePull" | "ImagePullBackOff") => "trying and failing to pull image".to_owned(),
        Some(reason) => reason.to_owned(),
        None => "ContainerCreating".to_owned(),
    }
}
