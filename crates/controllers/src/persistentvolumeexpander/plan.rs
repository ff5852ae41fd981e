//! What a claim that asks for more gets. Pure.

use crate::localpath::PROVISIONER;
use crate::persistentvolume::object::PROVISIONED_BY;
use gifee_base::Quantity;
use serde_json::Value;

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// It has what it asks for.
    Nothing,
    /// The volume that it names is not its own.
    Unbound,
    /// Somebody else grows it.
    Elsewhere,
    /// The new size is to be written down.
    Write {
        /// The size.
        capacity: String,
        /// Whether the volume does not say so yet.
        volume: bool,
        /// The conditions that the claim keeps.
        conditions: Vec<Value>,
    },
}

fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}

/// Whether a claim is bound and asks for more than it has.
pub fn wants_more(claim: &Value) -> bool {
    let asked = quantity(&claim["spec"]["resources"]["requests"]["storage"]);
    let has = quantity(&claim["status"]["capacity"]["storage"]);
    claim["status"]["phase"] == "Bound" && asked.zip(has).is_some_and(|(asked, has)| asked > has)
}

/// Plans for a claim and the volume that it names.
pub fn plan(claim: &Value, volume: &Value) -> Plan {
    if !wants_more(claim) {
        return Plan::Nothing;
    }
    let (reference, metadata) = (&volume["spec"]["claimRef"], &claim["metadata"]);
    if reference["uid"] != metadata["uid"] || reference["namespace"] != metadata["namespace"] {
        return Plan::Unbound;
    }
    let ours = volume["metadata"]["annotations"][PROVISIONED_BY] == PROVISIONER;
    let written_down = volume["spec"]["hostPath"].is_object() || ours && volume["spec"]["local"].is_object();
    if !written_down {
        return Plan::Elsewhere;
    }
    let asked = &claim["spec"]["resources"]["requests"]["storage"];
    let conditions = claim["status"]["conditions"].as_array().into_iter().flatten();
    let resizing =
        |one: &&Value| !matches!(one["type"].as_str(), Some("Resizing" | "FileSystemResizePending"));
    Plan::Write {
        capacity: asked.as_str().unwrap_or_default().to_owned(),
        volume: quantity(&volume["spec"]["capacity"]["storage"]) < quantity(asked),
        conditions: conditions.filter(resizing).cloned().collect(),
    }
}
