//! `persistentVolumeClaim`: the volume that a claim is bound to, if it is a folder of this node.

use std::path::Path;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::{Context, Error, Mounted, VolumeType, host_path};
use crate::files::ownership;
use crate::pod::members;

/// The type.
pub struct Claim;

#[async_trait]
impl VolumeType for Claim {
    fn name(&self) -> &'static str {
        "persistentVolumeClaim"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
    }

    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let (name, readonly) = match &volume.persistent_volume_claim {
            Some(source) => (source.claim_name.clone(), source.read_only == Some(true)),
            // A generic ephemeral volume has a claim of its own.
            None => (format!("{}-{}", members::name(context.pod), volume.name), false),
        };
        let claim = context.remote.claim(members::namespace(context.pod), &name).await?;
        let bound = claim.spec.and_then(|spec| spec.volume_name).filter(|name| !name.is_empty());
        let Some(bound) = bound else {
            return Err(Error::Reference(format!("persistentvolumeclaim {name:?} is not bound")));
        };
        let source = context.remote.volume(&bound).await?.spec.unwrap_or_default();
        let path = if let Some(source) = &source.host_path {
            host_path::prepare(Path::new(&source.path), source.type_.as_deref().unwrap_or_default())?
        } else if let Some(source) = &source.local {
            host_path::prepare(Path::new(&source.path), "Directory")?
        } else {
            return Err(Error::Unsupported(volume.name.clone()));
        };
        let group = ownership::fs_group(context.pod).filter(|_| source.local.is_some());
        if !ownership::on_root_mismatch(context.pod) || !ownership::matches(&path, group) {
            ownership::apply(&path, group)?;
        }
        Ok(Mounted { path, readonly, ..Mounted::default() })
    }
}
