//! Clients that are denied, too many, too large, slow, half-closed, endless or deaf, all at once: those that behave do
//! not notice, and when the others are gone nothing of them is left.

use crate::fixture::Cluster;
use crate::run::{DEADLINE, runtime};
use crate::steps::Steps;
use futures_util::StreamExt;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Client, DeleteOptions, Event, Kubeconfig, WatchOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How many of each sort that costs the server something.
const EACH: usize = 20;
/// How many that say nothing at all.
const SILENT: usize = 300;
/// How many that list as fast as they are let.
const GREEDY: usize = 200;
/// How many behave, and what each of them does so many times.
const GOOD: usize = 4;
const TURNS: usize = 50;
/// Bytes of a body that is more than the server takes.
const LARGE: usize = 4 << 20;
/// What a slow one waits between two bytes.
const SLOW: Duration = Duration::from_millis(200);
/// The server may hold so much in all, built without optimisation.
const MEMORY_MIB: u64 = 600;

#[test]
fn mixed() {
    let cluster = Cluster::up("mixed");
    let steps = Steps::new(&cluster);
    let pid = cluster.pid();
    let place = Place::of(&cluster);
    steps.step("something to list", || runtime().block_on(fill(&cluster.client())));
    let before = descriptors(pid);
    let (mut attackers, counts) = (JoinSet::new(), Arc::new(Counts::default()));
    runtime().block_on(async { place.attack(&mut attackers, &counts) });
    steps.step("those that behave do not notice", || runtime().block_on(behave(&cluster)));
    steps.step("kubectl neither", || {
        cluster.kubectl(&["run", "p", "--image=none:1"]).ok();
        cluster.kubectl(&["get", "pods,nodes"]).ok();
        cluster.kubectl(&["delete", "pod", "p", "--now"]).ok();
    });
    steps.step("the others were answered as they should be", || counts.check());
    steps.step("nothing is left of them", || {
        assert_eq!(cluster.pid(), pid, "the server is another one afterwards");
        let memory = resident(pid);
        assert!(memory < MEMORY_MIB, "{memory} MiB");
        runtime().block_on(attackers.shutdown());
        runtime().block_on(async {
            let closed = async {
                // Nothing tells of another process's descriptors.
                while descriptors(pid) > before + 50 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let closed = tokio::time::timeout(DEADLINE, closed).await;
            assert!(closed.is_ok(), "{} descriptors, {before} before", descriptors(pid));
        });
        runtime().block_on(behave(&cluster));
    });
    steps.end();
}

async fn fill(client: &Client) {
    for number in 0..500 {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("filler-{number}") },
            "data": { "text": "x".repeat(2000) } });
        client.create(&Gvr::core("configmaps"), "default", map).await.unwrap();
    }
}

/// Every request of every good client succeeds, and a watch tells of all they did.
async fn behave(cluster: &Cluster) {
    let gvr = Gvr::core("secrets");
    let mut watch = cluster.client().watch(&gvr, "default", &WatchOptions::default()).await.unwrap();
    let mut good = JoinSet::new();
    for number in 0..GOOD {
        let (client, gvr) = (cluster.client(), gvr.clone());
        good.spawn(async move {
            for turn in 0..TURNS {
                let name = format!("good-{number}-{turn}");
                let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } });
                client.create(&gvr, "default", secret).await.unwrap();
                let key = ObjectKey::new("default", &name);
                let found = client.get(&gvr, &key).await.unwrap();
                assert_eq!(found.name(), name);
                client.delete(&gvr, &key, &DeleteOptions::default()).await.unwrap();
            }
        });
    }
    let all = async {
        while let Some(one) = good.join_next().await {
            one.unwrap();
        }
        let mut gone = BTreeSet::new();
        while gone.len() < GOOD * TURNS {
            if let Event::Deleted(object) = watch.next().await.unwrap().unwrap() {
                gone.insert(object.name().to_owned());
            }
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("those that behave wait too long");
}

/// How often the server has answered what.
#[derive(Default)]
struct Counts {
    denied: AtomicUsize,
    large: AtomicUsize,
    listed: AtomicUsize,
    other: AtomicUsize,
}

impl Counts {
    fn check(&self) {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        assert!(of(&self.denied) > 0, "nobody was denied");
        assert!(of(&self.large) > 0, "nothing was too large");
        assert!(of(&self.listed) > 0, "nothing was listed");
        assert_eq!(of(&self.other), 0, "answers that nobody expects");
    }
}

/// Where the server is and who one is there.
#[derive(Clone)]
pub struct Place {
    /// Host and port.
    pub address: String,
    anonymous: TlsConnector,
    /// Shows the administrator's certificate.
    pub known: TlsConnector,
}

impl Place {
    /// Of a cluster.
    pub fn of(cluster: &Cluster) -> Self {
        let config = Kubeconfig::load(cluster.kubeconfig()).unwrap().tls(None).unwrap();
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&config.authorities) {
            roots.add(authority.unwrap()).unwrap();
        }
        let (chain, key) = config.credentials.certificate.unwrap();
        let chain = CertificateDer::pem_slice_iter(&chain).map(|one| one.unwrap()).collect();
        let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
        let builder = || ClientConfig::builder().with_root_certificates(roots.clone());
        let connector = |mut config: ClientConfig| {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Self {
            address: config.server.trim_start_matches("https://").to_owned(),
            anonymous: connector(builder().with_no_client_auth()),
            known: connector(builder().with_client_auth_cert(chain, key).unwrap()),
        }
    }

    /// Connects.
    pub async fn connect(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host).to_owned();
        connector.connect(ServerName::try_from(host).unwrap(), stream).await
    }

    /// Sends a request whole and reads the code of the answer.
    async fn ask(&self, connector: &TlsConnector, request: &[u8], half: bool) -> Result<u16> {
        let mut stream = self.connect(connector).await?;
        stream.write_all(request).await?;
        if half {
            stream.shutdown().await?;
        }
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        let code = std::str::from_utf8(&head[9..]).ok().and_then(|code| code.parse().ok());
        // The rest, so that it is the server that ends what it says.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        Ok(code.unwrap_or_default())
    }

    /// Begins a request and goes on with a byte at a time, for ever; or says nothing more at all.
    async fn linger(&self, request: &[u8], byte: &[u8]) {
        // What the server ends, begins anew.
        loop {
            let Ok(mut stream) = self.connect(&self.known).await else { continue };
            if stream.write_all(request).await.is_err() {
                continue;
            }
            while !byte.is_empty() {
                tokio::time::sleep(SLOW).await;
                if stream.write_all(byte).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
            if byte.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Starts all of them; they go on until they are ended.
    fn attack(&self, tasks: &mut JoinSet<()>, counts: &Arc<Counts>) {
        for _ in 0..SILENT {
            let place = self.clone();
            tasks.spawn(async move {
                let _stream = TcpStream::connect(&place.address).await;
                std::future::pending::<()>().await;
            });
        }
        const MAPS: &str = "/api/v1/namespaces/default/configmaps";
        let lingering: [(String, &[u8]); 4] = [
            ("GET /api/v1/pods HTTP/1.1\r\nHost: a\r\nX-Slow: ".to_owned(), b"x"),
            (
                format!(
                    "POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
                ),
                b" ",
            ),
            (
                format!(
                    "POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                ),
                b"1\r\n \r\n",
            ),
            (
                format!(
                    "GET {MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan HTTP/1.1\r\nHost: a\r\n\r\n"
                ),
                b"",
            ),
        ];
        for _ in 0..EACH {
            for (request, byte) in lingering.clone() {
                let place = self.clone();
                tasks.spawn(async move { place.linger(request.as_bytes(), byte).await });
            }
            self.repeat(tasks, counts, Sort::Denied);
            self.repeat(tasks, counts, Sort::Large);
            self.repeat(tasks, counts, Sort::Half);
        }
        for _ in 0..GREEDY {
            self.repeat(tasks, counts, Sort::Greedy);
        }
    }

    fn repeat(&self, tasks: &mut JoinSet<()>, counts: &Arc<Counts>, sort: Sort) {
        let (place, counts) = (self.clone(), counts.clone());
        tasks.spawn(async move {
            let request = sort.request();
            let connector = if sort == Sort::Denied { &place.anonymous } else { &place.known };
            loop {
                // A connection that is refused or ended is an answer too.
                let Ok(code) = place.ask(connector, &request, sort == Sort::Half).await else { continue };
                let count = match (sort, code) {
                    (Sort::Denied, 401 | 403) => &counts.denied,
                    (Sort::Large, 413) => &counts.large,
                    (Sort::Greedy, 200) => &counts.listed,
                    // Who has closed half of a connection may be taken to have gone.
                    (_, 429) | (Sort::Half, 200) => continue,
                    _ => &counts.other,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Denied,
    Large,
    Half,
    Greedy,
}

impl Sort {
    fn request(self) -> Vec<u8> {
        let get = |path: &str, header: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n").into_bytes()
        };
        match self {
            Self::Denied => get("/api/v1/secrets", ""),
            Self::Half => get("/api/v1/namespaces/default", ""),
            // As somebody who has no level of priority of their own.
            Self::Greedy => get(
                "/api/v1/configmaps",
                "Impersonate-User: greedy\r\nImpersonate-Group: system:masters\r\nImpersonate-Group: system:authenticated\r\n",
            ),
            Self::Large => {
                let head = format!(
                    "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                     Content-Type: application/json\r\nContent-Length: {LARGE}\r\n\r\n"
                );
                [head.into_bytes(), vec![b' '; LARGE]].concat()
            }
        }
    }
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// MiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
