//! Connections to ports inside a pod.
//!
//! Over SPDY each connection is a pair of streams, for its data and for what went wrong; over a WebSocket with channels
//! each port that the request names is one connection, and both its channels begin with the port's number. Invariant:
//! nothing leaves the pod's network namespace but what one of its own programs listens to on it. Answers to the kubelet's
//! `portforward`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use gifee_base::Status;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::spdy::connection::{self, Arrival};
use super::upgrade::{Agreed, Framing};
use super::{Receiver, Sender, channels, tunnel};
use crate::pod::members;
use crate::worker::Shown;

/// How long a program in the pod may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one stream of a pair waits for the other.
const PAIRING: Duration = Duration::from_secs(30);
/// Connections of one client at the same time, and streams of it that wait for their other half.
const CONNECTIONS: usize = 512;

/// Where a pod's programs listen.
#[derive(Clone)]
pub(crate) struct Place {
    /// The pod's network namespace; none with the host's.
    namespace: Option<PathBuf>,
    pod: String,
    uid: String,
}

impl Place {
    /// Of a pod.
    pub fn of(shown: &Shown) -> Result<Place, Status> {
        let (pod, uid) = (members::name(&shown.pod).to_owned(), members::uid(&shown.pod).to_owned());
        if members::host_network(&shown.pod) {
            return Ok(Place { namespace: None, pod, uid });
        }
        match &shown.network {
            Some(network) => Ok(Place { namespace: Some(shown.paths.namespace(network)), pod, uid }),
            None => Err(Status::internal(format!("pod {pod} has no network"))),
        }
    }

    /// A connection to what listens on the pod's loopback.
    async fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let dial = move || {
            let to = |address: IpAddr| {
                std::net::TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT)
            };
            to(Ipv4Addr::LOCALHOST.into()).or_else(|error| to(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
        };
        let namespace = self.namespace.clone();
        let dialed = tokio::task::spawn_blocking(move || match namespace {
            Some(path) => gifee_oci::netns::enter(&path, dial).map_err(std::io::Error::other)?,
            None => dial(),
        });
        let stream = dialed.await.map_err(std::io::Error::other)??;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    /// Carries one connection to its end: that of the pod's side, or a client that breaks it off.
    async fn carry(&self, port: u16, pair: Pair) {
        let Pair { mut input, data, error } = pair;
        match self.connect(port).await {
            Ok(stream) => {
                let (reader, mut writer) = stream.into_split();
                let inward = async {
                    match input.copy(&mut writer).await {
                        // The client has said all, and the pod may still answer.
                        Ok(()) => std::future::pending().await,
                        Err(broken) => broken,
                    }
                };
                tokio::select! {
                    () = data.copy(reader) => {}
                    _ = inward => {}
                }
            }
            Err(why) => {
                let Place { pod, uid, .. } = self;
                let why = format!(
                    "error forwarding port {port} to pod {pod}, uid {uid}: failed to connect to localhost:{port}: {why}"
                );
                error.send(why.into()).await;
                data.end().await;
            }
        }
        error.end().await;
    }
}

/// The streams of one connection.
struct Pair {
    input: Receiver,
    data: Sender,
    error: Sender,
}

/// Serves a connection that was switched. `ports` is what the request names.
pub(crate) async fn serve(place: Place, ports: Vec<u16>, agreed: Agreed, upgraded: Upgraded) {
    match agreed.framing {
        Framing::Spdy => over_spdy(TokioIo::new(upgraded), &place).await,
        Framing::Tunnel => over_spdy(tunnel::bytes(channels::socket(upgraded).await), &place).await,
        Framing::Channels(coding) => {
            let numbers: Vec<(u8, u16)> = (0..=u8::MAX).step_by(2).zip(ports).collect();
            let inputs: Vec<u8> = numbers.iter().map(|(number, _)| *number).collect();
            let place = &place;
            channels::serve(channels::socket(upgraded).await, coding, inputs, |mut channels| async move {
                let mut all = Vec::new();
                for (number, port) in numbers {
                    let (data, error) = (channels.output(number), channels.output(number + 1));
                    for channel in [&data, &error] {
                        channel.send(Bytes::copy_from_slice(&port.to_le_bytes())).await;
                    }
                    if let Some(input) = channels.input(number) {
                        all.push(place.carry(port, Pair { input, data, error }));
                    }
                }
                join_all(all).await;
            })
            .await;
        }
    }
}

async fn over_spdy(io: impl AsyncRead + AsyncWrite, place: &Place) {
    connection::serve(io, |arrivals| pairs(arrivals, place)).await;
}

/// A stream that waits for its other half.
struct Half {
    arrival: Arrival,
    error: bool,
    until: Instant,
}

/// Makes pairs of the streams that a client opens, and carries them, until the client is gone.
async fn pairs(mut arrivals: mpsc::Receiver<Arrival>, place: &Place) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        let oldest = halves.iter().min_by_key(|(_, half)| half.until);
        let oldest = oldest.map(|(request, half)| (request.clone(), half.until));
        let expiry = async {
            match &oldest {
                Some((request, until)) => {
                    tokio::time::sleep_until(*until).await;
                    request.clone()
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            arrival = arrivals.recv(), if running.len() < CONNECTIONS => {
                let Some(arrival) = arrival else { return };
                if let Some((port, pair)) = pair(&mut halves, arrival).await {
                    running.push(place.carry(port, pair));
                }
            }
            Some(()) = running.next(), if !running.is_empty() => {}
            request = expiry => {
                if let Some(half) = halves.remove(&request) {
                    let why = format!("(request={request}) timed out waiting for streams");
                    half.arrival.output.send(why.into()).await;
                    half.arrival.output.end().await;
                }
            }
        }
    }
}

/// The pair that a stream completes, and its port. A stream that says not what it is for is refused.
async fn pair(halves: &mut HashMap<String, Half>, arrival: Arrival) -> Option<(u16, Pair)> {
    let error = match arrival.header("streamtype") {
        Some("error") => true,
        Some("data") => false,
        _ => {
            arrival.output.refuse().await;
            return None;
        }
    };
    let port = arrival.header("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let request = arrival.header("requestid").map(str::to_owned);
    // Clients that number no requests open the stream of data right after the other.
    let request = request.unwrap_or_else(|| {
        (if error { arrival.stream } else { arrival.stream.saturating_sub(2) }).to_string()
    });
    let Some(port) = port else {
        arrival.output.refuse().await;
        return None;
    };
    match halves.remove(&request) {
        Some(other) if other.error != error => {
            let (error, data) = if error { (arrival, other.arrival) } else { (other.arrival, arrival) };
            Some((port, Pair { input: data.input, data: data.output, error: error.output }))
        }
        other => {
            // Twice the same, or too many of them.
            if other.is_some() || halves.len() >= CONNECTIONS {
                arrival.output.refuse().await;
                halves.extend(other.map(|other| (request, other)));
                return None;
            }
            halves.insert(request, Half { arrival, error, until: Instant::now() + PAIRING });
            None
        }
    }
}
