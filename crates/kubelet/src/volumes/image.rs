//! `image`: what an image holds, read-only.
//!
//! It is pulled when a container that mounts it is made, as the container's own image is, and mounted by the runtime: one
//! that no container mounts need not exist. Answers to `pkg/volume/image`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::{Context, Error, Mounted, VolumeType};

/// The type.
pub struct Image;

#[async_trait]
impl VolumeType for Image {
    fn name(&self) -> &'static str {
        "image"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.image.is_some()
    }

    async fn set_up(&self, _: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let reference = volume.image.as_ref().and_then(|source| source.reference.clone()).unwrap_or_default();
        Ok(Mounted { readonly: true, image: Some(reference), ..Mounted::default() })
    }
}
