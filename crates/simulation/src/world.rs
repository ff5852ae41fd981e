//! The control plane in this process: store, API server, first objects, then controllers and scheduler.
//!
//! Invariant: the parts are those of `gifee server`, each under its own identity with the rights of the default roles.

use crate::error::{Error, Result};
use gifee_apiserver::admission::Rules;
use gifee_apiserver::authenticate::Credentials;
use gifee_apiserver::{Config, Server};
use gifee_base::Clock;
use gifee_client::Client;
use gifee_controllers::Clients;
use gifee_plane::{Loopback, bootstrap};
use gifee_policy::authenticate::token::Tokens;
use gifee_reconcile::events::Source;
use gifee_reconcile::{Context, Recorder};
use gifee_store::Store;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const API_PORT: u16 = 6443;

/// Makes of a client of a part, by the part's name, another.
pub type Between = Arc<dyn Fn(&str, Client) -> Client + Send + Sync>;

/// What a world is made of.
#[derive(Clone)]
pub struct Parts {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Seed of the scheduler's lots; none: an unpredictable one.
    pub seed: Option<u64>,
    /// What lies between the parts and the API server; none: nothing.
    pub between: Option<Between>,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// A running API server, and what runs beside it.
pub struct World {
    parts: Parts,
    server: Arc<Server>,
    loopback: Loopback,
}

impl World {
    /// Starts the API server and writes the objects that every cluster has; controllers and scheduler do not run yet.
    ///
    /// # Errors
    /// If the store cannot be read or an object is refused.
    pub async fn start(parts: Parts) -> Result<Self> {
        Self::configured(parts, |_| {}).await
    }

    /// As [`World::start`], with an API server that is otherwise configured.
    ///
    /// # Errors
    /// As [`World::start`].
    pub async fn configured(parts: Parts, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Error::Start(error.to_string());
        let key = Tokens::generate_key().map_err(|error| failed(&error))?;
        let tokens = Tokens::new(&key, ISSUER, vec![ISSUER.to_owned()]).map_err(|error| failed(&error))?;
        let credentials = Credentials::new(Arc::new(tokens), parts.clock.clone());
        let kinds = gifee_registry::kinds(&gifee_registry::Settings::default());
        let schemas = Arc::new(|gvk: &gifee_base::Gvk| {
            gifee_schema::Schema::builtin(&gvk.group, &gvk.version, &gvk.kind)
        });
        // One for both, for each keeps what it has compiled of all roles.
        let rights = Arc::new(gifee_policy::authorize::Authorizer::new());
        let rules = Arc::new(Rules::new(rights.clone()));
        let mut config =
            Config::new(parts.store.clone(), kinds, schemas, Arc::new(credentials), rights, rules);
        config.fairness = true;
        config.clock = parts.clock.clone();
        configure(&mut config);
        let server = Server::start(config).await.map_err(|error| failed(&error))?;
        let stop = server.clone();
        let shutdown = parts.shutdown.clone();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            stop.stop();
        });
        let loopback = Loopback::new(server.clone());
        let today = gifee_policy::authenticate::legacy::day(parts.clock.now().as_second());
        let cluster = bootstrap::Cluster {
            service_cidr: "10.96.0.0/12",
            api_address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)),
            api_port: API_PORT,
            dns_address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
            advertise: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            authorities: ["", ""],
            today: &today,
        };
        let first = loopback.client("system:apiserver", &["system:masters"]);
        bootstrap::run(&first, &cluster).await.map_err(|error| failed(&error.source))?;
        Ok(Self { parts, server, loopback })
    }

    /// Starts controllers and scheduler; they end with the world.
    pub fn components(&self) {
        tokio::spawn(self.controllers(self.parts.shutdown.clone()));
        tokio::spawn(self.scheduler(self.parts.shutdown.clone()));
    }

    fn client(&self, name: &str, groups: &[&str]) -> Client {
        between(&self.parts.between, name, self.loopback.client(name, groups))
    }

    /// All controllers, until the shutdown.
    pub fn controllers(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let loopback = self.loopback.clone();
        let Parts { clock, between: wrap, .. } = self.parts.clone();
        let clients =
            Clients(Arc::new(move |account: &str| between(&wrap, account, loopback.controller(account))));
        let client = self.client("system:kube-controller-manager", &[]);
        async move {
            let source = Source::component("kube-controller-manager");
            let events = Recorder::start(client.clone(), clock.clone(), source, shutdown.clone());
            let context = Context::with(client, clock, events, shutdown);
            let config = gifee_controllers::Config { clients: Some(clients), ..Default::default() };
            gifee_controllers::start(&context, config).await;
        }
    }

    /// The scheduler, until the shutdown.
    pub fn scheduler(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let client = self.client("system:kube-scheduler", &[]);
        let clock = self.parts.clock.clone();
        let config = gifee_scheduler::Config { seed: self.parts.seed, clock, ..Default::default() };
        gifee_scheduler::run(client, config, shutdown)
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.loopback.client("kubernetes-admin", &["system:masters"]).named("gifee-simulate")
    }

    /// Makes the client of a node's agent, by the node's name.
    pub fn agents(&self) -> crate::fleet::Agents {
        let loopback = self.loopback.clone();
        let wrap = self.parts.between.clone();
        Arc::new(move |node: &str| {
            let name = format!("system:node:{node}");
            between(&wrap, &name, loopback.client(&name, &["system:nodes"]))
        })
    }
}

fn between(wrap: &Option<Between>, name: &str, client: Client) -> Client {
    match wrap {
        Some(wrap) => wrap(name, client),
        None => client,
    }
}
