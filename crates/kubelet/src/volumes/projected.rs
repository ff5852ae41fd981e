//! `projected`: several sources in one folder, among them tokens of the service account, which are replaced before
//! they expire.

use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ServiceAccountTokenProjection, Volume, VolumeProjection};

use super::{Context, Error, Mounted, VolumeType, publish, trust};
use crate::files::payload::Payload;
use crate::files::{ownership, payload};
use crate::pod::members;
use crate::references::Reference;

/// The type.
pub struct Projected;

#[async_trait]
impl VolumeType for Projected {
    fn name(&self) -> &'static str {
        "projected"
    }

    fn owns(&self, volume: &Volume) -> bool {
        volume.projected.is_some()
    }

    fn references(&self, volume: &Volume) -> Vec<Reference> {
        let sources = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        let mut found = Vec::new();
        for source in sources {
            found.extend(source.config_map.iter().map(|map| Reference::config_map(&map.name)));
            found.extend(source.secret.iter().map(|secret| Reference::secret(&secret.name)));
            found.extend(source.cluster_trust_bundle.as_ref().and_then(trust::reference));
        }
        found
    }

    fn live(&self) -> bool {
        true
    }

    async fn set_up(&self, context: &Context<'_>, volume: &Volume) -> Result<Mounted, Error> {
        let source = volume.projected.clone().unwrap_or_default();
        let path = context.paths.memory_volume(self.name(), &volume.name);
        // Tokens that are there and not yet old are kept.
        let kept = context.before.get(&volume.name).and_then(|before| before.refresh_at);
        let kept = kept.filter(|refresh| *refresh > context.now).map(|refresh| (path.as_path(), refresh));
        let (mut files, mut refresh_at) = (Payload::new(), None::<Timestamp>);
        for one in source.sources.iter().flatten() {
            if let Some(token) = &one.service_account_token {
                let (made, refresh) = token_file(context, token, source.default_mode, kept).await?;
                files.extend(made);
                refresh_at = Some(refresh_at.map_or(refresh, |earliest| earliest.min(refresh)));
            } else {
                files.extend(object_files(context, one, source.default_mode)?);
            }
        }
        let path = publish(context, path, files).await?;
        Ok(Mounted::files(path, refresh_at))
    }
}

fn object_files(context: &Context<'_>, one: &VolumeProjection, mode: Option<i32>) -> Result<Payload, Error> {
    let namespace = members::namespace(context.pod);
    if let Some(source) = &one.config_map {
        let map = context.sources.config_map(&source.name);
        let (subject, optional) = ((namespace, source.name.as_str()), source.optional == Some(true));
        return payload::config_map(map.as_deref(), subject, source.items.as_ref(), mode, optional);
    }
    if let Some(source) = &one.secret {
        let secret = context.sources.secret(&source.name);
        let (subject, optional) = ((namespace, source.name.as_str()), source.optional == Some(true));
        return payload::secret(secret.as_deref(), subject, source.items.as_ref(), mode, optional);
    }
    if let Some(source) = &one.downward_api {
        return payload::downward(context.pod, source.items.as_ref(), mode, context.facts);
    }
    if let Some(source) = &one.cluster_trust_bundle {
        return trust::file(context, source, mode);
    }
    Err(Error::Invalid("a projected source of a type that this node does not support".to_owned()))
}

async fn token_file(
    context: &Context<'_>,
    source: &ServiceAccountTokenProjection,
    mode: Option<i32>,
    kept: Option<(&Path, Timestamp)>,
) -> Result<(Payload, Timestamp), Error> {
    let audience = source.audience.as_deref().unwrap_or_default();
    let seconds = source.expiration_seconds.unwrap_or(3600);
    let kept = kept.and_then(|(folder, refresh)| {
        Some((std::fs::read_to_string(folder.join(&source.path)).ok()?, refresh))
    });
    let (token, refresh) = match kept {
        Some(kept) => kept,
        None => context.remote.token(context.pod, audience, seconds).await?,
    };
    let owner = ownership::only_user(context.pod);
    let group = ownership::fs_group(context.pod).is_some();
    let mode = mode.unwrap_or(payload::DEFAULT_MODE);
    Ok((payload::token(&source.path, token, mode, owner, group)?, refresh))
}
