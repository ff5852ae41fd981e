//! A port that accepts connections.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Outcome;

pub(super) async fn run(
    host: Option<&str>,
    port: Result<u16, String>,
    address: Option<IpAddr>,
    limit: Duration,
) -> Outcome {
    let port = match port {
        Ok(port) => port,
        Err(reason) => return Outcome::Failure(reason),
    };
    match connect(host, address, port, limit).await {
        Ok(_) => Outcome::Success,
        Err(reason) => Outcome::Failure(reason),
    }
}

/// Connects to `host`, or else to the pod; the error is in Go's words, which people search for.
pub(super) async fn connect(
    host: Option<&str>,
    address: Option<IpAddr>,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, String> {
    let host = match (host.filter(|host| !host.is_empty()), address) {
        (Some(host), _) => host.to_owned(),
        (None, Some(address)) => address.to_string(),
        (None, None) => return Err("the pod has no address".to_owned()),
    };
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(limit, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {shown}: {}", words(&error))),
        Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
    }
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}
