//! `configMap`: the entries of a ConfigMap as files, which follow it.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::{Context, Error, Mounted, VolumeType, publish};
use crate::files::payload;
use crate::pod::members;
use crate::references::Reference;

/// The type.
pub struct ConfigMapVolume;

#[async_trait]
impl VolumeType for ConfigMapVolume {
    fn name(&self) -> &'static str {
        "configMap"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.config_map.is_some()
    }

    fn references(&self, volume: &Volume) -> Vec<Reference> {
        volume.config_map.iter().map(|source| Reference::config_map(&source.name)).collect()
    }

    fn live(&self) -> bool {
        true
    }

    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.config_map.clone().unwrap_or_default();
        let map = context.sources.config_map(&source.name);
        let subject = (members::namespace(context.pod), source.name.as_str());
        let optional = source.optional == Some(true);
        let files = payload::config_map(
            map.as_deref(),
            subject,
            source.items.as_ref(),
            source.default_mode,
            optional,
        )?;
        let path = context.paths.volume(self.name(), &volume.name);
        let path = publish(context, path, files).await?;
        Ok(Mounted::files(path, None))
    }
}
