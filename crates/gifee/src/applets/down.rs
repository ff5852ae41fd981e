//! `gifee down`: ends a cluster on this machine and leaves nothing of it running. Its data stays, for the next `up`.

use super::parse;
use super::up::DATA_DIR;
use crate::instance::Instance;
use crate::layout;
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(20);

/// Flags of `down`.
#[derive(Args, Debug)]
struct Arguments {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Also delete the data directory: every object, volume and image of the cluster
    #[arg(long)]
    purge: bool,
}

/// Ends the process, then every container, link, rule, mount and control group of its instance.
///
/// # Errors
/// What could not be removed.
pub fn down(words: &[String]) -> Result<ExitCode> {
    let arguments: Arguments = parse("down", "End the cluster on this machine; its data stays", words);
    if !nix::unistd::geteuid().is_root() {
        bail!("gifee down removes namespaces, mounts and networks, and needs root: try `sudo gifee down`");
    }
    let Ok(data_dir) = arguments.data_dir.canonicalize() else {
        println!("{} does not exist: nothing to end", arguments.data_dir.display());
        return Ok(ExitCode::SUCCESS);
    };
    if Instance::end(&data_dir, GRACE)? {
        println!("gifee ended");
    }
    let Some(settings) = Settings::load(&data_dir)? else {
        println!("{} holds no cluster: nothing to end", data_dir.display());
        return Ok(ExitCode::SUCCESS);
    };
    // Held from here on, so that nobody brings it up while it is being taken down.
    let instance = Instance::take(&data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(clear(&data_dir, &settings))?;
    gifee_oci::mounts::unmount_below(&data_dir).map_err(|(point, error)| {
        anyhow::Error::new(error).context(format!("unmounting {}", point.display()))
    })?;
    remove_cgroup(&layout::cgroup(&settings))?;
    drop(instance);
    if arguments.purge {
        // Only now: a cluster that is merely down keeps its place, or another would take its addresses.
        settings.forget()?;
        gifee_oci::trees::remove(&data_dir).with_context(|| format!("deleting {}", data_dir.display()))?;
        println!("containers, network and data of {} are gone", data_dir.display());
    } else {
        println!("containers and network are gone; the data stays in {}", data_dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn clear(data_dir: &Path, settings: &Settings) -> Result<()> {
    let local = gifee_oci::local::Local::open(gifee_oci::local::Config {
        root: layout::runtime(data_dir),
        executable: "/proc/self/exe".into(),
        images: layout::open_images(data_dir)?,
    });
    local.await.context("opening the containers")?.clear().await.context("removing the containers")?;
    gifee_net::teardown(&layout::network(data_dir, settings, &settings.pod_cidr)?)
        .await
        .context("removing the network")
}

fn remove_cgroup(path: &str) -> Result<()> {
    for child in gifee_oci::cgroups::children(path).unwrap_or_default() {
        remove_cgroup(&format!("{path}/{child}"))?;
    }
    gifee_oci::cgroups::remove(path).with_context(|| format!("removing the control group {path}"))
}
