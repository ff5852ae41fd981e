//! Names outside the cluster, from the servers that the host uses.
//!
//! Bounds: [`TOGETHER`] queries under way, beyond which clients are refused at once; [`CACHE`] answers
//! kept, none longer than [`KEEP`]; at most two tries of two seconds each. Servers that are this one
//! are left out, so that no query goes round.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::Cidr;

const TOGETHER: usize = 256;
const CACHE: u64 = 2048;
const KEEP: Duration = Duration::from_secs(30);
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// How often the file of servers is looked at again, if there are queries.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the servers said.
pub struct Reply {
    /// Whether the name exists, or what went wrong.
    pub code: ResponseCode,
    /// The records.
    pub answers: Vec<Record>,
    /// How long an absence may be remembered.
    pub authority: Option<Record>,
}

impl Reply {
    fn empty(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), authority: None }
    }
}

/// The way to the host's servers.
pub struct Forward {
    path: PathBuf,
    own: Vec<Cidr>,
    under_way: Semaphore,
    current: Mutex<Current>,
}

struct Current {
    resolver: Option<Arc<TokioResolver>>,
    modified: Option<SystemTime>,
    looked: Instant,
}

impl Forward {
    /// Servers are read from `path`; those with an address of `own` are left out.
    pub fn new(path: PathBuf, own: Vec<Cidr>) -> Self {
        let modified = modified(&path);
        let current = Current { resolver: resolver(&path, &own), modified, looked: Instant::now() };
        Self { path, own, under_way: Semaphore::new(TOGETHER), current: Mutex::new(current) }
    }

    fn resolver(&self) -> Option<Arc<TokioResolver>> {
        let mut current = self.current.lock();
        if current.looked.elapsed() > LOOK_AGAIN {
            current.looked = Instant::now();
            let now = modified(&self.path);
            if now != current.modified {
                current.modified = now;
                current.resolver = resolver(&self.path, &self.own);
            }
        }
        current.resolver.clone()
    }

    /// Asks for a name.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Reply {
        let Ok(_place) = self.under_way.try_acquire() else { return Reply::empty(ResponseCode::Refused) };
        let Some(resolver) = self.resolver() else { return Reply::empty(ResponseCode::ServFail) };
        let mut name = name.clone();
        // Search lists are the client's business.
        name.set_fqdn(true);
        match resolver.lookup(name, kind).await {
            Ok(lookup) => {
                Reply { code: ResponseCode::NoError, answers: lookup.answers().to_vec(), authority: None }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Reply {
                code: none.response_code,
                answers: Vec::new(),
                authority: none.soa.map(|soa| soa.into_record_of_rdata()),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Reply::empty(code),
            Err(error) => {
                tracing::debug!(%error, "no upstream DNS server answered");
                Reply::empty(ResponseCode::ServFail)
            }
        }
    }
}

fn modified(path: &PathBuf) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn resolver(path: &PathBuf, own: &[Cidr]) -> Option<Arc<TokioResolver>> {
    let is_own = |address: IpAddr| own.iter().any(|range| range.contains(address));
    let text = fs::read(path).inspect_err(|error| tracing::warn!(%error, "no upstream DNS servers")).ok()?;
    let (_, _, mut servers) = parse_resolv_conf(text).ok()?.0.into_parts();
    servers.retain(|server| !is_own(server.ip));
    if servers.is_empty() {
        return None;
    }
    let mut options = ResolverOpts::default();
    options.timeout = TRY;
    options.attempts = TRIES;
    options.cache_size = CACHE;
    options.positive_max_ttl = Some(KEEP);
    options.negative_max_ttl = Some(KEEP);
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = TOGETHER;
    let config = ResolverConfig::from_name_servers(servers);
    let built = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build();
    built
        .inspect_err(|error| tracing::warn!(%error, "upstream DNS servers cannot be used"))
        .ok()
        .map(Arc::new)
}
