//! `downwardAPI`: fields of the pod itself as files, which follow it.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::{Context, Error, Mounted, VolumeType, publish};
use crate::files::payload;

/// The type.
pub struct DownwardApi;

#[async_trait]
impl VolumeType for DownwardApi {
    fn name(&self) -> &'static str {
        "downwardAPI"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.downward_api.is_some()
    }

    fn live(&self) -> bool {
        true
    }

    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.downward_api.clone().unwrap_or_default();
        let files =
            payload::downward(context.pod, source.items.as_ref(), source.default_mode, context.facts)?;
        let path = context.paths.volume(self.name(), &volume.name);
        let path = publish(context, path, files).await?;
        Ok(Mounted::files(path, None))
    }
}
