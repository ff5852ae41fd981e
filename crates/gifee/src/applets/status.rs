//! `gifee status`: whether a cluster runs here, what it is made of, and how it is.

use super::parse;
use super::up::DATA_DIR;
use crate::instance::Instance;
use crate::pki::Authority;
use crate::settings::Settings;
use anyhow::Result;
use clap::Args;
use gifee_base::Gvr;
use gifee_client::{Client, Credentials, ListOptions, Tls, TlsConfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Flags of `status`.
#[derive(Args, Debug)]
struct Arguments {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

/// Prints the state of the cluster; the exit code is 0 if it runs and all nodes are ready, else 3.
///
/// # Errors
/// If the data directory cannot be read.
pub fn status(words: &[String]) -> Result<ExitCode> {
    let arguments: Arguments = parse("status", "Say how the cluster on this machine is", words);
    let not_running = ExitCode::from(3);
    let Some(settings) = Settings::load(&arguments.data_dir)? else {
        println!("{} holds no cluster; `gifee up` makes one", arguments.data_dir.display());
        return Ok(not_running);
    };
    let Some(pid) = Instance::running(&arguments.data_dir)? else {
        println!("stopped; `gifee up` brings it up again from {}", arguments.data_dir.display());
        return Ok(not_running);
    };
    println!("process     {pid}, {} MB", resident_megabytes(pid.as_raw()));
    println!("API server  {}", settings.api_url());
    println!("pods        {}", settings.cluster_cidr);
    println!("services    {}", settings.service_cidr);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime
        .block_on(async { tokio::time::timeout(TIMEOUT, cluster(&arguments.data_dir, &settings)).await });
    match asked {
        Ok(Ok(true)) => Ok(ExitCode::SUCCESS),
        Ok(Ok(false)) => Ok(not_running),
        Ok(Err(error)) => {
            println!("the API server does not answer: {error:#}");
            Ok(not_running)
        }
        Err(_) => {
            println!("the API server does not answer within {} s", TIMEOUT.as_secs());
            Ok(not_running)
        }
    }
}

fn resident_megabytes(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() / 1024
}

/// Asks as the administrator, out of the data directory itself: the kubeconfig may be anywhere.
async fn cluster(data_dir: &Path, settings: &Settings) -> Result<bool> {
    let authority = Authority::open(data_dir)?;
    let pair = authority.client("admin", "kubernetes-admin", &["system:masters"])?;
    let certificate = Some((pair.certificate.into_bytes(), pair.key.into_bytes()));
    let config = TlsConfig {
        server: settings.api_url(),
        authorities: authority.certificate().as_bytes().to_vec(),
        credentials: Credentials { certificate, ..Credentials::default() },
        ..TlsConfig::default()
    };
    let client = Client::new(Arc::new(Tls::new(&config)?)).named("gifee-status");
    let nodes = values(&client, "nodes").await?;
    let mut all_ready = !nodes.is_empty();
    for node in &nodes {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.clone().any(|one| one["type"] == "Ready" && one["status"] == "True");
        all_ready &= ready;
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        println!("node        {name} {}", if ready { "Ready" } else { "NotReady" });
    }
    let pods = values(&client, "pods").await?;
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
    println!("pods        {running} of {} running", pods.len());
    Ok(all_ready)
}

async fn values(client: &Client, resource: &str) -> Result<Vec<Value>> {
    let page = client.list_all(&Gvr::core(resource), "", &ListOptions::default()).await?;
    Ok(page.items.iter().map(|object| object.to_value()).collect::<Result<_, _>>()?)
}
