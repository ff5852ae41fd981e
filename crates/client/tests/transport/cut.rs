//! Connections that break off at any moment under many requests: each request ends, and the next server is reached.

use crate::{Authority, config, serve};
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Client, Error, Timeouts, Tls, TlsConfig, WatchOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many requests wait at once.
const REQUESTS: usize = 120;
/// Longer than the client waits for anything here but the bounds themselves.
const UNANSWERED: Duration = Duration::from_secs(20);

/// Where the connections of a round break off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// All at once, as if the server were killed, after so many answers.
    Answers(usize),
    /// Each when the server has sent so many bytes: zero is before anything, a few hundred within the handshake of
    /// TLS, about 1,200 before the first frame of HTTP/2, more within answers.
    Sent(usize),
    /// Each when the client has sent so many bytes, such as half of the head of a request.
    Received(usize),
}

/// Stands between the client and a server, and breaks off.
struct Proxy {
    address: std::net::SocketAddr,
    killed: CancellationToken,
    connections: JoinSet<()>,
    listener: TcpListener,
    server: u16,
    cut: Cut,
    reset: bool,
}

impl Proxy {
    async fn new(server: u16, cut: Cut, reset: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            address,
            killed: CancellationToken::new(),
            connections: JoinSet::new(),
            listener,
            server,
            cut,
            reset,
        }
    }

    /// Carries connections until it is killed; then nothing listens here any more.
    async fn run(mut self) {
        while let Some(Ok((client, _))) =
            self.killed.clone().run_until_cancelled(self.listener.accept()).await
        {
            let (server, cut, reset, killed) = (self.server, self.cut, self.reset, self.killed.clone());
            self.connections.spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let mut client = client;
                if reset {
                    client.set_zero_linger().unwrap();
                }
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let (sent, received) = match cut {
                    Cut::Answers(_) => (usize::MAX, usize::MAX),
                    Cut::Sent(bytes) => (bytes, usize::MAX),
                    Cut::Received(bytes) => (usize::MAX, bytes),
                };
                tokio::select! {
                    () = copy(&mut from_server, &mut to_client, sent) => {}
                    () = copy(&mut from_client, &mut to_server, received) => {}
                    () = killed.cancelled() => {}
                }
            });
        }
        drop(self.listener);
        self.connections.shutdown().await;
    }
}

/// Copies so many bytes and no more.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), mut bytes: usize) {
    let mut buffer = [0; 4096];
    while bytes > 0 {
        let part = bytes.min(buffer.len());
        let Ok(read @ 1..) = from.read(&mut buffer[..part]).await else { return };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        bytes -= read;
    }
}

/// Requests one after the other until one fails.
async fn requests(
    client: Client,
    answers: Arc<AtomicUsize>,
    enough: usize,
    killed: CancellationToken,
) -> Error {
    let (pods, key) = (Gvr::core("pods"), ObjectKey::new("web", "a"));
    loop {
        let get = client.get(&pods, &key);
        match tokio::time::timeout(UNANSWERED, get).await.expect("a request is never answered") {
            Ok(_) if answers.fetch_add(1, Ordering::Relaxed) + 1 == enough => killed.cancel(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

async fn round(authority: &Authority, server: u16, cut: Cut, reset: bool) {
    let proxy = Proxy::new(server, cut, reset).await;
    let (address, killed) = (proxy.address, proxy.killed.clone());
    let running = tokio::spawn(proxy.run());
    let client = Client::new(Arc::new(Tls::new(&config(address.port(), authority)).unwrap()));
    let answers = Arc::new(AtomicUsize::new(0));
    let enough = match cut {
        Cut::Answers(answers) => answers,
        Cut::Sent(_) | Cut::Received(_) => usize::MAX,
    };
    let mut tasks = JoinSet::new();
    for _ in 0..REQUESTS {
        tasks.spawn(requests(client.clone(), answers.clone(), enough, killed.clone()));
    }
    while let Some(error) = tasks.join_next().await {
        let error = error.unwrap();
        assert!(matches!(error, Error::Transport { .. }), "{cut:?}: {error}");
    }
    killed.cancel();
    running.await.unwrap();

    // Another server in its place is reached by the same client at once.
    let listener = TcpListener::bind(address).await.unwrap();
    let forward = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    // What was still being connected when everything broke off may break off the first requests, too.
    let (pods, key) = (Gvr::core("pods"), ObjectKey::new("web", "a"));
    let reached = async { while client.get(&pods, &key).await.is_err() {} };
    tokio::time::timeout(UNANSWERED, reached).await.expect("the client is stuck");
    forward.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_outlives_its_connection() {
    let authority = Authority::new();
    let (server, _) = serve(&authority).await;
    let within = [0, 90, 700, 1_200, 1_400, 1_700, 4_000, 20_000];
    for bytes in within {
        round(&authority, server, Cut::Sent(bytes), bytes % 200 == 0).await;
    }
    for bytes in [1, 300, 500, 560, 1_000, 20_000] {
        round(&authority, server, Cut::Received(bytes), bytes % 200 == 0).await;
    }
    for answers in [1, 99, 100, 120, 121, 500, 1_000, 2_001] {
        round(&authority, server, Cut::Answers(answers), answers % 2 == 0).await;
    }
}

#[tokio::test]
async fn silence_has_an_end() {
    let authority = Authority::new();
    let short = Duration::from_millis(300);
    // Takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(listener.local_addr().unwrap().port(), &authority);
    config.timeouts = Timeouts { connect: short, ..Timeouts::default() };
    assert!(failure(&config, "a").await.contains("no connection within"));

    // Takes requests and does not answer.
    let (server, _) = serve(&authority).await;
    let mut config = crate::config(server, &authority);
    config.timeouts = Timeouts { answer: short, ..Timeouts::default() };
    assert!(failure(&config, "never").await.contains("no answer within"));
    // What is watched may be silent for as long as it likes.
    let client = Client::new(Arc::new(Tls::new(&config).unwrap()));
    let (never, options) = (Gvr::core("nevers"), WatchOptions::default());
    let watch = tokio::time::timeout(short * 4, client.watch(&never, "web", &options)).await;
    assert!(watch.is_err(), "a watch ended");
}

async fn failure(config: &TlsConfig, name: &str) -> String {
    let client = Client::new(Arc::new(Tls::new(config).unwrap()));
    let (pods, key) = (Gvr::core("pods"), ObjectKey::new("web", name));
    tokio::time::timeout(UNANSWERED, client.get(&pods, &key)).await.unwrap().unwrap_err().to_string()
}
