//! `emptyDir`: a folder that lives as long as the pod, on disk or in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use async_trait::async_trait;
use gifee_base::Quantity;
use k8s_openapi::api::core::v1::Volume;
use rustix::mount::MountFlags;

use super::{Context, Error, Mounted, VolumeType};
use crate::files::{mounted, ownership};

/// The type.
pub struct EmptyDir;

#[async_trait]
impl VolumeType for EmptyDir {
    fn name(&self) -> &'static str {
        "emptyDir"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.empty_dir.is_some()
    }

    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.empty_dir.clone().unwrap_or_default();
        let path = context.paths.volume(self.name(), &volume.name);
        let new = !path.exists();
        std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        match source.medium.as_deref().unwrap_or_default() {
            "" => {}
            "Memory" => {
                mount_memory(&path, source.size_limit.as_ref().and_then(|limit| limit.0.parse().ok()))?
            }
            medium if medium.starts_with("HugePages") => mount_huge_pages(&path, medium)?,
            other => return Err(Error::Invalid(format!("unknown storage medium {other:?}"))),
        }
        if new {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))
                .map_err(Error::file("change mode of", &path))?;
            ownership::apply(&path, ownership::fs_group(context.pod))?;
        }
        Ok(Mounted::plain(path))
    }
}

fn mount_memory(path: &Path, limit: Option<Quantity>) -> Result<(), Error> {
    if mounted(path)? {
        return Ok(());
    }
    let size = limit.map(|limit| limit.value()).filter(|bytes| *bytes > 0);
    let options = size.map_or_else(|| "mode=0777".to_owned(), |bytes| format!("mode=0777,size={bytes}"));
    mount(path, "tmpfs", &options)
}

/// `HugePages`, or `HugePages-2Mi` for a size.
fn mount_huge_pages(path: &Path, medium: &str) -> Result<(), Error> {
    if mounted(path)? {
        return Ok(());
    }
    let size = medium.strip_prefix("HugePages-").map(|size| size.trim_end_matches('i'));
    let options = size.map_or_else(String::new, |size| format!("pagesize={size}"));
    mount(path, "hugetlbfs", &options)
}

fn mount(path: &Path, kind: &str, options: &str) -> Result<(), Error> {
    let options =
        std::ffi::CString::new(options).map_err(|_| Error::Invalid("a NUL in mount options".into()))?;
    rustix::mount::mount(kind, path, kind, MountFlags::empty(), options.as_c_str())
        .map_err(Error::file("mount", path))
}
