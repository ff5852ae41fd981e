//! What is to be done for a claim, and for a volume. Pure.
//!
//! Answers to upstream's `syncClaim` and `syncVolume`.

use super::effect::{Draft, Of};
use super::matching::{best, mismatch};
use super::object::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, Claim, MIGRATED_TO, PROVISIONED_BY, SELECTED_NODE,
    STORAGE_PROVISIONER, Volume,
};
use super::recycle;
use gifee_reconcile::events::Severity::{Normal, Warning};
use serde_json::Value;

/// Classes of this provisioner have volumes that somebody makes by hand; names of what once was part of Kubernetes
/// begin like it.
const BUILT_IN: &str = "kubernetes.io/";
/// Provisioners that were part of Kubernetes, and the CSI drivers that act for them.
const MIGRATED: &[(&str, &str)] = &[
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
];

/// A claim and what concerns it.
#[derive(Debug, Default)]
pub struct ClaimView {
    /// The claim.
    pub claim: Claim,
    /// Its class, if there is one of that name.
    pub class: Option<Value>,
    /// The class of claims that name none.
    pub default_class: Option<String>,
    /// The volume that it names, if there is one of that name.
    pub named: Option<Volume>,
    /// Volumes meant for it, and free ones of its class.
    pub candidates: Vec<Volume>,
    /// Pods that use it and have no node, by name.
    pub waiting: Vec<String>,
}

/// A volume and what concerns it.
#[derive(Debug, Default)]
pub struct VolumeView {
    /// The volume.
    pub volume: Volume,
    /// The claim of the name that it is for.
    pub claim: Option<Claim>,
    /// Pods that use a claim of that name, as `namespace/name`.
    pub used_by: Vec<String>,
    /// The pod that empties it.
    pub recycler: Option<Value>,
}

fn driver(provisioner: &str) -> Option<&'static str> {
    MIGRATED.iter().find(|(name, _)| *name == provisioner).map(|(_, driver)| *driver)
}

/// Says who acts for a provisioner, where that is somebody else.
fn migrate(tree: &Value, provisioner: Option<&str>) -> Value {
    let mut tree = tree.clone();
    let Some(provisioner) = provisioner else { return tree };
    if let Some(driver) = driver(provisioner) {
        tree["metadata"]["annotations"][MIGRATED_TO] = driver.into();
    } else if let Some(annotations) = tree["metadata"]["annotations"].as_object_mut() {
        annotations.remove(MIGRATED_TO);
    }
    tree
}

/// Plans for a claim.
///
/// The plan's `failure` says that the claim cannot be understood, or is bound where it cannot be.
pub fn claim(view: ClaimView) -> Draft {
    let mut draft = Draft { claim: view.claim.clone(), ..Draft::default() };
    let provisioner = STORAGE_PROVISIONER.iter().find_map(|key| view.claim.annotation(key));
    draft.turn(Of::Claim, false, migrate(&view.claim.tree, provisioner));
    if view.claim.annotation(BIND_COMPLETED).is_some() {
        bound(&mut draft, view.named);
    } else if view.claim.volume().is_empty() {
        draft.failure = unbound(&mut draft, &view).err();
    } else {
        named(&mut draft, view.named);
    }
    draft
}

fn bound(draft: &mut Draft, volume: Option<Volume>) {
    let Some(volume) = volume else {
        let message = match draft.claim.volume() {
            "" => "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            _ => "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        };
        return draft.claim_lost("ClaimLost", message);
    };
    match volume.claim() {
        Some((_, _, uid)) if uid != draft.claim.uid() => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            draft.claim_lost("ClaimMisbound", message);
        }
        _ => {
            draft.volume = volume;
            draft.bind();
        }
    }
}

fn named(draft: &mut Draft, volume: Option<Volume>) {
    let Some(volume) = volume else {
        draft.claim_phase("Pending", false);
        return;
    };
    let free = volume.claim().is_none();
    if !free && !volume.is_for(&draft.claim) {
        let name = volume.name();
        draft.state(Warning, "FailedBinding", format!("volume {name:?} already bound to a different claim."));
        if draft.claim.annotation(BOUND_BY_CONTROLLER).is_some() {
            let why = format!("invalid binding of claim {:?} to volume {name:?}", draft.claim.key());
            draft.failure = Some(why + ": the volume is already claimed");
            return;
        }
        draft.claim_phase("Pending", false);
    } else if let Some(why) = mismatch(&volume, &draft.claim).filter(|_| free) {
        let message = format!("Cannot bind to requested volume {:?}: {why}", volume.name());
        draft.state(Warning, "VolumeMismatch", message);
        draft.claim_phase("Pending", false);
    } else {
        draft.volume = volume;
        draft.bind();
    }
}

fn unbound(draft: &mut Draft, view: &ClaimView) -> Result<(), String> {
    let claim = &view.claim;
    let delayed =
        view.class.as_ref().is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer");
    if let Some(volume) = best(claim, &view.candidates, delayed)? {
        draft.volume = volume.clone();
        draft.bind();
        return Ok(());
    }
    if !claim.has_class()
        && let Some(class) = &view.default_class
    {
        let mut tree = draft.claim.tree.clone();
        tree["spec"]["storageClassName"] = class.as_str().into();
        draft.turn(Of::Claim, false, tree);
        return Ok(());
    }
    if delayed && claim.annotation(SELECTED_NODE).is_none() {
        let (reason, message) = awaited(&view.waiting);
        draft.state(Normal, reason, message);
    } else if !claim.class().is_empty() {
        provision(draft, view);
        return Ok(());
    } else {
        let message = "no persistent volumes available for this claim and no storage class is set";
        draft.state(Normal, "FailedBinding", message);
    }
    draft.claim_phase("Pending", false);
    Ok(())
}

fn awaited(pods: &[String]) -> (&'static str, String) {
    match pods {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    }
}

/// Asks whoever provisions volumes of the claim's class for one. Nothing is provisioned here.
fn provision(draft: &mut Draft, view: &ClaimView) {
    let name = draft.claim.class().to_owned();
    let Some(class) = &view.class else {
        let message = format!("storageclass.storage.k8s.io {name:?} not found");
        return draft.state(Warning, "ProvisioningFailed", message);
    };
    let asked = class["provisioner"].as_str().unwrap_or_default();
    let provisioner = driver(asked).unwrap_or(asked);
    if provisioner.starts_with(BUILT_IN) {
        let message = format!("no volume plugin matched name: {provisioner}");
        return draft.state(Warning, "ProvisioningFailed", message);
    }
    let mut tree = draft.claim.tree.clone();
    for key in STORAGE_PROVISIONER {
        tree["metadata"]["annotations"][key] = provisioner.into();
    }
    draft.turn(Of::Claim, false, migrate(&tree, Some(provisioner)));
    draft.state(
        Normal,
        "ExternalProvisioning",
        format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by \
             the system administrator. If volume creation is delayed, please verify that the provisioner is running \
             and correctly registered."
        ),
    );
}

/// Plans for a volume.
pub fn volume(view: VolumeView) -> Draft {
    let mut draft = Draft { volume: view.volume.clone(), ..Draft::default() };
    let provisioner = view.volume.annotation(PROVISIONED_BY);
    draft.turn(Of::Volume, false, migrate(&view.volume.tree, provisioner));
    let uid = match view.volume.claim() {
        // What is only meant for a claim is free to all who look at it; the claim takes it.
        None | Some((_, _, "")) => {
            draft.volume_phase("Available", "");
            return draft;
        }
        Some((_, _, uid)) => uid,
    };
    let Some(claim) = view.claim.clone().filter(|claim| claim.uid() == uid) else {
        release(&mut draft, &view);
        return draft;
    };
    draft.claim = claim;
    if draft.claim.volume().is_empty() {
        // The claim binds itself, unless it cannot see the volume as one of its own.
        if !view.volume.suits_mode(&draft.claim) {
            incompatible(&mut draft);
        }
    } else if draft.claim.volume() == view.volume.name() {
        draft.volume_phase("Bound", "");
    } else if provisioner.is_some() && view.volume.reclaim_policy() == "Delete" {
        release(&mut draft, &view);
    } else {
        draft.unbind();
    }
    draft
}

fn incompatible(draft: &mut Draft) {
    let (volume, claim) = (draft.volume.name().to_owned(), draft.claim.name().to_owned());
    let message = format!(
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim:?} due to incompatible volumeMode."
    );
    draft.event(Of::Volume, Warning, "VolumeMismatch", message);
    let message = format!(
        "Cannot bind PersistentVolume {volume:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
    );
    draft.event(Of::Claim, Warning, "VolumeMismatch", message);
}

/// Lets a volume go whose claim is gone or went elsewhere.
fn release(draft: &mut Draft, view: &VolumeView) {
    if !matches!(draft.volume.phase(), "Released" | "Failed") {
        draft.volume_phase("Released", "");
    }
    if draft.volume.annotation(MIGRATED_TO).is_some() {
        return;
    }
    match draft.volume.reclaim_policy() {
        "Retain" => {}
        "Recycle" => recycle::plan(draft, view),
        "Delete" => delete(draft),
        _ => draft.volume_fails(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        ),
    }
}

/// Whoever made a volume deletes it; nobody does that for one that was made by hand.
fn delete(draft: &mut Draft) {
    let provisioner = draft.volume.annotation(PROVISIONED_BY).unwrap_or_default();
    let message = match provisioner {
        "" => format!(
            "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
            draft.volume.name()
        ),
        name if name.starts_with(BUILT_IN) => format!("no volume plugin matched name: {name}"),
        _ => return,
    };
    draft.volume_fails("VolumeFailedDelete", &message);
}
