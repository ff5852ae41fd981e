//! `gifee up` and `gifee server`: a cluster, or its control plane alone, on this machine.

use super::parse;
use crate::instance::Instance;
use crate::node;
use crate::pki::Authority;
use crate::progress::{self, Progress};
use crate::server::{Access, Running, Start};
use crate::settings::{Settings, Wanted, host_address, write_private};
use anyhow::{Context, Result, bail};
use clap::Args;
use gifee_client::{Credentials, Kubeconfig, TlsConfig};
use gifee_scheduler::configuration::{self, Configuration};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where everything is kept unless another folder is named.
pub const DATA_DIR: &str = "/var/lib/gifee";
const LOG: &str = "gifee.log";

/// Flags of `up` and `server`.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Where to write the administrator's kubeconfig [default: kubeconfig in the data directory]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Return when the cluster is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// Name of this machine's node [default: its host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Port of the API server [default: 6443 if it is free]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// Port of the node agent [default: 10250 if it is free]
    #[arg(long, value_name = "PORT")]
    kubelet_port: Option<u16>,
    /// Addresses of pods [default: 10.244.0.0/16 if it is free]
    #[arg(long, value_name = "CIDR")]
    cluster_cidr: Option<String>,
    /// Prefix length of each node's part of them: 24 has room for 254 pods, 22 for 1,022 [default: 24]
    #[arg(long, value_name = "LENGTH", value_parser = clap::value_parser!(u8).range(16..=29))]
    node_cidr_mask_size: Option<u8>,
    /// Addresses of Services [default: 10.96.0.0/16 if it is free]
    #[arg(long, value_name = "CIDR")]
    service_cidr: Option<String>,
    /// KubeSchedulerConfiguration: profiles, plugins and their arguments
    #[arg(long, value_name = "FILE")]
    scheduler_config: Option<PathBuf>,
    /// KubeletConfiguration of this machine's node
    #[arg(long, value_name = "FILE")]
    kubelet_config: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// A cluster on this machine: control plane and node in one process.
///
/// # Errors
/// What kept it from coming up.
pub fn up(words: &[String]) -> Result<ExitCode> {
    start("up", "Bring up a cluster on this machine", words, true)
}

/// The control plane alone.
///
/// # Errors
/// What kept it from coming up.
pub fn server(words: &[String]) -> Result<ExitCode> {
    start("server", "Run the control plane alone, for nodes elsewhere", words, false)
}

fn start(name: &'static str, about: &'static str, words: &[String], node: bool) -> Result<ExitCode> {
    let arguments: Arguments = parse(name, about, words);
    if !nix::unistd::geteuid().is_root() {
        bail!("gifee {name} makes namespaces, mounts and networks, and needs root: try `sudo gifee {name}`");
    }
    fs::create_dir_all(&arguments.data_dir)
        .with_context(|| format!("creating the data directory {}", arguments.data_dir.display()))?;
    let data_dir = arguments.data_dir.canonicalize()?;
    let arguments = Arguments { data_dir, ..arguments };
    if arguments.detach {
        return detach(name, words, &arguments);
    }
    // A container's files, sockets and logs are many descriptors.
    raise_limit();
    runtime()?.block_on(serve(&arguments, node))?;
    Ok(ExitCode::SUCCESS)
}

/// How pods are scheduled, by a file if one is named.
fn scheduling(file: Option<&Path>) -> Result<Configuration> {
    let Some(file) = file else { return Ok(Configuration::default()) };
    configuration::read(&crate::server::access::tree(file)?)
        .map_err(|mistakes| anyhow::anyhow!("{} is wrong:\n  {}", file.display(), mistakes.join("\n  ")))
}

/// The runtime that a role's parts share.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Lets this process open as many files as it may.
pub(super) fn raise_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without more descriptors a small cluster runs as well: no reason to stop.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Starts the same command in the background and follows its progress.
fn detach(name: &str, words: &[String], arguments: &Arguments) -> Result<ExitCode> {
    if let Some(pid) = Instance::running(&arguments.data_dir)? {
        let settings =
            Settings::load(&arguments.data_dir)?.context("a cluster is coming up but has no settings yet")?;
        println!("already running: process {pid}, API server at {}", settings.api_url());
        let authority = Authority::open(&arguments.data_dir)?;
        let kubeconfig = write_kubeconfig(arguments, &settings, &authority)?;
        next_steps(&kubeconfig, &|line| println!("{line}"));
        return Ok(ExitCode::SUCCESS);
    }
    let (read, write) = nix::unistd::pipe()?;
    let log_path = arguments.data_dir.join(LOG);
    let log = fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
    let words = words.iter().filter(|word| *word != "--detach");
    let number = write.as_raw_fd();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).args(words).env(progress::PIPE, number.to_string());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: setsid is safe to call between fork and exec.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
    let mut child = command.spawn().context("starting gifee in the background")?;
    drop(write);
    if progress::follow(read)? {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    let log = fs::read_to_string(&log_path).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(8).collect();
    for line in last.iter().rev() {
        eprintln!("{line}");
    }
    bail!("gifee {name} ended before the cluster was ready ({status}); its log is {}", log_path.display())
}

/// Sends what is logged to standard error; `GIFEE_LOG` says how much.
pub(super) fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("GIFEE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,gifee=info"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // Standard error is a file beside the store. When the disk is full it takes nothing, and to say so there would panic.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .log_internal_errors(false)
        .init();
}

async fn serve(arguments: &Arguments, with_node: bool) -> Result<()> {
    logging();
    let progress = Progress::new();
    let instance = Instance::take(&arguments.data_dir)?;
    let wanted = Wanted {
        node_name: arguments.node_name.clone(),
        api_port: arguments.api_port,
        kubelet_port: arguments.kubelet_port,
        cluster_cidr: arguments.cluster_cidr.clone(),
        node_cidr_mask_size: arguments.node_cidr_mask_size,
        service_cidr: arguments.service_cidr.clone(),
    };
    let settings = Settings::open(&arguments.data_dir, &wanted)?;
    let identity = instance.identity(&arguments.data_dir, &settings.node_name)?;
    let authority = Authority::open(&arguments.data_dir)?;
    let kubeconfig = write_kubeconfig(arguments, &settings, &authority)?;
    progress.done(&format!("data directory {}", arguments.data_dir.display()));
    let shutdown = CancellationToken::new();
    let advertise = host_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let start = Start {
        data_dir: &arguments.data_dir,
        settings: &settings,
        authority: &authority,
        advertise,
        access: &arguments.access,
        scheduling: scheduling(arguments.scheduler_config.as_deref())?,
        identity: &identity,
        progress: &progress,
        shutdown: shutdown.clone(),
    };
    let Running { mut failed, loopback, elected } = start.run().await?;
    if with_node {
        let name = &settings.node_name;
        let clients = node::Clients {
            kubelet: loopback.client(&format!("system:node:{name}"), &["system:nodes"]),
            proxy: loopback.client("system:kube-proxy", &[]),
        };
        let start = node::Start {
            data_dir: &arguments.data_dir,
            settings: &settings,
            serving: authority.kubelet_serving("kubelet-serving", name, &[advertise])?,
            roots: authority.roots()?,
            address: advertise,
            pod_cidr: Some(settings.pod_cidr.clone()),
            configuration: node::configuration(arguments.kubelet_config.as_deref())?,
            clients,
            progress: &progress,
            shutdown: shutdown.clone(),
        };
        start.run(&mut failed).await?;
    }
    progress.say(&format!("ready in {} ms", progress.total()));
    next_steps(&kubeconfig, &|line| progress.say(line));
    progress.ready();
    let outcome = tokio::select! {
        outcome = ended() => outcome,
        outcome = first_failure(&mut failed) => outcome,
    };
    elected.retire().await;
    shutdown.cancel();
    outcome
}

/// Waits until a part of the process has ended, and says how.
pub(super) async fn first_failure(parts: &mut JoinSet<Result<()>>) -> Result<()> {
    match parts.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => Err(error).context("a part of gifee panicked"),
        None => Ok(()),
    }
}

/// Waits for a signal that asks this process to end.
pub(super) async fn ended() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn write_kubeconfig(arguments: &Arguments, settings: &Settings, authority: &Authority) -> Result<PathBuf> {
    let pair = authority.client("admin", "kubernetes-admin", &["system:masters"])?;
    let config = TlsConfig {
        server: settings.api_url(),
        authorities: authority.certificate().as_bytes().to_vec(),
        credentials: Credentials {
            certificate: Some((pair.certificate.into_bytes(), pair.key.into_bytes())),
            ..Credentials::default()
        },
        ..TlsConfig::default()
    };
    let own = Kubeconfig::single("gifee", &config);
    let path = arguments.kubeconfig.clone().unwrap_or_else(|| arguments.data_dir.join("kubeconfig"));
    let kubeconfig = match path.exists() && arguments.kubeconfig.is_some() {
        true => {
            let mut existing = Kubeconfig::load(&path)?;
            existing.merge(&own, true);
            existing.set_current_context("gifee");
            existing
        }
        false => own,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    write_private(&path, kubeconfig.to_yaml().as_bytes())?;
    Ok(path)
}

fn next_steps(kubeconfig: &Path, say: &dyn Fn(&str)) {
    say(&format!("kubeconfig: {}", kubeconfig.display()));
    say("next:");
    say(&format!("  export KUBECONFIG={}", kubeconfig.display()));
    say("  kubectl get nodes        (or, with nothing else installed: gifee get nodes)");
}
