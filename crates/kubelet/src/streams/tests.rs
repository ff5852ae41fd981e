//! What is agreed on, and what messages and statuses look like, by table.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::Message;

use super::channels::{Coding, decode, encode};
use super::remote::{sizes, told};
use super::upgrade::{FORWARD, Framing, Protocol, REMOTE, negotiate};

fn agreed(protocols: &'static [Protocol], headers: &[(&'static str, &'static str)]) -> String {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    match negotiate(&all, protocols) {
        Ok((agreed, answer)) => {
            let framing = match agreed.framing {
                Framing::Spdy => "SPDY".to_owned(),
                Framing::Tunnel => "tunnel".to_owned(),
                Framing::Channels(coding) => {
                    format!("channels base64={} closes={}", coding.base64, coding.closes)
                }
            };
            let named = answer
                .iter()
                .find(|(name, _)| name.as_str().ends_with("protocol") || name.as_str().ends_with("version"));
            let named = named.map_or("", |(_, value)| value.to_str().unwrap());
            format!("{framing} {} {named:?}", agreed.version)
        }
        Err(status) => format!("{}: {}", status.code, status.message),
    }
}

#[test]
fn the_first_that_is_understood_is_taken() {
    let spdy = ("upgrade", "SPDY/3.1");
    let socket = ("upgrade", "websocket");
    let version = "x-stream-protocol-version";
    let subprotocol = "sec-websocket-protocol";
    let check = |protocols, headers: &[(&'static str, &'static str)], expect: &str| {
        assert_eq!(agreed(protocols, headers), expect, "{headers:?}");
    };
    // As the oldest and the newest kubectl offer.
    let old =
        [spdy, (version, "v4.channel.k8s.io"), (version, "v3.channel.k8s.io"), (version, "channel.k8s.io")];
    check(REMOTE, &old, "SPDY 4 \"v4.channel.k8s.io\"");
    check(REMOTE, &[spdy, (version, "v9, v3.channel.k8s.io")], "SPDY 3 \"v3.channel.k8s.io\"");
    check(REMOTE, &[spdy, (version, "channel.k8s.io")], "SPDY 1 \"channel.k8s.io\"");
    let new = [socket, (subprotocol, "v5.channel.k8s.io")];
    check(REMOTE, &new, "channels base64=false closes=true 5 \"v5.channel.k8s.io\"");
    let python = [socket, (subprotocol, "v4.channel.k8s.io")];
    check(REMOTE, &python, "channels base64=false closes=false 4 \"v4.channel.k8s.io\"");
    check(
        REMOTE,
        &[socket, (subprotocol, "base64.channel.k8s.io")],
        "channels base64=true closes=false 1 \"base64.channel.k8s.io\"",
    );
    check(REMOTE, &[socket], "channels base64=false closes=false 1 \"\"");
    check(
        FORWARD,
        &[socket, (subprotocol, "SPDY/3.1+portforward.k8s.io")],
        "tunnel 1 \"SPDY/3.1+portforward.k8s.io\"",
    );
    check(FORWARD, &[spdy, (version, "portforward.k8s.io")], "SPDY 1 \"portforward.k8s.io\"");
    check(FORWARD, &python, "channels base64=false closes=false 4 \"v4.channel.k8s.io\"");
    check(FORWARD, &[], "400: Upgrade request required");
    check(FORWARD, &[("upgrade", "h2c")], "400: Upgrade request required");
    check(FORWARD, &[spdy], "400: unable to upgrade: X-Stream-Protocol-Version is required");
    check(
        FORWARD,
        &[spdy, (version, "v4.channel.k8s.io")],
        "403: unable to upgrade: unable to negotiate protocol: client supports [v4.channel.k8s.io], server accepts [portforward.k8s.io]",
    );
}

#[test]
fn messages_begin_with_their_channel() {
    let plain = Coding::default();
    let base64 = Coding { base64: true, closes: false };
    assert_eq!(encode(plain, 1, b"hi"), Message::Binary(Bytes::from_static(b"\x01hi")));
    assert_eq!(encode(base64, 3, b"hi"), Message::Text("3aGk=".into()));
    let decoded = |coding, data: &'static [u8]| decode(coding, Bytes::from_static(data));
    assert_eq!(decoded(plain, b"\x00in"), Some((0, Bytes::from_static(b"in"))));
    assert_eq!(decoded(base64, b"0aGk="), Some((0, Bytes::from_static(b"hi"))));
    assert_eq!(decoded(plain, b""), None);
    assert_eq!(decoded(base64, b"0%"), None);
    assert_eq!(decoded(base64, b"!"), None);
}

#[test]
fn sizes_come_in_pieces() {
    let check = |text: &str, expect: &[(u16, u16)], read: usize| {
        let (found, at) = sizes(text.as_bytes());
        let found: Vec<_> = found.iter().map(|size| (size.width, size.height)).collect();
        assert_eq!((found.as_slice(), at), (expect, read), "{text}");
    };
    check("", &[], 0);
    check(r#"{"Width":80,"Height":24}"#, &[(80, 24)], 24);
    check("{\"Width\":80,\"Height\":24}\n{\"Width\":1,\"Height\":2}\n{\"Wid", &[(80, 24), (1, 2)], 47);
    check("nonsense", &[], 0);
}

#[test]
fn old_clients_are_told_in_words() {
    let failed = serde_json::json!({"status": "Failure", "message": "it broke"});
    assert_eq!(told(&failed, 3).as_deref(), Some("it broke"));
    assert_eq!(told(&serde_json::json!({"status": "Success"}), 1), None);
    assert_eq!(told(&failed, 4).unwrap(), failed.to_string());
}
