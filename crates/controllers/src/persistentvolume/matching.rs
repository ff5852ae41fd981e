//! Which volume a claim is bound to: the smallest that is enough, among those with the fewest access modes. Pure.
//!
//! Answers to upstream's `FindMatchingVolume` and the order by access modes in front of it.

use super::object::{Claim, Volume};
use gifee_base::LabelSelector;
use std::collections::BTreeMap;

/// The best of the candidates. With `delayed`, only what is already meant for the claim: the scheduler chooses
/// the rest.
///
/// # Errors
/// If the claim's selector cannot be read.
pub fn best<'a>(
    claim: &Claim,
    candidates: &'a [Volume],
    delayed: bool,
) -> Result<Option<&'a Volume>, String> {
    let selector = &claim.tree["spec"]["selector"];
    let selector = match selector.is_object() {
        true => LabelSelector::from_value(selector)?,
        false => LabelSelector::everything(),
    };
    let mut groups: BTreeMap<(usize, Vec<&str>), Vec<&Volume>> = BTreeMap::new();
    for volume in candidates.iter().filter(|volume| volume.suits_access(claim)) {
        let modes = volume.modes();
        groups.entry((modes.len(), modes)).or_default().push(volume);
    }
    Ok(groups.values().find_map(|group| among(claim, group, &selector, delayed)))
}

fn among<'a>(
    claim: &Claim,
    group: &[&'a Volume],
    selector: &LabelSelector,
    delayed: bool,
) -> Option<&'a Volume> {
    let requested = claim.requested();
    let mut smallest: Option<&Volume> = None;
    for volume in group {
        let meant = volume.is_for(claim);
        let suits = volume.capacity() >= requested
            && volume.suits_mode(claim)
            && volume.suits_attributes(claim)
            && volume.tree["metadata"]["deletionTimestamp"].is_null();
        if !suits || (volume.claim().is_some() && !meant) {
            continue;
        }
        if meant {
            return Some(volume);
        }
        // One that is not yet Available is about to be written to by somebody.
        let free = volume.phase() == "Available"
            && volume.class() == claim.class()
            && selector.matches(|key| volume.tree["metadata"]["labels"][key].as_str());
        if !delayed && free && smallest.is_none_or(|least| volume.capacity() < least.capacity()) {
            smallest = Some(volume);
        }
    }
    smallest
}

/// Why a claim cannot be bound to a volume that it names, in upstream's words.
pub fn mismatch(volume: &Volume, claim: &Claim) -> Option<&'static str> {
    let checks = [
        (volume.capacity() >= claim.requested(), "requested PV is too small"),
        (volume.class() == claim.class(), "storageClassName does not match"),
        (volume.suits_attributes(claim), "volumeAttributesClassName does not match"),
        (volume.suits_mode(claim), "incompatible volumeMode"),
        (volume.suits_access(claim), "incompatible accessMode"),
    ];
    checks.into_iter().find(|(suits, _)| !suits).map(|(_, why)| why)
}
