//! The ceiling: a server that does only what nobody can leave out. hyper and rustls, stored bytes as answers, and
//! for each write one append to a file with one `fdatasync` for all writes that wait.
//!
//! Invariant: nothing is parsed and nothing is looked up, so a figure of gifee as a fraction of the ceiling's means
//! the same on every machine. It ends when its standard input does.

use super::client::Endpoint;
use super::objects::{LEASES, PODS};
use super::process::Process;
use super::target::Target;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

/// The answer to a list is this many copies of the sample.
pub const LIST_OBJECTS: usize = 10_000;
/// The file of writes is written once before, then over and over: its length never changes.
const FILE_BYTES: u64 = 256 << 20;
/// Writes that wait; above it clients wait to hand theirs over.
const WAITING: usize = 1_024;
/// Events that wait for one watcher; a watcher that is later ends.
const EVENTS: usize = 4_096;
const CERTIFICATE: &str = "certificate.pem";
const SAMPLE: &str = "sample.json";

/// What the ceiling's own process takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where its sample is, and its file goes.
    #[arg(long)]
    folder: PathBuf,
}

/// A running ceiling.
pub struct Ceiling {
    child: Child,
    /// Where it answers.
    pub target: Target,
}

impl Ceiling {
    /// Starts it, answering reads with `sample`.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(folder: &Path, sample: &[u8]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(SAMPLE), sample)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "ceiling-server", "--folder"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("the ceiling did not come up")?;
        let certificate = std::fs::read(folder.join(CERTIFICATE))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let endpoint = Endpoint::new(address, &certificate, None)?;
        let process = Process(child.id());
        Ok(Self { child, target: Target { endpoint, process } })
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself then; an error means that it has.
        let _ = self.child.wait();
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

struct State {
    sample: Bytes,
    list: Bytes,
    writes: mpsc::Sender<(Bytes, oneshot::Sender<()>)>,
    events: broadcast::Sender<Bytes>,
}

/// The ceiling's own process.
///
/// # Errors
/// If it cannot listen.
pub fn serve(arguments: &Arguments) -> Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let sample = Bytes::from(std::fs::read(arguments.folder.join(SAMPLE))?);
    let mut list =
        br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":["#.to_vec();
    for index in 0..LIST_OBJECTS {
        list.extend_from_slice(if index == 0 { b"" } else { b"," });
        list.extend_from_slice(&sample);
    }
    list.extend_from_slice(b"]}\n");
    let (writes, waiting) = mpsc::channel(WAITING);
    let file = prepare(&arguments.folder.join("writes"))?;
    std::thread::spawn(move || write(&file, waiting));
    let state = State { sample, list: list.into(), writes, events: broadcast::Sender::new(EVENTS) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(listen(Arc::new(state), &arguments.folder))
}

fn prepare(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn write(file: &File, mut waiting: mpsc::Receiver<(Bytes, oneshot::Sender<()>)>) {
    let (mut group, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
    while waiting.blocking_recv_many(&mut group, WAITING) > 0 {
        bytes.clear();
        group.iter().for_each(|(body, _): &(Bytes, _)| bytes.extend_from_slice(body));
        at = if at + bytes.len() as u64 > FILE_BYTES { 0 } else { at };
        if let Err(error) = file.write_all_at(&bytes, at).and_then(|()| file.sync_data()) {
            eprintln!("the ceiling cannot write: {error}");
            return;
        }
        at += bytes.len() as u64;
        for (_, answer) in group.drain(..) {
            // The client may have gone.
            let _ = answer.send(());
        }
    }
}

async fn listen(state: Arc<State>, folder: &Path) -> Result<()> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(folder.join(CERTIFICATE), own.cert.pem())?;
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(state.clone(), stream, acceptor.clone()));
    }
}

async fn connection(state: Arc<State>, stream: TcpStream, acceptor: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    // How a connection ends is the client's affair.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Body> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let mut created = false;
    let bytes = if *request.method() == Method::GET {
        match path {
            _ if query.contains("watch=true") => return stream(state.events.subscribe()),
            PODS => state.list.clone(),
            _ => state.sample.clone(),
        }
    } else {
        created = *request.method() == Method::POST;
        let lease = path.starts_with(LEASES);
        let Ok(body) = request.into_body().collect().await else { return respond(400, Bytes::new()) };
        let body = body.to_bytes();
        let (done, durable) = oneshot::channel();
        if state.writes.send((body.clone(), done)).await.is_err() || durable.await.is_err() {
            return respond(500, Bytes::new());
        }
        if state.events.receiver_count() > 0 {
            let event = [br#"{"type":"ADDED","object":"#, &state.sample[..], b"}\n"].concat();
            // Nobody may be watching any more.
            let _ = state.events.send(event.into());
        }
        // As much as the real one says.
        if lease { body } else { state.sample.clone() }
    };
    respond(if created { 201 } else { 200 }, bytes)
}

fn respond(code: u16, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

fn stream(events: broadcast::Receiver<Bytes>) -> Response<Body> {
    let stream = futures_util::stream::unfold(events, |mut events| async move {
        let event = events.recv().await.ok()?;
        Some((Ok(Frame::data(event)), events))
    });
    Response::new(StreamBody::new(stream).boxed_unsync())
}
