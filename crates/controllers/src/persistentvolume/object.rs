//! Claims and volumes, as far as binding looks at them. Pure.

use gifee_base::Quantity;
use serde_json::Value;

/// On a claim: it was bound once, and is lost if its volume goes.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On either: who bound it was this controller, so that it may take that back.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a volume: the provisioner that made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On either: the CSI driver that acts for a provisioner that was part of Kubernetes once.
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// On a claim: the provisioner that is asked for a volume; and the same as it was called before.
pub const STORAGE_PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// On a claim: the node that the scheduler chose for its first consumer.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On either: the class, as it was said before there was a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn annotation<'a>(tree: &'a Value, key: &str) -> Option<&'a str> {
    tree["metadata"]["annotations"][key].as_str()
}

fn class(tree: &Value) -> &str {
    annotation(tree, OLD_CLASS).unwrap_or_else(|| text(&tree["spec"]["storageClassName"]))
}

fn mode(tree: &Value) -> &str {
    tree["spec"]["volumeMode"].as_str().unwrap_or("Filesystem")
}

fn quantity(value: &Value) -> Quantity {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(Quantity::ZERO)
}

fn modes(tree: &Value) -> Vec<&str> {
    tree["spec"]["accessModes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// All of it.
    pub tree: Value,
}

impl Claim {
    /// Its name.
    pub fn name(&self) -> &str {
        text(&self.tree["metadata"]["name"])
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        text(&self.tree["metadata"]["namespace"])
    }

    /// `namespace/name`, as messages say it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        text(&self.tree["metadata"]["uid"])
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        annotation(&self.tree, key)
    }

    /// Its class, or empty.
    pub fn class(&self) -> &str {
        class(&self.tree)
    }

    /// Whether it says anything of a class, be it that it wants none.
    pub fn has_class(&self) -> bool {
        annotation(&self.tree, OLD_CLASS).is_some() || self.tree["spec"]["storageClassName"].is_string()
    }

    /// The volume that it names, or empty.
    pub fn volume(&self) -> &str {
        text(&self.tree["spec"]["volumeName"])
    }

    /// Its phase.
    pub fn phase(&self) -> &str {
        text(&self.tree["status"]["phase"])
    }

    /// How much it asks for.
    pub fn requested(&self) -> Quantity {
        quantity(&self.tree["spec"]["resources"]["requests"]["storage"])
    }
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// All of it.
    pub tree: Value,
}

impl Volume {
    /// Its name.
    pub fn name(&self) -> &str {
        text(&self.tree["metadata"]["name"])
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        annotation(&self.tree, key)
    }

    /// Its class, or empty.
    pub fn class(&self) -> &str {
        class(&self.tree)
    }

    /// Its phase.
    pub fn phase(&self) -> &str {
        text(&self.tree["status"]["phase"])
    }

    /// How large it is.
    pub fn capacity(&self) -> Quantity {
        quantity(&self.tree["spec"]["capacity"]["storage"])
    }

    /// What becomes of it once its claim is gone.
    pub fn reclaim_policy(&self) -> &str {
        self.tree["spec"]["persistentVolumeReclaimPolicy"].as_str().unwrap_or("Retain")
    }

    /// The claim that it is for: namespace, name and UID, which is empty while it is only meant for it.
    pub fn claim(&self) -> Option<(&str, &str, &str)> {
        let claim = &self.tree["spec"]["claimRef"];
        claim.is_object().then(|| (text(&claim["namespace"]), text(&claim["name"]), text(&claim["uid"])))
    }

    /// Whether it is for a claim, or meant for it.
    pub fn is_for(&self, claim: &Claim) -> bool {
        self.claim().is_some_and(|(namespace, name, uid)| {
            namespace == claim.namespace() && name == claim.name() && (uid.is_empty() || uid == claim.uid())
        })
    }

    /// Its access modes, in a fixed order.
    pub fn modes(&self) -> Vec<&str> {
        let mut modes = modes(&self.tree);
        modes.sort_unstable();
        modes
    }

    /// Whether it can be what a claim asks for as to block device or filesystem.
    pub fn suits_mode(&self, claim: &Claim) -> bool {
        mode(&self.tree) == mode(&claim.tree)
    }

    /// Whether it can be accessed in all ways that a claim asks for.
    pub fn suits_access(&self, claim: &Claim) -> bool {
        let own = modes(&self.tree);
        modes(&claim.tree).iter().all(|asked| own.contains(asked))
    }

    /// Whether it has the attributes class that a claim asks for.
    pub fn suits_attributes(&self, claim: &Claim) -> bool {
        let class = |tree: &Value| text(&tree["spec"]["volumeAttributesClassName"]).to_owned();
        class(&self.tree) == class(&claim.tree)
    }
}
