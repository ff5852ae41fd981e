//! `hostPath`: a file or folder of the node.
//!
//! Answers to `pkg/volume/hostpath`: the type is checked, or made where it says so.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::{Context, Error, Mounted, VolumeType};

/// The type.
pub struct HostPath;

#[async_trait]
impl VolumeType for HostPath {
    fn name(&self) -> &'static str {
        "hostPath"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.host_path.is_some()
    }

    async fn set_up(&self, _: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.host_path.clone().unwrap_or_default();
        prepare(Path::new(&source.path), source.type_.as_deref().unwrap_or_default()).map(Mounted::plain)
    }
}

/// Checks or makes what the type asks for.
pub fn prepare(path: &Path, kind: &str) -> Result<PathBuf, Error> {
    let wrong =
        |what: &str| Error::Invalid(format!("hostPath type check failed: {} is not {what}", path.display()));
    let found = fs::metadata(path).ok().map(|metadata| metadata.file_type());
    match kind {
        "" => {
            // What does not exist becomes a folder, as runtimes do for a bind mount's source.
            if found.is_none() {
                make_folder(path)?;
            }
        }
        "DirectoryOrCreate" => match found {
            None => make_folder(path)?,
            Some(found) if !found.is_dir() => return Err(wrong("a directory")),
            Some(_) => {}
        },
        "FileOrCreate" => match found {
            None => make_file(path)?,
            Some(found) if !found.is_file() => return Err(wrong("a file")),
            Some(_) => {}
        },
        "Directory" if !found.is_some_and(|found| found.is_dir()) => return Err(wrong("a directory")),
        "File" if !found.is_some_and(|found| found.is_file()) => return Err(wrong("a file")),
        "Socket" if !found.is_some_and(|found| found.is_socket()) => return Err(wrong("a socket file")),
        "CharDevice" if !found.is_some_and(|found| found.is_char_device()) => {
            return Err(wrong("a character device"));
        }
        "BlockDevice" if !found.is_some_and(|found| found.is_block_device()) => {
            return Err(wrong("a block device"));
        }
        "Directory" | "File" | "Socket" | "CharDevice" | "BlockDevice" => {}
        other => return Err(Error::Invalid(format!("{other} is an invalid volume type"))),
    }
    Ok(path.to_owned())
}

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::file("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(Error::file("change mode of", path))
}

fn make_file(path: &Path) -> Result<(), Error> {
    fs::write(path, []).map_err(Error::file("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(Error::file("change mode of", path))
}
