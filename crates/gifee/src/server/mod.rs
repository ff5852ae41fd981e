//! The server role: API server over its store, and beside it the controllers and the scheduler.
//!
//! Invariant: only the API server opens the store. Everything else here is its client, in-process, each part under
//! the identity and with the rights that it would have on another machine.

pub mod access;
mod connector;
mod reload;

pub use access::Access;
pub use gifee_plane::Loopback;
use gifee_plane::{Exported, bootstrap};

use crate::pki::{Authority, Pair};
use crate::progress::Progress;
use crate::settings::Settings;
use anyhow::{Context, Result};
use gifee_apiserver::admission::Rules;
use gifee_apiserver::outbound::Identity;
use gifee_apiserver::seam::Exporter;
use gifee_apiserver::{Aggregation, Config, Encryption, Issuer, Server};
use gifee_base::{Clock, ObjectKey, SystemClock};
use gifee_client::Meters;
use gifee_controllers::Metering;
use gifee_controllers::csrsigning::{Signer, Signing};
use gifee_controllers::tokens::{Issuer as TokenIssuer, Token};
use gifee_policy::authenticate::token::{Legacy, Tokens};
use reload::Reloads;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const KEY_BYTES: usize = 32;

/// A running server role.
pub struct Running {
    /// Clients of it.
    pub loopback: Loopback,
    /// Ends when a part of the role has failed for good.
    pub failed: tokio::task::JoinSet<Result<()>>,
    /// Those that were elected: controllers and scheduler.
    pub elected: Elected,
}

/// After which nobody is waited for who gives up leadership.
const RETIRING: Duration = Duration::from_secs(1);

/// Controllers and scheduler, which lead as long as their leases are theirs.
pub struct Elected {
    end: CancellationToken,
    /// Closed once all have ended.
    ended: mpsc::Receiver<()>,
}

impl Elected {
    /// Ends them while the API still answers, so that they hand on their leases and another server waits for none.
    pub async fn retire(mut self) {
        self.end.cancel();
        let _ = tokio::time::timeout(RETIRING, self.ended.recv()).await;
    }
}

/// What the role is started with.
pub struct Start<'a> {
    /// Where the store is.
    pub data_dir: &'a Path,
    /// Decided settings.
    pub settings: &'a Settings,
    /// The cluster's authority.
    pub authority: &'a Authority,
    /// Where pods and other machines reach this API server.
    pub advertise: IpAddr,
    /// Who may come in by what, and what is written down.
    pub access: &'a Access,
    /// How pods are scheduled.
    pub scheduling: gifee_scheduler::configuration::Configuration,
    /// Name under which controllers and scheduler stand for election.
    pub identity: &'a str,
    /// Where steps are told.
    pub progress: &'a Progress,
    /// Ends the role.
    pub shutdown: CancellationToken,
}

impl Start<'_> {
    /// Starts the role; when this returns, the API answers and the first objects are there.
    ///
    /// # Errors
    /// If a part cannot start.
    pub async fn run(self) -> Result<Running> {
        let host = (!self.advertise.is_loopback()).then_some(self.advertise);
        let serving = self.authority.api_server(self.settings, host)?;
        let kubelet_client = self.authority.client(
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            &["kubeadm:cluster-admins"],
        )?;
        let proxies = Authority::front_proxy(self.authority.data_dir())?;
        let issuer = format!("https://kubernetes.default.svc.{}", self.settings.cluster_domain);
        let key = self.authority.secret("service-account.key", || Ok(Tokens::generate_key()?))?;
        let tokens = Arc::new(Tokens::new(&key, &issuer, vec![issuer.clone()])?);
        let (mut config, used) = self.config(&kubelet_client, &proxies, &tokens)?;
        let meters = Arc::new(Meters::default());
        config.exporters.push(Arc::new(Exported(meters.clone())));
        let server = Server::start(config).await.context("starting the API server")?;
        let mut failed = tokio::task::JoinSet::new();
        self.listen(&server, &serving, &proxies, &mut failed).await?;
        let stop = server.clone();
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            stop.stop();
        });
        self.progress.done(&format!("API server at {}", self.settings.api_url()));
        let loopback = Loopback::new(server.clone()).measured(meters.clone());
        let first = loopback.client("system:apiserver", &["system:masters"]);
        let today = gifee_policy::authenticate::legacy::day(SystemClock.now().as_second());
        let cluster = bootstrap::Cluster {
            service_cidr: &self.settings.service_cidr,
            api_address: self.settings.api_address()?,
            api_port: self.settings.api_port,
            dns_address: self.settings.dns_address()?,
            advertise: self.advertise,
            authorities: [self.authority.certificate(), proxies.certificate()],
            today: &today,
        };
        bootstrap::run(&first, &cluster).await.context("writing the first objects of the cluster")?;
        tokio::spawn(access::label(first, Arc::new(SystemClock), used, self.shutdown.clone()));
        let elected = self.components(&loopback, &tokens, meters, &mut failed)?;
        self.progress.done("namespaces, roles, controllers and scheduler");
        Ok(Running { loopback, failed, elected })
    }

    fn config(
        &self,
        kubelet_client: &Pair,
        proxies: &Authority,
        tokens: &Arc<Tokens>,
    ) -> Result<(Config, mpsc::Receiver<ObjectKey>)> {
        let folder = self.data_dir.join("store");
        let store = gifee_store::embedded::open(&folder, gifee_store::Limits::default())
            .with_context(|| format!("opening the store in {}", folder.display()))?;
        let kinds = gifee_registry::kinds(&gifee_registry::Settings {
            service_cidrs: vec![self.settings.service_cidr.clone()],
            ..gifee_registry::Settings::default()
        });
        let schemas = Arc::new(|gvk: &gifee_base::Gvk| {
            gifee_schema::Schema::builtin(&gvk.group, &gvk.version, &gvk.kind)
        });
        let clock = Arc::new(SystemClock);
        let own = proxies.client("front-proxy-client", bootstrap::FRONT_PROXY, &[])?;
        let own = Identity::from_pem(own.certificate.as_bytes(), own.key.as_bytes())?;
        let believed = self.access.proxies(&proxies.certificates()?, &self.authority.certificates()?)?;
        let outbound = Access::outbound();
        let reloads = ["authentication", "authorization"].map(|what| Reloads::new(what, self.identity));
        let (credentials, used) = self.access.credentials(
            tokens,
            clock.clone(),
            believed,
            &outbound,
            &reloads[0],
            &self.shutdown,
        )?;
        // One for both, for each keeps what it has compiled of all roles.
        let rights = Arc::new(gifee_policy::authorize::Authorizer::new());
        let authorizer = self.access.authorizer(rights, &outbound, &reloads[1], &self.shutdown)?;
        let mut config = Config::new(
            Arc::new(store),
            kinds,
            schemas,
            credentials,
            authorizer.clone(),
            Arc::new(Rules::new(authorizer)),
        );
        config.exporters.extend(reloads.map(|reloads| Arc::new(reloads) as Arc<dyn Exporter>));
        config.fairness = true;
        config.flags = self.flags()?;
        config.connector = Some(Arc::new(connector::Nodes::new(self.authority, kubelet_client)?));
        config.aggregation = Some(Aggregation { identity: Some(Arc::new(own)) });
        config.encryption = Some(Arc::new(Encryption::secrets("key1", self.encryption_key()?)));
        config.issuer = Some(Issuer {
            jwks_url: format!("https://{}:{}/openid/v1/jwks", self.advertise, self.settings.api_port),
            jwks: tokens.key_set().to_string(),
            url: tokens.issuer().to_owned(),
        });
        config.audit = self.access.auditor(clock, &outbound, &self.shutdown)?;
        Ok((config, used))
    }

    /// What the server says it was started with.
    fn flags(&self) -> Result<BTreeMap<String, String>> {
        let settings = serde_json::to_value(self.settings)?;
        let settings = settings.as_object().into_iter().flatten();
        let flag = |(name, value): (&String, &serde_json::Value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let kebab = |c: char| {
                if c.is_ascii_uppercase() { format!("-{}", c.to_ascii_lowercase()) } else { c.into() }
            };
            (name.chars().map(kebab).collect(), value)
        };
        let mut flags: BTreeMap<_, _> = settings.map(flag).collect();
        flags.insert("advertise-address".into(), self.advertise.to_string());
        flags.insert("data-dir".into(), self.data_dir.display().to_string());
        Ok(flags)
    }

    fn encryption_key(&self) -> Result<[u8; KEY_BYTES]> {
        let make = || {
            let mut key = vec![0; KEY_BYTES];
            ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key)
                .map_err(|_| anyhow::anyhow!("this machine has no randomness"))?;
            Ok(key)
        };
        let key = self.authority.secret("encryption.key", make)?;
        key.try_into()
            .map_err(|_| anyhow::anyhow!("pki/encryption.key is damaged: it must have {KEY_BYTES} bytes"))
    }

    async fn listen(
        &self,
        server: &Arc<Server>,
        serving: &Pair,
        proxies: &Authority,
        failed: &mut tokio::task::JoinSet<Result<()>>,
    ) -> Result<()> {
        let (chain, key) = serving.rustls()?;
        let mut clients = self.authority.certificates()?;
        clients.extend(proxies.certificates()?);
        clients.extend(self.access.proxy_authorities()?);
        let tls = gifee_apiserver::tls(chain, key, clients)?;
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.settings.api_port));
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("listening on {address} (another program has the port: see `ss -ltnp`)")
        })?;
        let server = server.clone();
        failed.spawn(async move { server.serve(listener, Some(tls)).await.context("serving the API") });
        Ok(())
    }

    fn components(
        &self,
        loopback: &Loopback,
        tokens: &Arc<Tokens>,
        meters: Arc<Meters>,
        failed: &mut tokio::task::JoinSet<Result<()>>,
    ) -> Result<Elected> {
        let (key, tokens) = (self.authority.signing_key()?, tokens.clone());
        let config = gifee_controllers::Config {
            signer: Some(Signer(Arc::new(move |asked: &Signing<'_>| {
                let signed = key.sign(asked.request, asked.usages, asked.life, SystemTime::now());
                signed.map_err(|error| format!("{error:#}"))
            }))),
            tokens: Some(TokenIssuer(Arc::new(move |asked: &Token<'_>| {
                let Token { namespace, account, account_uid, secret } = *asked;
                tokens
                    .issue_legacy(&Legacy { namespace, account, account_uid, secret })
                    .map_err(|error| error.to_string())
            }))),
            root_ca: Some(self.authority.certificate().to_owned()),
            elect_as: Some(self.identity.to_owned()),
            meters: Some(Metering(meters)),
            cluster_ranges: vec![self.settings.cluster_cidr.clone()],
            node_prefix: Some(self.settings.node_cidr_mask_size),
            clients: Some(gifee_controllers::Clients({
                let loopback = loopback.clone();
                Arc::new(move |account: &str| loopback.controller(account))
            })),
        };
        let (running, ended) = mpsc::channel(1);
        let end = self.shutdown.child_token();
        let client = loopback.client("system:kube-controller-manager", &[]);
        let (shutdown, runs) = (end.clone(), running.clone());
        failed.spawn(async move {
            gifee_controllers::run(client, config, shutdown).await;
            drop(runs);
            Ok(())
        });
        let client = loopback.client("system:kube-scheduler", &[]);
        let configuration = self.scheduling.clone();
        let elect_as = Some(self.identity.to_owned());
        let scheduling =
            gifee_scheduler::Config { configuration, elect_as, ..gifee_scheduler::Config::default() };
        let shutdown = end.clone();
        failed.spawn(async move {
            gifee_scheduler::run(client, scheduling, shutdown).await;
            drop(running);
            Ok(())
        });
        Ok(Elected { end, ended })
    }
}
