//! VOLUMES: one row for each type of volume that a pod can have.
//!
//! Invariant: setting up is idempotent, and is also how the content of a volume is brought up to date; a volume that
//! nothing uses any more leaves no mount and no file. Answers to the kubelet's volume plugins and volume manager.

mod claim;
mod config_map;
mod downward;
mod empty_dir;
mod host_path;
mod image;
mod projected;
mod secret;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};

use crate::environment::{Facts, Sources};
use crate::paths::PodPaths;
use crate::pod::members;
use crate::references::Reference;

// Not extensions: trust.
/// The types. A volume has the first one that owns it.
pub const VOLUMES: &[&dyn VolumeType] = &[
    &empty_dir::EmptyDir,
    &host_path::HostPath,
    &config_map::ConfigMapVolume,
    &secret::SecretVolume,
    &downward::DownwardApi,
    &projected::Projected,
    &claim::Claim,
    &image::Image,
];

pub use crate::files::Error;
use crate::files::payload::Payload;
use crate::files::{atomic, ownership, remove_tree, subpath, unmount_below};

/// Objects that only some volumes ask for, from the API.
#[async_trait]
pub trait Remote: Send + Sync {
    /// A token of the pod's service account, bound to the pod, and when to replace it.
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<(String, Timestamp), Error>;
    /// A claim of the pod's namespace.
    async fn claim(&self, namespace: &str, name: &str) -> Result<PersistentVolumeClaim, Error>;
    /// A volume.
    async fn volume(&self, name: &str) -> Result<PersistentVolume, Error>;
}

/// What a volume is made of and where.
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The pod's folders.
    pub paths: &'a PodPaths,
    /// ConfigMaps and Secrets.
    pub sources: &'a (dyn Sources + Send + Sync),
    /// Addresses, and what the node can give.
    pub facts: &'a Facts,
    /// The rest.
    pub remote: &'a dyn Remote,
    /// The volumes as they were set up before, if they were by this process.
    pub before: &'a BTreeMap<String, Mounted>,
    /// Now.
    pub now: Timestamp,
}

/// A volume that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// On the host.
    pub path: PathBuf,
    /// Or the image whose content it is.
    pub image: Option<String>,
    /// Containers may not write to it, whatever they ask for.
    pub readonly: bool,
    /// When it has to be set up again, to replace what expires.
    pub refresh_at: Option<Timestamp>,
}

impl Mounted {
    /// Writable, and lasting.
    pub fn plain(path: PathBuf) -> Mounted {
        Mounted { path, ..Mounted::default() }
    }

    /// Of files that follow something; see [`Mounted::refresh_at`].
    fn files(path: PathBuf, refresh_at: Option<Timestamp>) -> Mounted {
        Mounted { path, readonly: true, refresh_at, ..Mounted::default() }
    }
}

/// A type of volume.
#[async_trait]
pub trait VolumeType: Send + Sync {
    /// The field of `v1.Volume`.
    fn name(&self) -> &'static str;

    /// Whether a volume is of this type.
    fn owns(&self, volume: &Volume) -> bool;

    /// The objects whose changes its content follows.
    fn references(&self, _volume: &Volume) -> Vec<Reference> {
        Vec::new()
    }

    /// Whether setting it up again brings its content up to date.
    fn live(&self) -> bool {
        false
    }

    /// Makes it, or brings it up to date.
    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error>;
}

/// The row of a volume.
pub fn find(volume: &Volume) -> Option<&'static dyn VolumeType> {
    VOLUMES.iter().copied().find(|row| row.owns(volume))
}

/// Sets up all volumes of a pod; with `live_only` just those whose content changes. One that fails holds up no other.
pub async fn set_up(
    context: &Context<'_>,
    live_only: bool,
) -> (BTreeMap<String, Mounted>, Vec<(String, Error)>) {
    let (mut made, mut failed) = (BTreeMap::new(), Vec::new());
    for volume in members::spec(context.pod).volumes.iter().flatten() {
        let name = volume.name.clone();
        match find(volume) {
            None => failed.push((name.clone(), Error::Unsupported(name))),
            Some(row) if live_only && !row.live() => {}
            Some(row) => match row.set_up(context, volume).await {
                Ok(mounted) => drop(made.insert(name, mounted)),
                Err(error) => failed.push((name, error)),
            },
        }
    }
    (made, failed)
}

/// Brings the files of a volume to `files`, where the disk holds up nobody else.
async fn publish(context: &Context<'_>, path: PathBuf, files: Payload) -> Result<PathBuf, Error> {
    let (group, now) = (ownership::fs_group(context.pod), context.now);
    let work = move || atomic::write(&path, &files, group, now).map(|_| path);
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Invalid(error.to_string())))
}

/// The objects that a pod's volumes follow.
pub fn references(pod: &Pod) -> Vec<Reference> {
    let volumes = members::spec(pod).volumes.iter().flatten();
    volumes.filter_map(|volume| Some(find(volume)?.references(volume))).flatten().collect()
}

/// Unmounts and removes all volumes of a pod. Succeeds if there are none.
pub fn tear_down(paths: &PodPaths) -> Result<(), Error> {
    subpath::clear(&paths.subpaths())?;
    for root in [paths.volumes(), paths.memory()] {
        unmount_below(&root)?;
        remove_tree(&root)?;
    }
    Ok(())
}
