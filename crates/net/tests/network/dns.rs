//! The cluster DNS at its address, from pods and the host, by both transports, and with an upstream.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

use gifee_net::dns::{Place, Port, Service};
use gifee_net::link::netns;
use gifee_net::{Network, PodNetwork, Protocol};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::harness::{Host, WORLD, ask, on_host, service, udp};

const DNS: &str = "10.96.0.10:53";

fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.edns = edns.map(|size| {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        edns
    });
    message.to_vec().unwrap()
}

fn by_udp(place: Option<&Path>, bytes: &[u8]) -> Message {
    let socket = udp(place, DNS);
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    socket.send(bytes).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn by_tcp(place: Option<&Path>, bytes: &[u8]) -> Message {
    let connect = || TcpStream::connect(DNS).unwrap();
    let mut stream = place.map_or_else(connect, |path| netns::inside(path, || Ok(connect())).unwrap());
    stream.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

fn data(message: &Message) -> Vec<String> {
    let mut texts: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    texts.sort();
    texts
}

/// Addresses of a name, asked for by the host.
pub fn resolve(name: &str) -> Vec<String> {
    data(&by_udp(None, &query(name, RecordType::A, None)))
}

/// The code that the host gets for a name.
pub fn code(name: &str) -> u16 {
    by_udp(None, &query(name, RecordType::A, None)).metadata.response_code.into()
}

fn web(host: &Host) {
    let service = Service { cluster_ips: vec!["10.96.0.20".parse().unwrap()], ..Service::default() };
    host.network.change_name("shop", "web", Some(service));
}

#[test]
fn pods_and_host_resolve_services() {
    on_host(|host| async move {
        let pod = host.pod("one").await;
        web(&host);
        let bytes = query("web.shop.svc.cluster.local.", RecordType::A, None);
        for place in [Some(pod.netns.as_path()), None] {
            for answer in [by_udp(place, &bytes), by_tcp(place, &bytes)] {
                assert_eq!(answer.metadata.id, 7);
                assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
                assert_eq!(data(&answer), ["10.96.0.20"]);
                assert_eq!(answer.answers[0].ttl, 5);
            }
        }
        let missing = by_udp(None, &query("no.shop.svc.cluster.local.", RecordType::A, None));
        assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(missing.authorities.len(), 1);
        let nothing = by_udp(None, &query("web.shop.svc.cluster.local.", RecordType::AAAA, None));
        assert_eq!(nothing.metadata.response_code, ResponseCode::NoError);
        assert_eq!((nothing.answers.len(), nothing.authorities.len()), (0, 1));
    });
}

#[test]
fn a_large_answer_is_cut_by_udp_and_whole_by_tcp() {
    on_host(|host| async move {
        let endpoint = |last: u8| Place {
            address: IpAddr::from([10, 244, 0, last]),
            hostname: None,
            ports: vec![Port { name: "peer".into(), protocol: Protocol::Tcp, port: 7000 }],
        };
        let service = Service { endpoints: (1..=120).map(endpoint).collect(), ..Service::default() };
        host.network.change_name("shop", "db", Some(service));
        let name = "db.shop.svc.cluster.local.";
        let small = by_udp(None, &query(name, RecordType::A, None));
        assert!(small.metadata.truncation && small.answers.len() < 40);
        let larger = by_udp(None, &query(name, RecordType::A, Some(4096)));
        assert!(larger.metadata.truncation && larger.answers.len() > small.answers.len());
        let whole = by_tcp(None, &query(name, RecordType::A, None));
        assert_eq!(whole.answers.len(), 120);
        // Clients that take the first answer are spread.
        let again = by_tcp(None, &query(name, RecordType::A, None));
        assert_ne!(whole.answers[0].data, again.answers[0].data);
    });
}

/// An upstream server that knows `known.example` and an alias to it.
fn upstream(world: &Path) {
    let address: SocketAddr = format!("{WORLD}:53").parse().unwrap();
    let socket = netns::inside(world, || Ok(UdpSocket::bind(address).unwrap())).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
            answer.metadata.recursion_available = true;
            let known: Name = Name::from_ascii("known.example.").unwrap();
            let address = |name: Name| Record::from_rdata(name, 600, RData::A(A::new(198, 51, 100, 7)));
            match query.name().to_ascii().to_ascii_lowercase().as_str() {
                "known.example." => {
                    answer.add_answer(address(query.name().clone()));
                }
                "alias.example." => {
                    let data = RData::CNAME(CNAME(known.clone()));
                    answer.add_answer(Record::from_rdata(query.name().clone(), 600, data));
                    answer.add_answer(address(known));
                }
                _ => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            answer.add_query(query);
            let _ = socket.send_to(&answer.to_vec().unwrap(), from);
        }
    });
}

#[test]
fn other_names_are_forwarded() {
    on_host(|host| async move {
        // The cluster DNS itself stands in the file too, and must be left out.
        std::fs::write(&host.config.resolv_conf, format!("nameserver 10.96.0.10\nnameserver {WORLD}\n"))
            .unwrap();
        upstream(&host.world());
        let config = host.config.clone();
        let pod = host.pod("one").await;
        drop(host.network);
        let network = Network::start(config).await.unwrap();
        network.complete_services().await.unwrap();
        let place = Some(pod.netns.as_path());
        let known = by_udp(place, &query("known.example.", RecordType::A, None));
        assert_eq!(data(&known), ["198.51.100.7"]);
        assert!(!known.metadata.authoritative);
        assert_eq!(
            data(&by_tcp(place, &query("alias.example.", RecordType::A, None))),
            ["198.51.100.7", "known.example."]
        );
        let missing = by_udp(place, &query("missing.example.", RecordType::A, None));
        assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);

        // A Service that becomes ExternalName, and back.
        let plain = Service { cluster_ips: vec!["10.96.0.20".parse().unwrap()], ..Service::default() };
        let external = Service { external_name: Some("known.example".into()), ..Service::default() };
        let bytes = query("web.shop.svc.cluster.local.", RecordType::A, None);
        network.change_name("shop", "web", Some(plain.clone()));
        assert_eq!(data(&by_udp(place, &bytes)), ["10.96.0.20"]);
        network.change_name("shop", "web", Some(external));
        assert_eq!(data(&by_udp(place, &bytes)), ["198.51.100.7", "known.example."]);
        let alias = by_udp(place, &query("web.shop.svc.cluster.local.", RecordType::CNAME, None));
        assert_eq!(data(&alias), ["known.example."]);
        network.change_name("shop", "web", Some(plain));
        assert_eq!(data(&by_udp(place, &bytes)), ["10.96.0.20"]);
        assert_eq!(network.list().await.unwrap().len(), 1);
    });
}

#[test]
fn without_upstream_the_cluster_still_resolves() {
    on_host(|host| async move {
        web(&host);
        let failed = by_udp(None, &query("known.example.", RecordType::A, None));
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(
            data(&by_udp(None, &query("web.shop.svc.cluster.local.", RecordType::A, None))),
            ["10.96.0.20"]
        );
        // Nonsense does not stop the server.
        udp(None, DNS).send(&[0xff; 40]).unwrap();
        udp(None, DNS).send(&[]).unwrap();
        assert_eq!(
            data(&by_udp(None, &query("web.shop.svc.cluster.local.", RecordType::A, None))),
            ["10.96.0.20"]
        );
    });
}

#[test]
fn a_service_with_endpoints_at_the_address_goes_before() {
    on_host(|host| async move {
        let other = host.server("coredns").await;
        let mut port = service("kube-dns", "10.96.0.10", Protocol::Tcp, &[&other]);
        port.port = 53;
        // A Service without endpoints does not take the address away.
        web(&host);
        let mut empty = port.clone();
        empty.endpoints.clear();
        host.apply(&[empty]).await;
        let bytes = query("web.shop.svc.cluster.local.", RecordType::A, None);
        assert_eq!(data(&by_tcp(None, &bytes)), ["10.96.0.20"]);
        host.apply(&[port]).await;
        assert!(ask(None, DNS).unwrap().starts_with("coredns"));
    });
}
