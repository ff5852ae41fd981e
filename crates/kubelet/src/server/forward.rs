//! `/portForward`: connections to ports inside a pod.
//!
//! Each port has two channels on one WebSocket, for its data and for what went wrong; both begin with the port's number.
//! Invariant: nothing leaves the pod's network namespace but what one of its own programs listens to on it. Answers to the
//! kubelet's `portforward` over WebSockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use gifee_base::Status;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::Body;
use super::query::Query;
use super::routes;
use super::websocket::{self, Socket, frame};
use crate::agent::Agent;
use crate::pod::members;
use crate::worker::Shown;

/// The subprotocol.
const PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];
/// Ports of one request: two channels each, and channels are numbered by a byte.
const PORTS: usize = 64;
/// How long a program in the pod may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of data in a frame.
const FRAME: usize = 32 * 1024;
/// Frames that wait for a slow peer, in each direction.
const WAITING: usize = 16;

pub(super) async fn answer(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let (namespace, name) = match parts.as_slice() {
        [namespace, name] | [namespace, name, _] => (*namespace, *name),
        _ => return Err(Status::no_such_path()),
    };
    let shown = agent.mailbox(namespace, name).and_then(|mailbox| mailbox.shown());
    let shown = shown.ok_or_else(|| Status::not_found("", "pods", name))?;
    // Before the ports, which only this protocol names here: whoever speaks another one is to hear of that.
    websocket::negotiate(request.headers(), &PROTOCOLS)?;
    let ports = ports(&routes::query(&request))?;
    let place = Place::of(&shown)?;
    websocket::upgrade(request, &PROTOCOLS, move |socket| carry(socket, place, ports))
}

/// The ports that are asked for.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Status::bad_request(format!("invalid port {text:?}"))),
    };
    let ports: Vec<u16> = query.all("port").map(number).collect::<Result<_, _>>()?;
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"port\" is required")),
        1..=PORTS => Ok(ports),
        _ => Err(Status::bad_request(format!("at most {PORTS} ports can be forwarded at once"))),
    }
}

/// Where a pod's programs listen.
#[derive(Clone)]
struct Place {
    /// The pod's network namespace; none with the host's.
    namespace: Option<PathBuf>,
    pod: String,
}

impl Place {
    fn of(shown: &Shown) -> Result<Place, Status> {
        let pod = members::name(&shown.pod).to_owned();
        if members::host_network(&shown.pod) {
            return Ok(Place { namespace: None, pod });
        }
        match &shown.network {
            Some(network) => Ok(Place { namespace: Some(shown.paths.namespace(network)), pod }),
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
}

fn channel(index: usize, error: bool) -> u8 {
    u8::try_from(index * 2 + usize::from(error)).unwrap_or(u8::MAX)
}

/// Carries bytes until all ports are done, or the peer goes away.
async fn carry(socket: Socket, place: Place, ports: Vec<u16>) {
    let (mut sink, frames) = socket.split();
    let (sender, mut queue) = mpsc::channel::<Message>(WAITING);
    let writing = async {
        while let Some(message) = queue.recv().await {
            sink.send(message).await?;
        }
        sink.close().await
    };
    let working = async {
        let mut writers = Vec::new();
        let mut pumps = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            for error in [false, true] {
                let _ = sender.send(frame(channel(index, error), &port.to_le_bytes())).await;
            }
            match place.connect(*port).await {
                Ok(stream) => {
                    let (reader, writer) = stream.into_split();
                    let (input, inputs) = mpsc::channel(WAITING);
                    writers.push(Some(input));
                    pumps.push(both(index, reader, writer, inputs, sender.clone()));
                }
                Err(error) => {
                    writers.push(None);
                    let why = format!(
                        "error forwarding port {port} to pod {}, uid : failed to connect to localhost:{port}: {error}",
                        place.pod
                    );
                    let _ = sender.send(frame(channel(index, true), why.as_bytes())).await;
                }
            }
        }
        tokio::select! {
            _ = join_all(pumps) => {}
            () = receive(frames, writers) => {}
        }
        drop(sender);
    };
    // Whichever direction ends early, the other has nothing more to do.
    let _ = tokio::join!(writing, working);
}

/// One port's data, both ways, until the program closes.
async fn both(
    index: usize,
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
    mut inputs: mpsc::Receiver<Bytes>,
    sender: mpsc::Sender<Message>,
) {
    let outward = async {
        let mut buffer = vec![0; FRAME];
        while let Ok(size @ 1..) = reader.read(&mut buffer).await {
            if sender.send(frame(channel(index, false), &buffer[..size])).await.is_err() {
                return;
            }
        }
    };
    let inward = async {
        while let Some(data) = inputs.recv().await {
            if writer.write_all(&data).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

/// Gives the ports what the peer sends; returns when it goes away.
async fn receive(mut frames: SplitStream<Socket>, writers: Vec<Option<mpsc::Sender<Bytes>>>) {
    while let Some(Ok(message)) = frames.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Close(_) => return,
            _ => continue,
        };
        let Some(number) = data.first().copied().filter(|number| number % 2 == 0) else { continue };
        if let Some(Some(writer)) = writers.get(usize::from(number / 2)) {
            // A port that is closed takes nothing more; the others go on.
            let _ = writer.send(data.slice(1..)).await;
        }
    }
}
