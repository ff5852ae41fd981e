//! Logs and streams through the agent's server, as the API server asks for them.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::machine::Machine;

/// Takes any certificate: the test's own server has none that anybody signed.
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub async fn connect(port: u16) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

pub async fn send(
    port: u16,
    request: hyper::Request<Empty<Bytes>>,
) -> hyper::Response<hyper::body::Incoming> {
    let stream = TokioIo::new(connect(port).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.unwrap()
}

pub async fn get(port: u16, path: &str) -> (u16, String) {
    let request = hyper::Request::get(path).header("host", "node").body(Empty::new()).unwrap();
    let response = send(port, request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn websocket(
    port: u16,
    path: &str,
    protocol: &str,
) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let request = hyper::Request::get(path)
        .header("host", "node")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", protocol)
        .body(Empty::new())
        .unwrap();
    let response = send(port, request).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// Reads to the end: what came over each channel.
async fn collect(socket: &mut WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) -> Vec<String> {
    let mut channels = vec![Vec::new(); 4];
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(data) = message {
            channels[usize::from(data[0])].extend_from_slice(&data[1..]);
        }
    }
    channels.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

fn frame(channel: u8, data: &[u8]) -> Message {
    let mut bytes = vec![channel];
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

pub async fn sleeper(machine: &Machine) -> u16 {
    machine.pod("box", json!({"containers": [{"name": "main", "command": ["sleep", "1000"]}]}));
    machine.phase("box", "Running").await;
    machine.port().await
}

pub async fn logs() {
    let machine = Machine::new().await;
    machine.pod("writer", json!({"restartPolicy": "OnFailure", "containers": [{"name": "main",
        "command": ["sh", "-c", "for i in $(seq 1 5); do echo line $i; done; sleep 0.2; echo oops >&2; test -e /tmp/../second || sleep 0.1; exit $(test -e /x || echo 1)"]}]}));
    machine.wait("writer", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    let port = machine.port().await;
    let base = "/containerLogs/default/writer/main";
    machine
        .wait("writer", |pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let (status, text) = get(port, base).await;
    assert_eq!((status, text.as_str()), (200, "line 1\nline 2\nline 3\nline 4\nline 5\noops\n"));
    let text = |query: &str| {
        let path = format!("{base}?{query}");
        async move { get(port, &path).await.1 }
    };
    assert_eq!(text("tailLines=2").await, "line 5\noops\n");
    assert_eq!(text("tailLines=0").await, "");
    assert_eq!(text("limitBytes=9").await, "line 1\nli");
    assert_eq!(text("stream=Stderr").await, "oops\n");
    assert_eq!(text("previous=true&tailLines=1").await, "oops\n");
    assert_eq!(text("sinceTime=2100-01-01T00:00:00Z").await, "");
    assert!(text("timestamps=true&tailLines=1").await.ends_with("Z oops\n"));
    let (status, text) = get(port, "/containerLogs/default/writer/nobody").await;
    assert_eq!(status, 400);
    assert!(text.contains("container nobody is not valid for pod writer"), "{text}");
    assert_eq!(get(port, "/containerLogs/default/nobody/main").await.0, 404);
    machine.clean().await;
}

pub async fn logs_follow() {
    let machine = Machine::new().await;
    machine.pod(
        "ticker",
        json!({"restartPolicy": "Never", "containers": [{"name": "main",
        "command": ["sh", "-c", "echo one; sleep 0.5; echo two; sleep 0.5; echo three"]}]}),
    );
    machine.phase("ticker", "Running").await;
    let port = machine.port().await;
    let request = hyper::Request::get("/containerLogs/default/ticker/main?follow=true")
        .header("host", "node")
        .body(Empty::new())
        .unwrap();
    let mut body = send(port, request).await.into_body();
    let mut pieces = Vec::new();
    while let Some(Ok(piece)) = body.frame().await {
        pieces.push(String::from_utf8_lossy(piece.data_ref().unwrap()).into_owned());
    }
    assert_eq!(pieces.concat(), "one\ntwo\nthree\n");
    assert!(pieces.len() > 1, "it came at once: {pieces:?}");
    machine.clean().await;
}

pub async fn exec() {
    let machine = Machine::new().await;
    let port = sleeper(&machine).await;
    let path = "/exec/default/box/main?command=sh&command=-c&command=echo+out;echo+err%3E%262;exit+3&output=1&error=1";
    let mut socket = websocket(port, path, "v4.channel.k8s.io").await;
    let channels = collect(&mut socket).await;
    assert_eq!((channels[1].as_str(), channels[2].as_str()), ("out\n", "err\n"));
    let status: Value = serde_json::from_str(&channels[3]).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    // Version 5 ends the input while the output goes on.
    let path = "/exec/default/box/main?command=sh&command=-c&command=wc+-c;echo+done&stdin=true&stdout=true";
    let mut socket = websocket(port, path, "v5.channel.k8s.io").await;
    socket.send(frame(0, b"12345")).await.unwrap();
    socket.send(frame(255, &[0])).await.unwrap();
    let channels = collect(&mut socket).await;
    assert_eq!(channels[1], "5\ndone\n");
    assert!(channels[3].contains("Success"), "{channels:?}");
    let mut socket =
        websocket(port, "/exec/default/box/main?command=nonsense&stdout=1", "v5.channel.k8s.io").await;
    let channels = collect(&mut socket).await;
    assert!(channels[3].contains("Failure") && channels[3].contains("nonsense"), "{channels:?}");
    machine.clean().await;
}

pub async fn exec_terminal() {
    let machine = Machine::new().await;
    let port = sleeper(&machine).await;
    let path = "/exec/default/box/main?command=sh&stdin=1&stdout=1&tty=1";
    let mut socket = websocket(port, path, "v5.channel.k8s.io").await;
    socket.send(frame(4, br#"{"Width":99,"Height":33}"#)).await.unwrap();
    socket.send(frame(0, b"echo $((6*7)); exit 0\n")).await.unwrap();
    let channels = collect(&mut socket).await;
    assert!(channels[1].contains("42\r\n"), "{channels:?}");
    assert!(channels[3].contains("Success"), "{channels:?}");
    machine.clean().await;
}

pub async fn exec_base64() {
    let machine = Machine::new().await;
    let port = sleeper(&machine).await;
    let path = "/exec/default/box/main?command=sh&command=-c&command=echo+out;exit+3&output=1";
    let mut socket = websocket(port, path, "base64.channel.k8s.io").await;
    let mut said = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        said.extend(message.into_text().ok().filter(|text| text.len() > 1).map(|text| text.to_string()));
    }
    // Failures are words before version 4.
    let failed = "command terminated with non-zero exit code: exit code 3";
    let failed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, failed);
    assert_eq!(said, ["1b3V0Cg==".to_owned(), format!("3{failed}")]);
    machine.clean().await;
}

pub async fn port_forward() {
    let machine = Machine::new().await;
    // Only the pod's own loopback: what is reached is reached from inside.
    let line =
        "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 127.0.0.1:8000 -h /tmp/www";
    let probe = json!({"exec": {"command": ["grep", "-q", ":1F40", "/proc/net/tcp"]}, "periodSeconds": 1});
    machine.pod(
        "web",
        json!({"containers": [{"name": "main", "command": ["sh", "-c", line], "readinessProbe": probe}]}),
    );
    machine.wait("web", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    let port = machine.port().await;
    let path = "/portForward/default/web?port=8000&port=9";
    let mut socket = websocket(port, path, "v4.channel.k8s.io").await;
    socket.send(frame(0, b"GET / HTTP/1.0\r\n\r\n")).await.unwrap();
    let channels = collect(&mut socket).await;
    assert!(
        channels[0].starts_with("\u{40}\u{1f}HTTP/1.") && channels[0].ends_with("hello\n"),
        "{channels:?}"
    );
    assert!(channels[3].contains("error forwarding port 9 to pod web"), "{channels:?}");
    machine.clean().await;
}

pub async fn refusals() {
    let machine = Machine::new().await;
    let port = sleeper(&machine).await;
    assert_eq!(get(port, "/healthz").await, (200, "ok".to_owned()));
    assert!(get(port, "/pods").await.1.contains("\"name\":\"box\""));
    assert!(get(port, "/metrics").await.1.contains("kubelet_running_containers"));
    assert_eq!(get(port, "/nothing").await.0, 404);
    let refused = async |path: &str, expect: &str| {
        let (status, text) = get(port, path).await;
        assert!(status == 400 && text.contains(expect), "{status} {text}");
    };
    refused("/exec/default/box/main?command=ls", "you must specify at least 1 of stdin, stdout, stderr")
        .await;
    refused("/exec/default/box/main?command=ls&output=1", "Upgrade request required").await;
    refused("/exec/default/box/main?output=1", "you must specify at least one command").await;
    refused("/portForward/default/box", "Upgrade request required").await;
    assert_eq!(get(port, "/portForward/default/nobody?port=80").await.0, 404);
    let (status, text) = crate::spdy::refused(port, "/portForward/default/box", &[]).await;
    assert!(status == 400 && text.contains("X-Stream-Protocol-Version is required"), "{status} {text}");
    let (status, text) = crate::spdy::refused(port, "/portForward/default/box", &["v9"]).await;
    assert!(status == 403 && text.contains("server accepts [portforward.k8s.io]"), "{status} {text}");
    let request = hyper::Request::get("/pods")
        .header("host", "node")
        .header("authorization", "Bearer refused")
        .body(Empty::new())
        .unwrap();
    assert_eq!(send(port, request).await.status(), 403);
    machine.clean().await;
}
