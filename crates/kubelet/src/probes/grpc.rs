//! A server that speaks `grpc.health.v1.Health`.
//!
//! The request and answer have one field each, so they are written and read by hand.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Outcome, tcp};

/// `SERVING` of the answer's `status`.
const SERVING: u64 = 1;
/// An answer is a few bytes; more is no health server.
const BODY: usize = 64 * 1024;

pub(super) async fn run(port: i32, service: &str, address: Option<IpAddr>, limit: Duration) -> Outcome {
    let Ok(port) = u16::try_from(port) else {
        return Outcome::Failure(format!("invalid port number: {port}"));
    };
    match tokio::time::timeout(limit, check(port, service, address, limit)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(_)) => Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        Ok(Err(reason)) => Outcome::Failure(reason),
        Err(_) => {
            Outcome::Failure(format!("timeout: health rpc did not complete within {}s", limit.as_secs()))
        }
    }
}

async fn check(port: u16, service: &str, address: Option<IpAddr>, limit: Duration) -> Result<u64, String> {
    let stream = tcp::connect(None, address, port, limit)
        .await
        .map_err(|reason| format!("timeout: failed to connect service: {reason}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| format!("error: {error}"))?;
    let driver = tokio::spawn(connection);
    let answer = ask(&mut sender, port, service, address).await;
    driver.abort();
    answer
}

async fn ask(
    sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    port: u16,
    service: &str,
    address: Option<IpAddr>,
) -> Result<u64, String> {
    let host =
        address.map(|address| std::net::SocketAddr::new(address, port).to_string()).unwrap_or_default();
    let request = hyper::Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(Bytes::from(encode(service))))
        .map_err(|error| format!("error: {error}"))?;
    let response =
        sender.send_request(request).await.map_err(|error| format!("error: health rpc failed: {error}"))?;
    let head = response.headers().get("grpc-status").cloned();
    let collected = http_body_util::Limited::new(response.into_body(), BODY)
        .collect()
        .await
        .map_err(|error| format!("error: health rpc failed: {error}"))?;
    let code = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned().or(head);
    match code.as_ref().and_then(|code| code.to_str().ok()) {
        Some("0") => Ok(decode(&collected.to_bytes())),
        Some("12") => {
            Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                .into())
        }
        other => Err(format!("error: health rpc probe failed: grpc status {}", other.unwrap_or("missing"))),
    }
}

/// A frame with `service` as field 1.
fn encode(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or(0));
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend(message);
    frame
}

/// `status`, field 1 of the answer; 0 if it is missing.
fn decode(frame: &[u8]) -> u64 {
    match frame.get(5..) {
        Some([0x08, value, ..]) => u64::from(*value),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    #[test]
    fn frames() {
        assert_eq!(encode(""), [0, 0, 0, 0, 0]);
        assert_eq!(encode("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8, 1]), SERVING);
        assert_eq!(decode(&[0, 0, 0, 0, 0]), 0);
    }

    /// A health server that serves only the service `db`.
    async fn serve(listener: tokio::net::TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let asked =
                        request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let status = if asked.ends_with(b"db") { 1 } else { 2 };
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    let frames =
                        [Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status])), Frame::trailers(trailers)];
                    let frames = frames.map(Ok::<_, std::convert::Infallible>);
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(StreamBody::new(
                        futures_util::stream::iter(frames),
                    )))
                });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    }

    #[tokio::test]
    async fn a_health_server_is_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = i32::from(listener.local_addr().unwrap().port());
        tokio::spawn(serve(listener));
        let ask = |service| run(port, service, Some(IpAddr::from([127, 0, 0, 1])), Duration::from_secs(5));
        assert_eq!(ask("db").await, Outcome::Success);
        assert!(matches!(ask("web").await, Outcome::Failure(reason) if reason.contains("unhealthy")));
    }
}
