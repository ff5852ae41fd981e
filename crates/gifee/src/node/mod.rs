//! The node role: container runtime, pod network, cluster DNS and node agent of this machine.
//!
//! Everything here is a client of the API server under the node's own identity, in-process or over TLS.

mod access;

use crate::layout;
use crate::pki::Pair;
use crate::progress::Progress;
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use gifee_base::{FieldSelector, Gvr};
use gifee_client::{Client, Event, WatchOptions};
use gifee_net::Network;
use gifee_oci::local::Local;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a node waits for addresses of its pods.
const RANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The clients of the role's parts, each with an identity of its own.
pub struct Clients {
    /// Of the node agent: `system:node:NAME`.
    pub kubelet: Client,
    /// Of the service rules: `system:kube-proxy`.
    pub proxy: Client,
}

/// What the role is started with.
pub struct Start<'a> {
    /// Where everything is kept.
    pub data_dir: &'a Path,
    /// Decided settings.
    pub settings: &'a Settings,
    /// Certificate and key that the agent's server shows.
    pub serving: Pair,
    /// Who signs the certificates of those that may ask the agent.
    pub roots: RootCertStore,
    /// The machine's address.
    pub address: IpAddr,
    /// Addresses of this machine's pods; None: those that the control plane gives the node.
    pub pod_cidr: Option<String>,
    /// What the node's configuration says.
    pub configuration: Option<Value>,
    /// Clients of the API.
    pub clients: Clients,
    /// Where steps are told.
    pub progress: &'a Progress,
    /// Ends the role; containers go on.
    pub shutdown: CancellationToken,
}

/// The tree of a KubeletConfiguration, if a file is named.
///
/// # Errors
/// If it cannot be read.
pub fn configuration(file: Option<&Path>) -> Result<Option<Value>> {
    file.map(crate::server::access::tree).transpose()
}

impl Start<'_> {
    /// Starts the role; when this returns, the node is ready.
    ///
    /// # Errors
    /// If a part cannot start.
    pub async fn run(self, failed: &mut JoinSet<Result<()>>) -> Result<()> {
        // Before anything is made that would have to go if it is wrong.
        let config = self.kubelet()?;
        let pod_cidr = match &self.pod_cidr {
            Some(pod_cidr) => pod_cidr.clone(),
            None => self.given_range().await?,
        };
        let network = Network::start(layout::network(self.data_dir, self.settings, &pod_cidr)?)
            .await
            .context("starting the pod network")?;
        self.progress.done(&format!("pod network {pod_cidr}"));
        let images = layout::open_images(self.data_dir)?;
        let runtime = Local::open(gifee_oci::local::Config {
            root: layout::runtime(self.data_dir),
            executable: "/proc/self/exe".into(),
            images: images.clone(),
        });
        let runtime = runtime.await.context("opening the container runtime")?;
        let rules =
            gifee_reconcile::Context::new(self.clients.proxy.clone(), "kube-proxy", self.shutdown.clone());
        let followed = network.clone();
        failed.spawn(async move {
            gifee_net::run(followed, rules).await;
            Ok(())
        });
        let (client, shutdown) = (self.clients.kubelet.clone(), self.shutdown.clone());
        failed.spawn(async move {
            let ended =
                gifee_kubelet::run(config, client, Arc::new(runtime), Arc::new(images), network, shutdown);
            ended.await.context("running the node agent")
        });
        tokio::select! {
            ready = self.ready() => ready?,
            Some(part) = failed.join_next() => {
                part.context("a part of gifee panicked")??;
                anyhow::bail!("a part of the node ended before the node was ready");
            }
        }
        self.progress.done(&format!("node {:?} is Ready", self.settings.node_name));
        Ok(())
    }

    fn kubelet(&self) -> Result<gifee_kubelet::Config> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots.clone()), provider.clone())
                .allow_unauthenticated()
                .build()?;
        let (chain, key) = self.serving.rustls()?;
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let access = access::Delegated::new(self.clients.kubelet.clone(), &self.settings.node_name);
        let mut config = gifee_kubelet::Config::new(
            &self.settings.node_name,
            layout::kubelet(self.data_dir),
            self.address,
            Arc::new(tls),
            Arc::new(access),
        );
        config.listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.settings.kubelet_port));
        config.cluster_dns = vec![self.settings.dns_address()?];
        config.cluster_domain.clone_from(&self.settings.cluster_domain);
        config.cgroup_root = format!("/{}", layout::cgroup(self.settings));
        if let Some(tree) = &self.configuration {
            let outcome = gifee_kubelet::configuration::apply(tree, &mut config);
            let warnings = outcome.map_err(|mistakes| {
                anyhow::anyhow!("the KubeletConfiguration is wrong:\n  {}", mistakes.join("\n  "))
            })?;
            for warning in warnings {
                tracing::warn!("KubeletConfiguration: {warning}");
            }
        }
        Ok(config)
    }

    /// The addresses that the control plane gives this node's pods. The node's object is made for that, should it not
    /// be there; the agent then takes it over.
    async fn given_range(&self) -> Result<String> {
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": self.settings.node_name } });
        match self.clients.kubelet.create(&Gvr::core("nodes"), "", node).await {
            Err(error) if !error.is_already_exists() => {
                return Err(error).context("registering the node");
            }
            _ => {}
        }
        let given = self.node(|node| {
            let range = node["spec"]["podCIDR"].as_str().unwrap_or_default();
            (!range.is_empty()).then(|| range.to_owned())
        });
        tokio::time::timeout(RANGE_TIMEOUT, given).await.unwrap_or_else(|_| {
            bail!(
                "the control plane has given node {:?} no addresses for pods within {} s; has it a range left for one more node?",
                self.settings.node_name,
                RANGE_TIMEOUT.as_secs()
            )
        })
    }

    /// Waits until the API shows the node as ready.
    async fn ready(&self) -> Result<()> {
        let ready = |node: &Value| {
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
            // The controller lifts the taint once it has seen the condition; pods can be scheduled from then on.
            (ready && !taints.any(|taint| taint["key"] == "node.kubernetes.io/not-ready")).then_some(())
        };
        self.node(ready).await
    }

    /// Watches the node's object until something is found in it.
    async fn node<T>(&self, find: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let name = &self.settings.node_name;
        let fields = FieldSelector::parse(&format!("metadata.name={name}")).map_err(anyhow::Error::msg)?;
        let gvr = Gvr::core("nodes");
        loop {
            let options = WatchOptions { fields: fields.clone(), ..WatchOptions::default() };
            let mut watch =
                self.clients.kubelet.watch(&gvr, "", &options).await.context("watching the node")?;
            while let Some(event) = watch.next().await {
                let (Ok(Event::Added(node)) | Ok(Event::Modified(node))) = event else { continue };
                if let Some(found) = find(&node.to_value()?) {
                    return Ok(found);
                }
            }
        }
    }
}
