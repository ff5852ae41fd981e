//! `emptyDir`: a folder that lives as long as the pod, on disk or in memory.
//!
//! Answers to `pkg/volume/emptydir`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use async_trait::async_trait;
use gifee_base::Quantity;
use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as SizeLimit;
use rustix::mount::MountFlags;

use super::{Context, Error, Mounted, VolumeType};
use crate::files::{mounted, ownership};
use crate::pod::qos;

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
            "Memory" => mount_memory(&path, memory_bytes(context, source.size_limit.as_ref()))?,
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

/// What a folder in memory may hold: the least of what it says, what its pod may have and what the node can give.
fn memory_bytes(context: &Context<'_>, limit: Option<&SizeLimit>) -> Option<i64> {
    let own = limit.and_then(|limit| limit.0.parse::<Quantity>().ok()).map(|limit| limit.value());
    let pod = qos::pod_resources(context.pod, None).memory_limit;
    let node = context.facts.allocatable.get("memory").map(|amount| amount.value());
    [own, pod, node].into_iter().flatten().filter(|bytes| *bytes > 0).min()
}

fn mount_memory(path: &Path, bytes: Option<i64>) -> Result<(), Error> {
    if mounted(path)? {
        return Ok(());
    }
    let options = bytes.map_or_else(|| "mode=0777".to_owned(), |bytes| format!("mode=0777,size={bytes}"));
    // What is in memory stays out of swap, where the kernel can promise it.
    mount(path, "tmpfs", &format!("{options},noswap")).or_else(|_| mount(path, "tmpfs", &options))
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
