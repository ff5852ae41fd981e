//! Claims, volumes, classes and what nodes and drivers can do with them, as far as placement looks at it.
//!
//! Invariant: what was decided of claims and volumes and is not yet in the API counts as if it were, until the API says
//! so, or says otherwise. Answers to the assume caches and the binder of VolumeBinding.

use crate::node::Node;
use gifee_base::nodes::Term;
use gifee_base::{LabelSelector, NodeSelector, Object, ObjectKey, Quantity};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Names the node that a claim's volume is to be provisioned for.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Says that a claim and its volume know of each other.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The class that nothing is provisioned in.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Labels of volumes that name where they can be used; several values stand between two underscores.
const ZONES: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// `metadata.uid`
    pub uid: Box<str>,
    /// `spec.volumeName`, or empty.
    pub volume: Box<str>,
    /// Whether claim and volume know of each other.
    pub bound: bool,
    /// Whether its volume is gone.
    pub lost: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Name of its class, or empty.
    pub class: Box<str>,
    /// The node that its volume is to be provisioned for.
    pub selected_node: Option<Box<str>>,
    /// UID of the pod that owns it, if one does.
    pub owner: Option<Box<str>>,
    modes: BTreeSet<Box<str>>,
    requested: i64,
    selector: Option<LabelSelector>,
    block: bool,
    attributes_class: Box<str>,
}

impl Claim {
    /// Whether only one pod may use it at a time.
    pub fn is_of_one_pod(&self) -> bool {
        self.modes.iter().any(|mode| **mode == *"ReadWriteOncePod")
    }
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    affinity: Option<NodeSelector>,
    /// Namespace, name and UID of the claim that it is for.
    claim: Option<(ObjectKey, Box<str>)>,
    class: Box<str>,
    modes: BTreeSet<Box<str>>,
    capacity: i64,
    labels: BTreeMap<Box<str>, Box<str>>,
    block: bool,
    available: bool,
    deleting: bool,
    attributes_class: Box<str>,
    /// Name of the CSI driver and what it calls the volume.
    csi: Option<(Box<str>, Box<str>)>,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
struct Class {
    provisioner: Box<str>,
    delays: bool,
    topologies: Vec<Term>,
}

/// A CSIStorageCapacity.
#[derive(Clone, Debug, PartialEq)]
struct Capacity {
    class: Box<str>,
    nodes: LabelSelector,
    limit: Option<i64>,
}

/// What a decision means for a pod's claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Volumes that claims are to have.
    pub bind: Vec<(ObjectKey, Box<str>)>,
    /// Claims whose volumes are to be provisioned.
    pub provision: Vec<ObjectKey>,
}

impl Bindings {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty()
    }

    /// All claims.
    pub fn claims(&self) -> impl Iterator<Item = &ObjectKey> {
        self.bind.iter().map(|(claim, _)| claim).chain(&self.provision)
    }
}

/// Why a pod's claims keep it from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// No volume can be bound or provisioned there.
    NoVolume,
    /// A volume cannot be used there.
    Affinity,
    /// There is too little space.
    Space,
    /// A claim is bound to a volume that does not exist.
    Missing,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Storage {
    claims: HashMap<ObjectKey, Claim>,
    volumes: BTreeMap<Box<str>, Volume>,
    classes: HashMap<Box<str>, Class>,
    capacities: HashMap<ObjectKey, Capacity>,
    /// Drivers for which capacities are published.
    drivers: BTreeSet<Box<str>>,
    /// How many volumes of a driver a node can have, by node and driver.
    limits: HashMap<Box<str>, BTreeMap<Box<str>, i64>>,
    /// Volumes that are to be a claim's.
    assumed_volumes: HashMap<Box<str>, ObjectKey>,
    /// Claims whose volumes are to be provisioned for a node.
    assumed_claims: HashMap<ObjectKey, Arc<str>>,
}

/// A kind of object that is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PersistentVolumeClaim
    Claim,
    /// PersistentVolume
    Volume,
    /// StorageClass
    Class,
    /// CSINode
    Node,
    /// CSIDriver
    Driver,
    /// CSIStorageCapacity
    Capacity,
}

fn set<K: Eq + std::hash::Hash, V: PartialEq>(map: &mut HashMap<K, V>, key: K, value: V) -> bool {
    if map.get(&key) == Some(&value) {
        return false;
    }
    map.insert(key, value);
    true
}

impl Storage {
    /// A claim.
    pub fn claim(&self, key: &ObjectKey) -> Option<&Claim> {
        self.claims.get(key)
    }

    /// The volume of a claim, if it has one and that exists.
    pub fn volume_of(&self, claim: &Claim) -> Option<&Volume> {
        self.volumes.get(&claim.volume)
    }

    /// Whether claims like this wait for a pod before they get a volume.
    pub fn delays(&self, claim: &Claim) -> bool {
        self.classes.get(&claim.class).is_some_and(|class| class.delays)
    }

    /// An object is new or changed; whether that changes anything here.
    ///
    /// # Errors
    /// If the bytes are no such object.
    pub fn put(&mut self, kind: Kind, object: &Object) -> Result<bool, serde_json::Error> {
        let tree: Value = serde_json::from_slice(object.raw())?;
        let name: Box<str> = object.name().into();
        let changed = match kind {
            Kind::Claim => {
                let claim = claim(object, &tree);
                if claim.bound || claim.selected_node.is_some() {
                    self.assumed_claims.remove(&object.key());
                }
                set(&mut self.claims, object.key(), claim)
            }
            Kind::Volume => {
                let volume = volume(object, &tree)?;
                if volume.claim.is_some() {
                    self.assumed_volumes.remove(&name);
                }
                let same = self.volumes.get(&name) == Some(&volume);
                self.volumes.insert(name, volume);
                !same
            }
            Kind::Class => set(&mut self.classes, name, class(&tree)),
            Kind::Node => set(&mut self.limits, name, limits(&tree)),
            Kind::Driver => match tree["spec"]["storageCapacity"] == true {
                true => self.drivers.insert(name),
                false => self.drivers.remove(&name),
            },
            Kind::Capacity => set(&mut self.capacities, object.key(), capacity(&tree)),
        };
        Ok(changed)
    }

    /// An object is gone.
    pub fn remove(&mut self, kind: Kind, key: &ObjectKey) {
        let name: &str = &key.name;
        match kind {
            Kind::Claim => {
                self.claims.remove(key);
                self.assumed_claims.remove(key);
            }
            Kind::Volume => {
                self.volumes.remove(name);
                self.assumed_volumes.remove(name);
            }
            Kind::Class => drop(self.classes.remove(name)),
            Kind::Node => drop(self.limits.remove(name)),
            Kind::Driver => drop(self.drivers.remove(name)),
            Kind::Capacity => drop(self.capacities.remove(key)),
        }
    }

    /// All of a kind are to be told anew.
    pub fn clear(&mut self, kind: Kind) {
        match kind {
            Kind::Claim => self.claims.clear(),
            Kind::Volume => self.volumes.clear(),
            Kind::Class => self.classes.clear(),
            Kind::Node => self.limits.clear(),
            Kind::Driver => self.drivers.clear(),
            Kind::Capacity => self.capacities.clear(),
        }
    }

    /// What a decision for a node means for claims without a volume; or why there is none for that node.
    ///
    /// # Errors
    /// Why.
    pub fn find(&self, claims: &[ObjectKey], node: &Node) -> Result<Bindings, Vec<Conflict>> {
        let (mut conflicts, mut bindings) = (Vec::new(), Bindings::default());
        let mut open: Vec<(&ObjectKey, &Claim)> = Vec::new();
        for (key, claim) in claims.iter().filter_map(|key| Some((key, self.claims.get(key)?))) {
            if !claim.bound {
                open.push((key, claim));
                continue;
            }
            match self.volume_of(claim) {
                None => conflicts.push(Conflict::Missing),
                Some(volume) if !volume.admits(node) => conflicts.push(Conflict::Affinity),
                Some(_) => {}
            }
        }
        conflicts.truncate(1);
        // The smallest claims take the smallest volumes.
        open.sort_by_key(|(_, claim)| claim.requested);
        for (key, claim) in open {
            let selected =
                self.assumed_claims.get(key).map(|node| &**node).or(claim.selected_node.as_deref());
            if selected.is_some_and(|one| *one != *node.name) {
                conflicts.push(Conflict::NoVolume);
                return Err(conflicts);
            }
            if selected.is_none()
                && let Some(volume) = self.matching(key, claim, node, &bindings)
            {
                bindings.bind.push((key.clone(), volume));
                continue;
            }
            match self.provisions(claim, node) {
                Ok(()) => bindings.provision.push(key.clone()),
                Err(conflict) if conflicts.contains(&conflict) => {}
                Err(conflict) => conflicts.push(conflict),
            }
        }
        if conflicts.is_empty() { Ok(bindings) } else { Err(conflicts) }
    }

    /// Whether claims rule out no node, whatever else there is: volumes that every node can use, or that are yet to be
    /// provisioned by somebody who can do so for every node and counts nothing.
    pub fn are_everywhere(&self, claims: &[ObjectKey]) -> bool {
        claims.iter().all(|key| {
            let Some(claim) = self.claims.get(key).filter(|claim| !claim.is_of_one_pod()) else {
                return false;
            };
            let driver = match self.volume_of(claim).filter(|_| claim.bound) {
                Some(volume) => {
                    let zoned = ZONES.iter().any(|key| volume.labels.contains_key(*key));
                    if volume.affinity.is_some() || zoned {
                        return false;
                    }
                    volume.csi().map(|(driver, _)| driver)
                }
                None if claim.bound || !self.comes_everywhere(key, claim) => return false,
                None => self.driver_of(claim),
            };
            driver.is_none_or(|driver| !self.limits.values().any(|one| one.contains_key(driver)))
        })
    }

    /// Whether a claim without a volume gets one on whatever node its pod goes to.
    fn comes_everywhere(&self, key: &ObjectKey, claim: &Claim) -> bool {
        let chosen = claim.selected_node.is_some() || self.assumed_claims.contains_key(key);
        let class = self.classes.get(&claim.class).filter(|class| {
            let provisions = !class.provisioner.is_empty() && *class.provisioner != *NO_PROVISIONER;
            provisions && class.delays && class.topologies.is_empty()
        });
        let could_have = |volume: &Volume| match &volume.claim {
            Some((of, _)) => of == key,
            None => volume.class == claim.class,
        };
        !chosen
            && claim.volume.is_empty()
            && class.is_some_and(|class| !self.drivers.contains(&class.provisioner))
            && !self.volumes.values().any(could_have)
            && !self.assumed_volumes.values().any(|of| of == key)
    }

    /// The smallest volume that a claim can have on a node; one that is meant for it comes first.
    fn matching(&self, key: &ObjectKey, claim: &Claim, node: &Node, taken: &Bindings) -> Option<Box<str>> {
        let mut best: Option<(&Box<str>, i64)> = None;
        let taken = |name: &str| taken.bind.iter().any(|(_, one)| **one == *name);
        for (name, volume) in self.volumes.iter().filter(|(name, _)| !taken(name)) {
            let meant =
                |(of, uid): &(ObjectKey, Box<str>)| of == key && (uid.is_empty() || *uid == claim.uid);
            if self.assumed_volumes.get(name) == Some(key) || volume.claim.as_ref().is_some_and(meant) {
                return volume.admits(node).then(|| name.clone());
            }
            let fits = volume.class == claim.class
                && volume.capacity >= claim.requested
                && volume.block == claim.block
                && !volume.deleting
                && volume.attributes_class == claim.attributes_class;
            let free = volume.claim.is_none() && !self.assumed_volumes.contains_key(name);
            if !fits || !free || !volume.admits(node) {
                continue;
            }
            let selected = claim.selector.as_ref().is_none_or(|selector| {
                selector.matches(|label| volume.labels.get(label).map(|value| &**value))
            });
            if volume.available
                && selected
                && claim.modes.is_subset(&volume.modes)
                && best.is_none_or(|(_, size)| volume.capacity < size)
            {
                best = Some((name, volume.capacity));
            }
        }
        best.map(|(name, _)| name.clone())
    }

    /// Whether a claim's volume can be provisioned for a node.
    fn provisions(&self, claim: &Claim, node: &Node) -> Result<(), Conflict> {
        let class = self.classes.get(&claim.class).ok_or(Conflict::NoVolume)?;
        let here = class.topologies.is_empty() || class.topologies.iter().any(|term| node.meets(term));
        if class.provisioner.is_empty() || *class.provisioner == *NO_PROVISIONER || !here {
            return Err(Conflict::NoVolume);
        }
        if !self.drivers.contains(&class.provisioner) {
            return Ok(());
        }
        let enough = self.capacities.values().any(|one| {
            one.class == claim.class
                && one.limit.is_some_and(|limit| limit >= claim.requested)
                && one.nodes.matches(|key| node.label(key))
        });
        if enough { Ok(()) } else { Err(Conflict::Space) }
    }

    /// It is decided.
    pub fn assume(&mut self, bindings: &Bindings, node: &Arc<str>) {
        for (claim, volume) in &bindings.bind {
            self.assumed_volumes.insert(volume.clone(), claim.clone());
        }
        for claim in &bindings.provision {
            self.assumed_claims.insert(claim.clone(), node.clone());
        }
    }

    /// It is not decided after all.
    pub fn forget(&mut self, bindings: &Bindings) {
        for (_, volume) in &bindings.bind {
            self.assumed_volumes.remove(volume);
        }
        for claim in &bindings.provision {
            self.assumed_claims.remove(claim);
        }
    }

    /// Whether all claims of a decision have their volumes; none while they may yet get them.
    pub fn outcome(&self, bindings: &Bindings, node: &str) -> Option<Result<(), String>> {
        let mut all = true;
        for key in bindings.claims() {
            let Some(claim) = self.claims.get(key) else {
                return Some(Err(format!("persistentvolumeclaim {:?} not found", key.name)));
            };
            all &= claim.bound;
            let provisions = bindings.provision.contains(key) && !self.assumed_claims.contains_key(key);
            if provisions && !claim.bound && claim.selected_node.as_deref() != Some(node) {
                return Some(Err(format!("provisioning failed for PVC {:?}", key.name)));
            }
        }
        all.then_some(Ok(()))
    }

    /// The driver that is to provision a claim's volume.
    pub fn driver_of(&self, claim: &Claim) -> Option<&str> {
        let class = self.classes.get(&claim.class)?;
        (*class.provisioner != *NO_PROVISIONER).then_some(&*class.provisioner)
    }

    /// How many volumes of a driver a node can have.
    pub fn limit(&self, node: &str, driver: &str) -> Option<i64> {
        self.limits.get(node)?.get(driver).copied()
    }
}

impl Volume {
    /// Whether it can be used on a node.
    fn admits(&self, node: &Node) -> bool {
        self.affinity.as_ref().is_none_or(|selector| node.is_selected(selector))
    }

    /// Whether a node is in the zone and the region that its labels name.
    pub fn is_in_zone_of(&self, node: &Node) -> bool {
        if ZONES.iter().all(|key| node.label(key).is_none()) {
            return true;
        }
        ZONES.iter().filter_map(|key| Some((key, self.labels.get(*key)?))).all(|(key, zones)| {
            let other = key.replace("failure-domain.beta.", "topology.");
            let own = node.label(key).or_else(|| node.label(&other));
            own.is_some_and(|own| zones.split("__").any(|zone| zone == own))
        })
    }

    /// Name of the CSI driver and what it calls the volume.
    pub fn csi(&self) -> Option<(&str, &str)> {
        self.csi.as_ref().map(|(driver, handle)| (&**driver, &**handle))
    }
}

fn text(value: &Value) -> Box<str> {
    value.as_str().unwrap_or_default().into()
}

fn texts(value: &Value) -> BTreeSet<Box<str>> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn bytes(value: &Value) -> i64 {
    let quantity: Option<Quantity> = value.as_str().and_then(|text| text.parse().ok());
    quantity.map_or(0, |quantity| quantity.value())
}

fn claim(object: &Object, tree: &Value) -> Claim {
    let (spec, status) = (&tree["spec"], &tree["status"]);
    let annotations = &tree["metadata"]["annotations"];
    let volume = text(&spec["volumeName"]);
    let class = match annotations["volume.beta.kubernetes.io/storage-class"].as_str() {
        Some(class) => class.into(),
        None => text(&spec["storageClassName"]),
    };
    Claim {
        uid: object.uid().into(),
        bound: !volume.is_empty() && annotations[BIND_COMPLETED].is_string(),
        volume,
        lost: status["phase"] == "Lost",
        deleting: object.deleting(),
        class,
        selected_node: annotations[SELECTED_NODE].as_str().map(Into::into),
        owner: object.controller().filter(|one| one.kind == "Pod").map(|one| one.uid.into()),
        modes: texts(&spec["accessModes"]),
        requested: bytes(&spec["resources"]["requests"]["storage"]),
        selector: (!spec["selector"].is_null()).then(|| {
            LabelSelector::from_value(&spec["selector"]).unwrap_or_else(|_| LabelSelector::nothing())
        }),
        block: spec["volumeMode"] == "Block",
        attributes_class: text(&spec["volumeAttributesClassName"]),
    }
}

fn volume(object: &Object, tree: &Value) -> Result<Volume, serde_json::Error> {
    let spec = &tree["spec"];
    let required = &spec["nodeAffinity"]["required"];
    let affinity = match required.is_null() {
        true => None,
        false => Some(NodeSelector::deserialize(required)?),
    };
    let reference = &spec["claimRef"];
    let claim = reference.is_object().then(|| {
        let key = ObjectKey::new(&text(&reference["namespace"]), &text(&reference["name"]));
        (key, text(&reference["uid"]))
    });
    let csi = &spec["csi"];
    Ok(Volume {
        affinity,
        claim,
        class: text(&spec["storageClassName"]),
        modes: texts(&spec["accessModes"]),
        capacity: bytes(&spec["capacity"]["storage"]),
        labels: object.labels().map(|(key, value)| (key.into(), value.into())).collect(),
        block: spec["volumeMode"] == "Block",
        available: tree["status"]["phase"] == "Available",
        deleting: object.deleting(),
        attributes_class: text(&spec["volumeAttributesClassName"]),
        csi: csi.is_object().then(|| (text(&csi["driver"]), text(&csi["volumeHandle"]))),
    })
}

fn class(tree: &Value) -> Class {
    let terms = tree["allowedTopologies"].as_array().into_iter().flatten().map(|term| {
        let expressions = term["matchLabelExpressions"].as_array().into_iter().flatten();
        let requirements: Option<Vec<_>> = expressions
            .map(|one| {
                let values = texts(&one["values"]).iter().map(|value| value.to_string()).collect();
                let operator = gifee_base::labels::Operator::In;
                gifee_base::labels::Requirement::new(&text(&one["key"]), operator, values).ok()
            })
            .collect();
        Term { valid: requirements.is_some(), labels: requirements.unwrap_or_default(), fields: Vec::new() }
    });
    Class {
        provisioner: text(&tree["provisioner"]),
        delays: tree["volumeBindingMode"] == "WaitForFirstConsumer",
        topologies: terms.collect(),
    }
}

fn limits(tree: &Value) -> BTreeMap<Box<str>, i64> {
    let drivers = tree["spec"]["drivers"].as_array().into_iter().flatten();
    drivers.filter_map(|one| Some((text(&one["name"]), one["allocatable"]["count"].as_i64()?))).collect()
}

fn capacity(tree: &Value) -> Capacity {
    let size = |field: &str| tree[field].as_str().map(|_| bytes(&tree[field]));
    Capacity {
        class: text(&tree["storageClassName"]),
        nodes: LabelSelector::from_value(&tree["nodeTopology"]).unwrap_or_else(|_| LabelSelector::nothing()),
        limit: size("maximumVolumeSize").or_else(|| size("capacity")),
    }
}
