//! The node's network in operation, and the end of it.
//!
//! Invariant: blocking work (netlink, files) never runs on an async thread, and once begun it runs to
//! its end, whatever becomes of the caller.

use std::fs;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};

use crate::conntrack::Flows;
use crate::dns::{self, Dns};
use crate::forwarding::{Forwarding, own_port};
use crate::link::{Links, interfaces};
use crate::nft::{self, Family};
use crate::pods::Pods;
use crate::service::{ServicePort, ServicePortName};
use crate::{AttachRequest, Attachment, Config, Error, PodNetwork, Protocol};

const DNS_PORT: u16 = 53;

/// The built-in network of a node.
pub struct Network {
    state: Arc<State>,
    names: Arc<RwLock<dns::Index>>,
    _dns: Dns,
}

struct State {
    config: Config,
    pods: Pods,
    forwarding: Mutex<Forwarding>,
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
}

impl Network {
    /// Makes the node's part of the network, or takes over what an earlier process left, all of which
    /// keeps working meanwhile. Pods can be attached and the cluster DNS answers when it returns; Services
    /// follow with [`crate::run`]. Dropping it stops nothing but the DNS.
    pub async fn start(config: Config) -> Result<Arc<Self>, Error> {
        config.validate()?;
        let given = config.clone();
        let pods = blocking(move || Pods::open(&given)).await?;
        let own = vec![config.cluster_cidr, config.service_cidr];
        let names = dns::Index::new(&config.cluster_domain, config.cluster_dns, own.clone())
            .ok_or_else(|| Error::Config(format!("cluster domain {:?} is no name", config.cluster_domain)))?;
        let names = Arc::new(RwLock::new(names));
        let dns = Dns::start(config.gateway(), names.clone(), config.resolv_conf.clone(), own).await?;
        let target = (dns.address.ip(), dns.address.port());
        let state = blocking(move || {
            let own =
                [Protocol::Udp, Protocol::Tcp].map(|protocol| own_port(&config, protocol, DNS_PORT, target));
            let forwarding = Forwarding::open(&config, &own, &pods.list())?;
            Ok(State { config, pods, forwarding: Mutex::new(forwarding) })
        })
        .await?;
        Ok(Arc::new(Self { state: Arc::new(state), names, _dns: dns }))
    }

    /// What it was started with.
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let state = self.state.clone();
        blocking(move || work(&state)).await
    }

    /// Replaces what the cluster DNS knows of a Service; `None` when it is gone.
    pub fn change_name(&self, namespace: &str, name: &str, service: Option<dns::Service>) {
        self.names.write().set(namespace, name, service);
    }

    /// Puts changed ports of Services in effect; `None` for those that are gone.
    pub async fn change_services(
        &self,
        changes: Vec<(ServicePortName, Option<ServicePort>)>,
    ) -> Result<(), Error> {
        self.with(move |state| state.forwarding.lock().services(changes)).await
    }

    /// Says that [`Network::change_services`] and [`Network::change_name`] have been told of all Services.
    pub async fn complete_services(&self) -> Result<(), Error> {
        self.names.write().complete();
        self.with(|state| state.forwarding.lock().complete()).await
    }

    /// Puts the rules in effect again whenever somebody else removes them; runs until it is dropped.
    pub async fn guard(&self) -> Result<(), Error> {
        let mut removals = nft::Removals::open(self.state.config.table())?;
        let own = self.state.forwarding.lock().port_number();
        loop {
            removals.by_others(own).await?;
            tracing::warn!(
                table = self.state.config.table(),
                "somebody removed the rules, putting them back"
            );
            self.with(|state| state.forwarding.lock().repair()).await?;
        }
    }
}

#[async_trait]
impl PodNetwork for Network {
    async fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error> {
        let request = request.clone();
        self.with(move |state| {
            let attachment = state.pods.attach(&request)?;
            state.forwarding.lock().open_pod(&attachment)?;
            Ok(attachment)
        })
        .await
    }

    async fn detach(&self, sandbox_id: &str) -> Result<(), Error> {
        let id = sandbox_id.to_owned();
        self.with(move |state| {
            if let Some(attachment) = state.pods.get(&id) {
                state.forwarding.lock().close_pod(&attachment)?;
            }
            state.pods.detach(&id)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Attachment>, Error> {
        self.with(|state| Ok(state.pods.list())).await
    }
}

/// Removes all that an instance made: rules, links, tracked flows, records. The instance must not be
/// running. IP forwarding stays on, since others on the machine may rely on it by then.
pub async fn teardown(config: &Config) -> Result<(), Error> {
    config.validate()?;
    let config = config.clone();
    blocking(move || {
        let family = Family::of(config.pod_cidr.base());
        nft::remove(&config.table(), family)?;
        let mut links = Links::open()?;
        for name in interfaces(&config.interface_prefix())? {
            links.delete(&name)?;
        }
        let flows = Flows::open(family)?.forget_ranges(&[config.pod_cidr, config.service_cidr]);
        let _ = flows.inspect_err(|error| tracing::warn!(%error, "tracked flows end by their own time"));
        match fs::remove_dir_all(&config.state_dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { action: "remove", path: config.state_dir, source: error })
            }
            _ => Ok(()),
        }
    })
    .await
}
