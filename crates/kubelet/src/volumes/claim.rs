//! `persistentVolumeClaim`: the volume that a claim is bound to, if it is a folder of this node.

use std::path::Path;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

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
        let bound = usable(context.pod, volume, &claim).map_err(|why| {
            let namespace = members::namespace(context.pod);
            Error::Reference(format!("error processing PVC {namespace}/{name}: {why}"))
        })?;
        let source = context.remote.volume(&bound).await?.spec.unwrap_or_default();
        let meant = source.claim_ref.as_ref().and_then(|reference| reference.uid.as_ref());
        if meant != claim.metadata.uid.as_ref() {
            let (meant, uid) = (meant.cloned().unwrap_or_default(), claim.metadata.uid.unwrap_or_default());
            return Err(Error::Reference(format!(
                "found PV object {bound} but its pv.Spec.ClaimRef.UID {meant} does not point to claim.UID {uid}"
            )));
        }
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

/// The volume of a claim; or why a pod may not use it.
fn usable(pod: &Pod, volume: &Volume, claim: &PersistentVolumeClaim) -> Result<String, String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.controller == Some(true));
    if volume.ephemeral.is_some() && !owners.any(|owner| owner.uid == members::uid(pod)) {
        let (namespace, claim) =
            (members::namespace(pod), claim.metadata.name.as_deref().unwrap_or_default());
        let pod = members::name(pod);
        return Err(format!(
            "PVC {namespace}/{claim} was not created for pod {namespace}/{pod} (pod is not owner)"
        ));
    }
    // Protection keeps it for pods that run, and for no others.
    let begun = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    if claim.metadata.deletion_timestamp.is_some() && !begun {
        return Err("PVC is being deleted".to_owned());
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    name.filter(|name| phase == Some("Bound") && !name.is_empty())
        .ok_or_else(|| "PVC is not bound".to_owned())
}
