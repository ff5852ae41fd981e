//! The DNS server: takes queries by UDP and TCP, and writes answers.
//!
//! Bounds: a TCP client is dropped after [`IDLE`] without a query, and its answers wait in a queue of
//! [`QUEUE`]; an alias is followed [`ALIASES`] times.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};

use super::forward::{Forward, Reply};
use super::index::{Answer, Index};
use crate::{Cidr, Error};

const IDLE: Duration = Duration::from_secs(10);
const QUEUE: usize = 32;
const ALIASES: usize = 8;
/// What a client may ask for by UDP at most; more than one Ethernet frame gets lost too easily.
const UDP_MAXIMUM: u16 = 1232;
/// Tries to find a port that is free for both transports.
const BIND_TRIES: usize = 16;

/// The cluster DNS of a node, listening until it is dropped.
pub struct Dns {
    /// Where it listens, both transports.
    pub address: SocketAddr,
    _server: parking_lot::Mutex<Server<Handler>>,
}

struct Handler {
    index: Arc<RwLock<Index>>,
    forward: Forward,
    /// Turns the records of an answer, so that clients that take the first spread.
    turn: AtomicUsize,
}

async fn bind(address: IpAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..BIND_TRIES {
        let listener = TcpListener::bind((address, 0)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Dns {
    /// Starts to answer at a port of an address. Upstream servers are read from `resolv_conf`; those
    /// within `own` are left out.
    pub async fn start(
        address: IpAddr,
        index: Arc<RwLock<Index>>,
        resolv_conf: PathBuf,
        own: Vec<Cidr>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Dns { action: format!("listen on {address}"), source };
        let (listener, socket) = bind(address).await.map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let forward = Forward::new(resolv_conf, own);
        let mut server = Server::new(Handler { index, forward, turn: AtomicUsize::new(0) });
        server.register_socket(socket);
        server.register_listener(listener, IDLE, QUEUE);
        Ok(Self { address: bound, _server: parking_lot::Mutex::new(server) })
    }
}

#[derive(Default)]
struct Response {
    code: Option<ResponseCode>,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    authoritative: bool,
}

impl Response {
    fn refusal(code: ResponseCode) -> Self {
        Self { code: Some(code), ..Self::default() }
    }
}

impl Handler {
    async fn respond(&self, name: &Name, kind: RecordType) -> Response {
        let first = self.index.read().answer(name, kind);
        let mut response = Response { authoritative: true, ..Response::default() };
        match first {
            Answer::Records(mut records, additionals) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % records.len().max(1);
                records.rotate_left(turn);
                response.answers = records;
                response.additionals = additionals;
            }
            Answer::NoData => response.authorities.push(self.index.read().authority()),
            Answer::NoName => {
                response.code = Some(ResponseCode::NXDomain);
                response.authorities.push(self.index.read().authority());
            }
            Answer::Alias(record, target) => {
                response.answers.push(*record);
                if kind != RecordType::CNAME {
                    self.follow(target, kind, &mut response).await;
                }
            }
            Answer::Elsewhere => return elsewhere(self.forward.ask(name, kind).await),
            Answer::Unknown => return Response::refusal(ResponseCode::ServFail),
        }
        response
    }

    /// Adds what an alias leads to, as far as it can be found: the client may ask on for the rest.
    async fn follow(&self, mut target: Name, kind: RecordType, response: &mut Response) {
        for _ in 0..ALIASES {
            let next = self.index.read().answer(&target, kind);
            match next {
                Answer::Records(records, _) => response.answers.extend(records),
                Answer::Alias(record, further) => {
                    response.answers.push(*record);
                    target = further;
                    continue;
                }
                Answer::Elsewhere => {
                    let reply = self.forward.ask(&target, kind).await;
                    response.answers.extend(reply.answers);
                }
                Answer::NoData | Answer::NoName | Answer::Unknown => {}
            }
            return;
        }
    }
}

fn elsewhere(reply: Reply) -> Response {
    Response {
        code: Some(reply.code),
        answers: reply.answers,
        authorities: reply.authority.into_iter().collect(),
        ..Response::default()
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let response = match request.request_info() {
            Err(_) => Response::refusal(ResponseCode::FormErr),
            Ok(_) if request.metadata.op_code != OpCode::Query => Response::refusal(ResponseCode::NotImp),
            Ok(info) if info.query.query_class() != DNSClass::IN => Response::refusal(ResponseCode::Refused),
            Ok(info) => self.respond(info.query.original().name(), info.query.query_type()).await,
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = response.authoritative;
        metadata.recursion_available = true;
        metadata.response_code = response.code.unwrap_or(ResponseCode::NoError);
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_version(0);
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_MAXIMUM));
            edns
        });
        let message = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            metadata,
            &response.answers,
            &response.authorities,
            [],
            &response.additionals,
        );
        match handle.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "cannot send a DNS answer");
                let mut metadata = Metadata::new(request.metadata.id, MessageType::Response, OpCode::Query);
                metadata.response_code = ResponseCode::ServFail;
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}
