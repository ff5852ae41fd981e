//! Streams over SPDY through the agent's server, as kubectl before 1.30 asks for them.

use std::collections::BTreeMap;

use gifee_kubelet::streams::spdy::frame::{self, Decoder, Encoder, Event};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::machine::Machine;
use crate::streams::{send, sleeper};

fn request(path: &str, protocols: &[&str]) -> hyper::Request<Empty<Bytes>> {
    let mut request = hyper::Request::post(path)
        .header("host", "node")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1");
    for protocol in protocols {
        request = request.header("X-Stream-Protocol-Version", *protocol);
    }
    request.body(Empty::new()).unwrap()
}

/// Code and body of the answer to a request that does not lead to streams.
pub async fn refused(port: u16, path: &str, protocols: &[&str]) -> (u16, String) {
    let response = send(port, request(path, protocols)).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// A client with streams.
struct Peer {
    io: TokioIo<hyper::upgrade::Upgraded>,
    encoder: Encoder,
    decoder: Decoder,
    /// What came on each stream, and whether it has ended.
    heard: BTreeMap<u32, (Vec<u8>, bool)>,
}

impl Peer {
    async fn open(port: u16, path: &str, protocols: &[&str], expect: &str) -> Peer {
        let response = send(port, request(path, protocols)).await;
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["x-stream-protocol-version"], expect);
        assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        Peer { io, encoder: Encoder::default(), decoder: Decoder::default(), heard: BTreeMap::new() }
    }

    async fn stream(&mut self, number: u32, headers: &[(&str, &str)]) {
        let mut bytes = Vec::new();
        self.encoder.open(number, headers, false, &mut bytes).unwrap();
        self.send(&bytes).await;
        loop {
            match self.event().await.expect("an answer") {
                Event::Reply(stream) if stream == number => return,
                Event::Reset(stream) => panic!("stream {stream} is refused"),
                _ => {}
            }
        }
    }

    async fn say(&mut self, stream: u32, text: &[u8], end: bool) {
        let mut bytes = Vec::new();
        frame::data(stream, end, text.len(), &mut bytes);
        bytes.extend_from_slice(text);
        self.send(&bytes).await;
    }

    /// What TLS could not write at once stays with it until it is told to.
    async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.decoder.event().unwrap() {
                match &event {
                    Event::Data(stream, bytes) => self.heard.entry(*stream).or_default().0.extend(bytes),
                    Event::End(stream) => self.heard.entry(*stream).or_default().1 = true,
                    _ => {}
                }
                return Some(event);
            }
            self.decoder.buffer.reserve(1 << 16);
            if self.io.read_buf(&mut self.decoder.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Reads until a stream has ended; what came on it.
    async fn all(&mut self, stream: u32) -> String {
        while !self.heard.get(&stream).is_some_and(|(_, ended)| *ended) {
            self.event().await.unwrap_or_else(|| panic!("stream {stream} was cut off: {:?}", self.heard));
        }
        String::from_utf8_lossy(&self.heard[&stream].0).into_owned()
    }
}

pub async fn exec() {
    let machine = Machine::new().await;
    let port = sleeper(&machine).await;
    let path = "/exec/default/box/main?command=sh&command=-c&command=wc+-c;echo+err%3E%262;exit+3&input=1&output=1&error=1";
    let mut peer =
        Peer::open(port, path, &["v4.channel.k8s.io", "channel.k8s.io"], "v4.channel.k8s.io").await;
    for (number, name) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        peer.stream(number, &[("streamType", name)]).await;
    }
    // More than fits anywhere on its way.
    let piece = vec![b'x'; 1 << 16];
    for _ in 0..64 {
        peer.say(3, &piece, false).await;
    }
    peer.say(3, b"and the end", true).await;
    assert_eq!(peer.all(5).await, format!("{}\n", (64 << 16) + 11));
    assert_eq!(peer.all(7).await, "err\n");
    let status: Value = serde_json::from_str(&peer.all(1).await).unwrap();
    assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    while let Some(event) = peer.event().await {
        assert_eq!(event, Event::Away);
    }
    machine.clean().await;
}

pub async fn exec_terminal() {
    let machine = Machine::new().await;
    let port = sleeper(&machine).await;
    let path = "/exec/default/box/main?command=sh&input=1&output=1&tty=1";
    let mut peer = Peer::open(port, path, &["v3.channel.k8s.io"], "v3.channel.k8s.io").await;
    for (number, name) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")] {
        peer.stream(number, &[("streamType", name)]).await;
    }
    peer.say(7, b"{\"Width\":99,\"Height\":33}\n{\"Width\":98,\"Height\":32}\n", false).await;
    peer.say(3, b"echo $((6*7)); exit 4\n", false).await;
    assert!(peer.all(5).await.contains("42\r\n"));
    // Failures are words before version 4.
    assert_eq!(peer.all(1).await, "command terminated with non-zero exit code: exit code 4");
    machine.clean().await;
}

pub async fn attach() {
    let machine = Machine::new().await;
    let line = "while read word; do echo got $word; done; exit 5";
    let main = json!({"name": "main", "command": ["sh", "-c", line], "stdin": true, "stdinOnce": true});
    machine.pod("box", json!({"restartPolicy": "Never", "containers": [main]}));
    machine.phase("box", "Running").await;
    let port = machine.port().await;
    let path = "/attach/default/box/main?input=1&output=1";
    let mut peer = Peer::open(port, path, &["v4.channel.k8s.io"], "v4.channel.k8s.io").await;
    for (number, name) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        peer.stream(number, &[("streamType", name)]).await;
    }
    peer.say(3, b"one\ntwo\n", true).await;
    assert_eq!(peer.all(5).await, "got one\ngot two\n");
    // How the container ended is told by its pod.
    assert_eq!(serde_json::from_str::<Value>(&peer.all(1).await).unwrap()["status"], "Success");
    machine.phase("box", "Failed").await;
    machine.clean().await;
}

pub async fn port_forward() {
    let machine = Machine::new().await;
    let line =
        "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 127.0.0.1:8000 -h /tmp/www";
    let probe = json!({"exec": {"command": ["grep", "-q", ":1F40", "/proc/net/tcp"]}, "periodSeconds": 1});
    machine.pod(
        "web",
        json!({"containers": [{"name": "main", "command": ["sh", "-c", line], "readinessProbe": probe}]}),
    );
    machine.wait("web", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    let port = machine.port().await;
    let mut peer =
        Peer::open(port, "/portForward/default/web", &["portforward.k8s.io"], "portforward.k8s.io").await;
    // Three at once, the last one to where nobody listens; one without a number of its own, as old clients do.
    for (number, request, target) in [(1, Some("0"), "8000"), (5, None, "8000"), (9, Some("2"), "9")] {
        for (number, kind) in [(number, "error"), (number + 2, "data")] {
            let mut headers = vec![("streamType", kind), ("port", target)];
            headers.extend(request.map(|request| ("requestID", request)));
            peer.stream(number, &headers).await;
        }
    }
    for number in [3, 7] {
        peer.say(number, b"GET / HTTP/1.0\r\n\r\n", false).await;
    }
    for (data, error) in [(3, 1), (7, 5)] {
        let page = peer.all(data).await;
        assert!(page.starts_with("HTTP/1.") && page.ends_with("hello\n"), "{page}");
        assert_eq!(peer.all(error).await, "");
    }
    assert!(peer.all(9).await.contains("error forwarding port 9 to pod web"));
    // A stream that says not what it is for is refused.
    let mut bytes = Vec::new();
    peer.encoder.open(13, &[("streamType", "data")], false, &mut bytes).unwrap();
    peer.send(&bytes).await;
    while peer.event().await.expect("a refusal") != Event::Reset(13) {}
    drop(peer);
    machine.clean().await;
}
