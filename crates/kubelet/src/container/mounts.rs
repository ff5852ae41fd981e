//! The mounts of a container out of its volume mounts.
//!
//! Answers to the kubelet's `makeMounts`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gifee_oci::spec::{Mount, Propagation};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use crate::environment::expand::expand;
use crate::files::{Error, subpath};
use crate::paths::PodPaths;
use crate::volumes::Mounted;

/// The mounts, in the order of the spec. Parts of volumes are bound to folders of the pod on the way.
pub fn mounts(
    container: &Container,
    volumes: &BTreeMap<String, Mounted>,
    paths: &PodPaths,
    environment: &[(String, String)],
) -> Result<Vec<Mount>, Error> {
    let listed = container.volume_mounts.iter().flatten().enumerate();
    listed
        .map(|(index, mount)| {
            let volume = volumes.get(&mount.name).ok_or_else(|| {
                Error::Invalid(format!(
                    "cannot find volume {:?} to mount into container {:?}",
                    mount.name, container.name
                ))
            })?;
            let part = sub_path(mount, environment)?;
            let host_path = match &part {
                // The runtime finds the part.
                _ if volume.image.is_some() => {
                    let image_sub_path = part.unwrap_or_default().into();
                    let whole = render(mount, PathBuf::new(), true);
                    return Ok(Mount { image: volume.image.clone(), image_sub_path, ..whole });
                }
                Some(sub) => {
                    let target =
                        paths.subpaths().join(&mount.name).join(&container.name).join(index.to_string());
                    subpath::bind(&volume.path, sub, &target)
                        .map_err(|error| refused(container, mount, &volume.path, sub, &error))?
                }
                None => volume.path.clone(),
            };
            Ok(render(mount, host_path, volume.readonly))
        })
        .collect()
}

/// What a person is told of a part that cannot be mounted: nothing of the host's files.
fn refused(container: &Container, mount: &VolumeMount, root: &Path, sub: &str, error: &Error) -> Error {
    tracing::warn!(container = container.name, volume = mount.name, %error, "a part of a volume is not mounted");
    let what = match subpath::step(root, sub) {
        subpath::Step::Create => "create subPath directory",
        subpath::Step::Prepare => "prepare subPath",
    };
    let (volume, container) = (&mount.name, &container.name);
    Error::Invalid(format!("failed to {what} for volumeMount {volume:?} of container {container:?}"))
}

fn render(mount: &VolumeMount, host_path: PathBuf, readonly: bool) -> Mount {
    let recursive = mount.recursive_read_only.as_deref();
    let container_path = PathBuf::from("/").join(&mount.mount_path);
    Mount {
        host_path,
        container_path,
        readonly: readonly || mount.read_only == Some(true),
        recursive_read_only: mount.read_only == Some(true)
            && matches!(recursive, Some("Enabled" | "IfPossible")),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
        ..Mount::default()
    }
}

/// The part of the volume that is asked for, if not all of it.
fn sub_path(mount: &VolumeMount, environment: &[(String, String)]) -> Result<Option<String>, Error> {
    if let Some(sub) = mount.sub_path.as_deref().filter(|sub| !sub.is_empty()) {
        return Ok(Some(sub.to_owned()));
    }
    let Some(pattern) = mount.sub_path_expr.as_deref().filter(|pattern| !pattern.is_empty()) else {
        return Ok(None);
    };
    let missing = std::cell::Cell::new(false);
    let find = |name: &str| {
        let found = environment.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone());
        missing.set(missing.get() || found.is_none());
        found
    };
    let sub = expand(pattern, &find);
    if missing.get() {
        return Err(Error::Invalid(format!(
            "failed to expand subPath for volumeMount {:?}: missing value for {pattern:?}",
            mount.name
        )));
    }
    if sub.starts_with('/') {
        return Err(Error::Invalid(format!("error SubPath `{sub}` must not be an absolute path")));
    }
    if sub.split('/').any(|part| part == "..") {
        return Err(Error::Invalid(format!("unable to provision SubPath `{sub}`: must not contain '..'")));
    }
    Ok(Some(sub))
}
