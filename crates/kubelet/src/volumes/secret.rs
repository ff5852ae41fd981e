//! `secret`: the entries of a Secret as files in memory, which follow it.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::{Context, Error, Mounted, VolumeType, publish};
use crate::files::payload;
use crate::pod::members;
use crate::references::Reference;

/// The type.
pub struct SecretVolume;

#[async_trait]
impl VolumeType for SecretVolume {
    fn name(&self) -> &'static str {
        "secret"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.secret.is_some()
    }

    fn references(&self, volume: &Volume) -> Vec<Reference> {
        let name = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
        name.map(Reference::secret).into_iter().collect()
    }

    fn live(&self) -> bool {
        true
    }

    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.secret.clone().unwrap_or_default();
        let name = source.secret_name.clone().unwrap_or_default();
        let secret = context.sources.secret(&name);
        let subject = (members::namespace(context.pod), name.as_str());
        let optional = source.optional == Some(true);
        let files = payload::secret(
            secret.as_deref(),
            subject,
            source.items.as_ref(),
            source.default_mode,
            optional,
        )?;
        let path = context.paths.memory_volume(self.name(), &volume.name);
        let path = publish(context, path, files).await?;
        Ok(Mounted::files(path, None))
    }
}
