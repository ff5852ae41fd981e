//! `gifee credentials` and `gifee agent`: a node apart from its control plane.
//!
//! The control plane's machine writes what a node needs to join: where the API server is, certificates for the node's
//! parts, and the cluster's address ranges. Whoever holds that file is that node: it goes to the node's machine and nowhere else.

use super::parse;
use super::up::{DATA_DIR, ended, first_failure, logging, raise_limit, runtime};
use crate::instance::Instance;
use crate::node;
use crate::pki::{Authority, Pair};
use crate::progress::Progress;
use crate::settings::{Settings, Wanted, host_address, write_private};
use anyhow::{Context, Result, bail};
use clap::Args;
use gifee_client::{Client, Credentials, Tls, TlsConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a node needs to join.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    server: String,
    authority: String,
    node_name: String,
    address: IpAddr,
    cluster_cidr: String,
    service_cidr: String,
    kubelet: Pair,
    proxy: Pair,
    serving: Pair,
}

/// Flags of `credentials`.
#[derive(Args, Debug)]
struct CredentialsArguments {
    /// Name of the node
    node: String,
    /// The control plane's data directory
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Address of the node's machine [default: this machine's]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// URL of the API server, as the node reaches it [default: this machine's address]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Writes the credentials of a node.
///
/// # Errors
/// If there is no control plane, or the file cannot be written.
pub fn credentials(words: &[String]) -> Result<ExitCode> {
    let arguments: CredentialsArguments =
        parse("credentials", "Write what a node needs to join this control plane", words);
    if let Some(wrong) = gifee_base::name::dns_subdomain(&arguments.node).into_iter().next() {
        bail!("{:?} cannot be the name of a node: {wrong}", arguments.node);
    }
    let Some(settings) = Settings::load(&arguments.data_dir)? else {
        bail!("{} holds no control plane; `gifee server` makes one", arguments.data_dir.display());
    };
    let authority = Authority::open(&arguments.data_dir)?;
    let own = host_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let node = arguments.node;
    let address = arguments.address.unwrap_or(own);
    let user = format!("system:node:{node}");
    let bundle = Bundle {
        server: arguments.server.unwrap_or_else(|| format!("https://{own}:{}", settings.api_port)),
        authority: authority.certificate().to_owned(),
        address,
        cluster_cidr: settings.cluster_cidr,
        service_cidr: settings.service_cidr,
        kubelet: authority.client(&format!("node-{node}"), &user, &["system:nodes"])?,
        proxy: authority.client(&format!("proxy-{node}"), "system:kube-proxy", &[])?,
        serving: authority.kubelet_serving(&format!("serving-{node}"), &node, &[address])?,
        node_name: node,
    };
    write_private(&arguments.output, &serde_json::to_vec_pretty(&bundle)?)?;
    println!("{}: on the node's machine, run `gifee agent --credentials FILE`", arguments.output.display());
    Ok(ExitCode::SUCCESS)
}

/// Flags of `agent`.
#[derive(Args, Debug)]
struct Arguments {
    /// The file that `gifee credentials` wrote
    #[arg(long, value_name = "FILE")]
    credentials: PathBuf,
    /// Where everything of this node is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/gifee-agent")]
    data_dir: PathBuf,
    /// Port of the node agent [default: 10250 if it is free]
    #[arg(long, value_name = "PORT")]
    kubelet_port: Option<u16>,
    /// KubeletConfiguration of this node
    #[arg(long, value_name = "FILE")]
    kubelet_config: Option<PathBuf>,
}

/// Runs a node of a control plane elsewhere, until it is asked to end. Its containers go on.
///
/// # Errors
/// What kept it from starting, or what part of it failed.
pub fn agent(words: &[String]) -> Result<ExitCode> {
    let arguments: Arguments = parse("agent", "Run a node of a control plane elsewhere", words);
    if !nix::unistd::geteuid().is_root() {
        bail!("gifee agent makes namespaces, mounts and networks, and needs root: try `sudo gifee agent`");
    }
    let text = std::fs::read(&arguments.credentials)
        .with_context(|| format!("reading {}", arguments.credentials.display()))?;
    let bundle: Bundle = serde_json::from_slice(&text).with_context(|| {
        format!("{} was not written by `gifee credentials`", arguments.credentials.display())
    })?;
    raise_limit();
    runtime()?.block_on(serve(arguments, bundle))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: Arguments, bundle: Bundle) -> Result<()> {
    logging();
    let progress = Progress::new();
    let wanted = Wanted {
        node_name: Some(bundle.node_name.clone()),
        kubelet_port: arguments.kubelet_port,
        cluster_cidr: Some(bundle.cluster_cidr.clone()),
        service_cidr: Some(bundle.service_cidr.clone()),
        ..Wanted::default()
    };
    let settings = Settings::open(&arguments.data_dir, &wanted)?;
    let data_dir = arguments.data_dir.canonicalize()?;
    let _instance = Instance::take(&data_dir)?;
    progress.done(&format!("data directory {}", data_dir.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.authority.as_bytes()) {
        roots.add(certificate?)?;
    }
    let clients =
        node::Clients { kubelet: client(&bundle, &bundle.kubelet)?, proxy: client(&bundle, &bundle.proxy)? };
    let shutdown = CancellationToken::new();
    let mut failed = JoinSet::new();
    let start = node::Start {
        data_dir: &data_dir,
        settings: &settings,
        serving: bundle.serving,
        roots,
        address: bundle.address,
        pod_cidr: None,
        configuration: node::configuration(arguments.kubelet_config.as_deref())?,
        clients,
        progress: &progress,
        shutdown: shutdown.clone(),
    };
    start.run(&mut failed).await?;
    progress.say(&format!("ready in {} ms", progress.total()));
    let outcome = tokio::select! {
        outcome = ended() => outcome,
        outcome = first_failure(&mut failed) => outcome,
    };
    shutdown.cancel();
    outcome
}

fn client(bundle: &Bundle, pair: &Pair) -> Result<Client> {
    let config = TlsConfig {
        server: bundle.server.clone(),
        authorities: bundle.authority.as_bytes().to_vec(),
        credentials: Credentials {
            certificate: Some((pair.certificate.as_bytes().to_vec(), pair.key.as_bytes().to_vec())),
            ..Credentials::default()
        },
        ..TlsConfig::default()
    };
    Ok(Client::new(Arc::new(Tls::new(&config)?)).named("kubelet"))
}
