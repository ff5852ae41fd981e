//! Where the parts of a node keep what is theirs in a data directory, and what they are called in the kernel.

use crate::settings::Settings;
use anyhow::{Context, Result};
use gifee_oci::images::{Config, ImageStore};
use std::path::{Path, PathBuf};

/// Images, with their layers.
pub fn images(data_dir: &Path) -> PathBuf {
    data_dir.join("images")
}

/// Sandboxes and containers.
pub fn runtime(data_dir: &Path) -> PathBuf {
    data_dir.join("runtime")
}

/// The kubelet's own folder.
pub fn kubelet(data_dir: &Path) -> PathBuf {
    data_dir.join("kubelet")
}

/// Opens the images of a data directory; several processes may at once.
///
/// # Errors
/// If its folders cannot be made.
pub fn open_images(data_dir: &Path) -> Result<ImageStore> {
    let root = images(data_dir);
    std::fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
    ImageStore::open(Config { root, ..Config::default() }).context("opening the image store")
}

/// The control group above those of all pods.
pub fn cgroup(settings: &Settings) -> String {
    format!("gifee-{}", settings.instance)
}

/// Settings of the pod network, with this range of pod addresses.
///
/// # Errors
/// If a range is malformed.
pub fn network(data_dir: &Path, settings: &Settings, pod_cidr: &str) -> Result<gifee_net::Config> {
    let range = |text: &str| {
        let parsed = text.parse::<gifee_net::Cidr>();
        parsed.map_err(|why| anyhow::anyhow!("the range {text:?} is malformed: {why}"))
    };
    Ok(gifee_net::Config {
        instance: settings.instance.clone(),
        node_name: settings.node_name.clone(),
        pod_cidr: range(pod_cidr)?,
        cluster_cidr: range(&settings.cluster_cidr)?,
        service_cidr: range(&settings.service_cidr)?,
        cluster_dns: settings.dns_address()?,
        cluster_domain: settings.cluster_domain.clone(),
        mtu: None,
        state_dir: data_dir.join("network"),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
    })
}
