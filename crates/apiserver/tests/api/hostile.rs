//! Clients that are slow, silent, endless or too many harm nobody else.

use crate::world::World;
use serde_json::json;
use std::net::SocketAddr;
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
