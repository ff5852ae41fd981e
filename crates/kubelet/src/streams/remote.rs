//! Commands in containers, and attachments to them.
//!
//! Answers to `remotecommand.ServeExec` and `ServeAttach`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gifee_base::Status;
use gifee_oci::Session;
use gifee_oci::spec::{ExecSpec, Size};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::spdy::connection::{self, Arrival};
use super::upgrade::{Agreed, Framing};
use super::{Receiver, Sender, channels, tunnel};
use crate::agent::Agent;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// The first version that tells terminals their size, and the first that tells failures as a `Status`.
const SIZES: u8 = 3;
const STATUSES: u8 = 4;
/// How long a client may take to open its streams.
const CREATION: Duration = Duration::from_secs(30);
/// Bytes of a size that is not yet complete.
const SIZE: usize = 1024;

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never with a terminal.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// What is served.
pub(crate) enum Deed {
    /// A command.
    Exec(ExecSpec),
    /// The container's first process.
    Attach,
}

/// The streams as they are there.
struct Streams {
    stdin: Option<Receiver>,
    stdout: Option<Sender>,
    stderr: Option<Sender>,
    error: Sender,
    resize: Option<Receiver>,
}

/// Serves a connection that was switched.
pub(crate) async fn serve(
    agent: Arc<Agent>,
    container: String,
    deed: Deed,
    wanted: Wanted,
    agreed: Agreed,
    upgraded: Upgraded,
) {
    let version = agreed.version;
    let doing = Doing { agent: &agent, container: &container, deed, wanted, version };
    match agreed.framing {
        Framing::Spdy => over_spdy(TokioIo::new(upgraded), doing).await,
        Framing::Tunnel => over_spdy(tunnel::bytes(channels::socket(upgraded).await), doing).await,
        Framing::Channels(coding) => {
            let socket = channels::socket(upgraded).await;
            channels::serve(socket, coding, [STDIN, RESIZE], |mut channels| async move {
                let streams = Streams {
                    stdin: channels.input(STDIN).filter(|_| wanted.stdin),
                    stdout: wanted.stdout.then(|| channels.output(STDOUT)),
                    stderr: wanted.stderr.then(|| channels.output(STDERR)),
                    error: channels.output(ERROR),
                    resize: channels.input(RESIZE),
                };
                // Tells the client that the streams are there.
                let first = streams.stdout.as_ref().or(streams.stderr.as_ref()).unwrap_or(&streams.error);
                first.send(Bytes::new()).await;
                doing.run(streams).await;
            })
            .await;
        }
    }
}

async fn over_spdy(io: impl AsyncRead + AsyncWrite, doing: Doing<'_>) {
    connection::serve(io, |mut arrivals: mpsc::Receiver<Arrival>| async move {
        let gathering = gather(&mut arrivals, doing.wanted, doing.version);
        if let Ok(Some(streams)) = tokio::time::timeout(CREATION, gathering).await {
            doing.run(streams).await;
        }
    })
    .await;
}

/// The streams that a client opens; `None` if it goes away before.
async fn gather(arrivals: &mut mpsc::Receiver<Arrival>, wanted: Wanted, version: u8) -> Option<Streams> {
    let (mut stdin, mut stdout, mut stderr, mut error, mut resize) = (None, None, None, None, None);
    let sizes = wanted.tty && version >= SIZES;
    loop {
        let there = (stdin.is_some() || !wanted.stdin)
            && (stdout.is_some() || !wanted.stdout)
            && (stderr.is_some() || !wanted.stderr)
            && (resize.is_some() || !sizes);
        if let (true, Some(error)) = (there, &error) {
            let error = Sender::clone(error);
            return Some(Streams { stdin, stdout, stderr, error, resize });
        }
        let arrival = arrivals.recv().await?;
        match arrival.header("streamtype") {
            Some("stdin") => stdin = Some(arrival.input),
            Some("stdout") => stdout = Some(arrival.output),
            Some("stderr") => stderr = Some(arrival.output),
            Some("error") => error = Some(arrival.output),
            Some("resize") => resize = Some(arrival.input),
            _ => arrival.output.refuse().await,
        }
    }
}

/// What is to be done.
struct Doing<'a> {
    agent: &'a Agent,
    container: &'a str,
    deed: Deed,
    wanted: Wanted,
    version: u8,
}

impl Doing<'_> {
    /// Does it, and says how it ended.
    async fn run(self, streams: Streams) {
        let error = streams.error.clone();
        let (runtime, container) = (&self.agent.runtime, self.container);
        let (verb, session) = match self.deed {
            Deed::Exec(spec) => ("executing command in container", runtime.exec(container, spec).await),
            Deed::Attach => ("attaching to container", runtime.attach(container, self.wanted.stdin).await),
        };
        let ended = match session {
            Ok(session) => carry(session, streams).await,
            Err(error) => Err(error),
        };
        let status = match ended {
            // How a container ends that was attached to is told by its pod.
            Ok(code) if code == 0 || verb.starts_with("attaching") => {
                json!({"metadata": {}, "status": "Success"})
            }
            Ok(code) => exited(code),
            Err(error) => Status::internal(format!("error {verb}: {error}")).to_value(),
        };
        if let Some(told) = told(&status, self.version) {
            error.send(told.into()).await;
        }
        error.end().await;
    }
}

/// What a client of a version is told.
pub(super) fn told(status: &Value, version: u8) -> Option<String> {
    if version >= STATUSES {
        return Some(status.to_string());
    }
    (status["status"] != "Success").then(|| status["message"].as_str().unwrap_or_default().to_owned())
}

fn exited(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}
    })
}

/// Carries all streams until the program has ended and said everything.
async fn carry(session: Session, streams: Streams) -> gifee_oci::Result<i32> {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let input = async {
        if let (Some(mut stdin), Some(mut from)) = (stdin, streams.stdin) {
            // Whatever became of it, the program's output still counts.
            let _ = from.copy(&mut stdin).await;
        }
        std::future::pending::<()>().await;
    };
    let sizes = async {
        if let (Some(resize), Some(mut from)) = (resize, streams.resize) {
            follow(&mut from, &resize).await;
        }
        std::future::pending::<()>().await;
    };
    let output = async { tokio::join!(pump(stdout, streams.stdout), pump(stderr, streams.stderr)) };
    let ending = async { tokio::join!(output, exit).1 };
    tokio::select! {
        code = ending => code,
        () = input => unreachable(),
        () = sizes => unreachable(),
    }
}

/// What follows something that never ends.
fn unreachable() -> gifee_oci::Result<i32> {
    Err(gifee_oci::Error::Invalid("the streams ended".to_owned()))
}

/// Sends one output to its end. What nobody wants is read all the same, so that the program does not wait.
async fn pump(from: Option<impl AsyncRead + Unpin>, to: Option<Sender>) {
    match (from, to) {
        (Some(from), Some(to)) => to.copy(from).await,
        (Some(mut from), None) => {
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
        (None, Some(to)) => to.end().await,
        (None, None) => {}
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewSize {
    width: u16,
    height: u16,
}

/// Hands on sizes of a terminal, which come as one JSON object after the other.
async fn follow(from: &mut Receiver, resize: &mpsc::Sender<Size>) {
    let mut text = BytesMut::new();
    while let Ok(Some(bytes)) = from.next().await {
        text.extend_from_slice(&bytes);
        let (sizes, read) = sizes(&text);
        let _ = text.split_to(read);
        if text.len() > SIZE {
            return;
        }
        for size in sizes {
            let _ = resize.send(size).await;
        }
    }
}

/// Complete sizes at the beginning of a text, and how many bytes they are.
pub(super) fn sizes(text: &[u8]) -> (Vec<Size>, usize) {
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<NewSize>();
    let (mut sizes, mut read) = (Vec::new(), 0);
    while let Some(Ok(size)) = stream.next() {
        sizes.push(Size { width: size.width, height: size.height });
        read = stream.byte_offset();
    }
    (sizes, read)
}
