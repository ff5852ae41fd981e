//! Clients that are slow, silent, endless or too many harm nobody else.

use crate::world::World;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn listening(world: &World) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.clone().serve(listener, None));
    address
}

async fn opened(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// What comes until the connection ends.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    let _ = ended.expect("the connection ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn healthy(address: SocketAddr) {
    let started = Instant::now();
    let text =
        rest(opened(address, "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn slow_silent_and_half_closed_clients_end_on_time() {
    let world = World::with(|config| {
        config.limits.header_timeout = Duration::from_millis(300);
        config.limits.request_timeout = Duration::from_millis(300);
    })
    .await;
    let address = listening(&world).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(opened(address, "GET /livez HTTP/1.1\r\nhost: x\r\nx-slow").await);
        slow.push(opened(address, "").await);
    }
    let body = format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{");
    let endless = opened(address, &body).await;
    let mut half = opened(address, "GET /livez HTTP/1.1\r\nhost: x\r\n").await;
    half.shutdown().await.unwrap();
    healthy(address).await;
    for stream in slow {
        let text = rest(stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert!(rest(endless).await.starts_with("HTTP/1.1 504"));
    rest(half).await;
    healthy(address).await;
}

#[tokio::test]
async fn who_reads_nothing_is_let_go() {
    let world = World::with(|config| config.limits.write_timeout = Duration::from_millis(300)).await;
    let address = listening(&world).await;
    for index in 0..30 {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("m{index}") },
            "data": { "filler": "x".repeat(1_000_000) } });
        world.post(MAPS, &map).await.expect(201);
    }
    let silent =
        opened(address, &format!("GET {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    healthy(address).await;
    let text = rest(silent).await;
    assert!(text.len() < 25_000_000, "{} bytes came, though nobody read for a while", text.len());
    let reads =
        opened(address, &format!("GET {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    assert!(rest(reads).await.len() > 30_000_000);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed() {
    let world = World::with(|config| config.limits.connections = 2).await;
    let address = listening(&world).await;
    let first = opened(address, "GET /livez HTTP/1.1\r\n").await;
    let second = opened(address, "GET /livez HTTP/1.1\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rest(opened(address, "").await).await, "");
    drop((first, second));
    tokio::time::sleep(Duration::from_millis(100)).await;
    healthy(address).await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// What a client of HTTP/2 sends too much of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flood {
    Resets,
    Pings,
    Settings,
    Streams,
    Continuations,
    Windows,
}

impl Flood {
    const ALL: [Self; 6] =
        [Self::Resets, Self::Pings, Self::Settings, Self::Streams, Self::Continuations, Self::Windows];

    /// Some more of it; the number of pieces before tells streams apart.
    fn piece(self, number: u32) -> Vec<u8> {
        const EACH: u32 = 100;
        // `GET http://x/livez`
        let get = b"\x82\x86\x04\x06/livez\x01\x01x";
        let some = (0..EACH).map(|index| {
            let stream = 2 * (number * EACH + index) + 1;
            match self {
                Self::Resets => [frame(1, 5, stream, get), frame(3, 0, stream, &[0, 0, 0, 8])].concat(),
                Self::Pings => frame(6, 0, 0, &[0; 8]),
                Self::Settings => frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]),
                // A body that never comes.
                Self::Streams => frame(1, 4, stream, get),
                Self::Continuations if stream == 1 => frame(1, 1, 1, get),
                Self::Continuations => frame(9, 0, 1, &[0, 1, b'a', 1, b'b']),
                Self::Windows => frame(8, 0, 0, &[0, 0, 0, 1]),
            }
        });
        some.collect::<Vec<_>>().concat()
    }

    /// Goes on with it, anew whenever the server has had enough; counts how often that was. Nothing is read.
    async fn go_on(self, address: SocketAddr, ended: Arc<AtomicUsize>) {
        loop {
            let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
            let mut stream = opened(address, preface).await;
            let mut number = 0;
            if stream.write_all(&frame(4, 0, 0, &[])).await.is_err() {
                continue;
            }
            while stream.write_all(&self.piece(number)).await.is_ok() && number < 1_000_000 {
                number += 1;
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_harm_nobody_else() {
    let world = World::with(|config| config.limits.write_timeout = Duration::from_millis(500)).await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let address = listening(&world).await;
    let mut floods = tokio::task::JoinSet::new();
    let ended: Vec<_> = Flood::ALL.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for (flood, ended) in Flood::ALL.into_iter().zip(&ended) {
        floods.spawn(flood.go_on(address, ended.clone()));
    }
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    // Each of them is shown the door, but for who only gives leave to send more, which costs nothing; and meanwhile
    // everybody else is served.
    let all = || Flood::ALL.iter().zip(&ended).filter(|(flood, _)| **flood != Flood::Windows);
    let mut turn = 0;
    while turn < 20 || all().any(|(_, ended)| ended.load(Ordering::Relaxed) == 0) {
        let begun = Instant::now();
        let map = json!({ "metadata": { "name": format!("m{turn}") } });
        let text = format!(
            "POST {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
            content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            map.to_string().len()
        );
        let mut stream = opened(address, &text).await;
        let mut head = [0; 25];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(map.to_string().as_bytes()).await.unwrap();
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        slowest = slowest.max(begun.elapsed());
        turn += 1;
        let waiting: Vec<_> = all().filter(|(_, ended)| ended.load(Ordering::Relaxed) == 0).collect();
        assert!(started.elapsed() < Duration::from_secs(120), "{waiting:?} go on for ever");
    }
    // They share two threads with all that floods them, both ends of it.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    floods.shutdown().await;
    healthy(address).await;
}

#[tokio::test]
async fn who_is_told_to_go_on_and_does_not_ends_on_time() {
    let world = World::with(|config| config.limits.request_timeout = Duration::from_millis(300)).await;
    let address = listening(&world).await;
    let head =
        |length: &str| format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n{length}\r\n\r\n");
    let silent = opened(address, &head("content-length: 10")).await;
    assert!(rest(silent).await.contains("\r\n\r\nHTTP/1.1 504"));
    // A body that never ends is one that is too large.
    let mut endless = opened(address, &head("transfer-encoding: chunked")).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536));
    let writes = async {
        for _ in 0..1_000 {
            if endless.write_all(chunk.as_bytes()).await.is_err() {
                return true;
            }
        }
        false
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), writes).await;
    assert_eq!(ended.ok(), Some(true), "a body without an end is taken");
    healthy(address).await;
}
