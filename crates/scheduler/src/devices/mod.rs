//! Devices: who has which, and who could.
//!
//! Invariants: what was decided and is not yet in the API counts as if it were, until the API says so or the write has failed;
//! a device that is not shared has at most one claim. Answers to the claim tracker, the allocated devices and the assume
//! cache of upstream's DynamicResources.

pub mod allocate;
mod capacity;
mod constrain;
pub mod object;
mod pools;
mod result;
mod select;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::plugins::Text;
use crate::pod::{Meant, Pod, Template};
use allocate::Failure;
use gifee_base::{Object, ObjectKey};
use object::{Allocation, Claim, Class, Counters, Id, Slice, Taint, list};
use pools::Slices;
use select::Selections;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Keeps an allocated claim from going away.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// So many may use a claim at the same time.
pub const RESERVED_MAXIMUM: usize = 256;
const CANNOT: &str = "cannot allocate all claims";
/// Why a node is out of question for a claim that has its devices.
pub const ELSEWHERE: &str = "resourceclaim not available on the node";

/// A kind of object that is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ResourceClaim
    Claim,
    /// DeviceClass
    Class,
    /// ResourceSlice
    Slice,
    /// DeviceTaintRule
    Rule,
}

/// What a change of an object means for pods that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// A claim is new, or its status has changed.
    Claim(ObjectKey),
    /// A claim has lost its devices.
    Freed,
    /// There may be other devices.
    Supply,
}

/// A rule that taints devices.
#[derive(Debug, PartialEq)]
struct Rule {
    driver: Option<Box<str>>,
    pool: Option<Box<str>>,
    device: Option<Box<str>>,
    taint: Taint,
}

/// What is to be written of a claim before its pod is bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// The claim.
    pub key: ObjectKey,
    /// The claim as it was.
    pub claim: Arc<Claim>,
    /// The devices that it is to have, if it has none yet.
    pub allocation: Option<Arc<Allocation>>,
}

/// What was decided of a claim.
#[derive(Debug)]
struct Assumed {
    uid: Box<str>,
    allocation: Arc<Allocation>,
    /// The revision of the claim with it, once it is written.
    written: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Devices {
    claims: HashMap<ObjectKey, Arc<Claim>>,
    classes: HashMap<Box<str>, Class>,
    slices: Slices,
    rules: HashMap<Box<str>, Rule>,
    assumed: HashMap<ObjectKey, Assumed>,
    /// What claims have, as it is counted below.
    counted: HashMap<ObjectKey, Arc<Allocation>>,
    /// Devices that one claim has for itself, and by how many results.
    taken: HashMap<Id, usize>,
    /// What is taken of devices that are shared, and by how many results.
    shares: HashMap<Id, Counters>,
    sharers: HashMap<Id, usize>,
    selections: Selections,
    /// The number that the next device gets.
    numbers: u64,
    version: u64,
    /// Kinds that are not known yet, as bits.
    pub unknown: u8,
    /// What the last search found wrong with a claim or a class.
    failure: RefCell<Option<String>>,
}

impl Devices {
    /// Differs after each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether somebody has a device, for itself or a share of it.
    fn is_taken(&self, id: &Id) -> bool {
        self.taken.contains_key(id) || self.sharers.contains_key(id)
    }

    /// An object is new or changed.
    ///
    /// # Errors
    /// If the bytes are no such object.
    pub fn put(&mut self, kind: Kind, object: &Object) -> Result<Change, serde_json::Error> {
        let change = match kind {
            Kind::Claim => self.put_claim(object.key(), Claim::decode(object)?),
            Kind::Class => {
                self.classes.insert(object.name().into(), Class::decode(object)?);
                Change::Supply
            }
            Kind::Slice => {
                let mut slice = Slice::decode(object, self.numbers)?;
                self.numbers += slice.devices.len() as u64;
                taint(&mut slice, &self.rules);
                self.slices.put(slice);
                Change::Supply
            }
            Kind::Rule => {
                self.rules.insert(object.name().into(), rule(object)?);
                self.taint_all();
                Change::Supply
            }
        };
        self.version += u64::from(change != Change::None);
        Ok(change)
    }

    fn put_claim(&mut self, key: ObjectKey, claim: Claim) -> Change {
        let assumed = self.assumed.get(&key);
        let settled = assumed.is_some_and(|one| {
            one.uid != claim.uid
                || claim.allocation.is_some()
                || one.written.is_some_and(|written| claim.revision >= written)
        });
        if settled {
            self.assumed.remove(&key);
        }
        let claim = Arc::new(claim);
        let old = self.claims.insert(key.clone(), claim.clone());
        let had = self.counted.contains_key(&key);
        self.count(&key);
        // Its revision and who else looks after it are nothing to pods.
        let known = |one: &Claim| Claim { revision: 0, finalizers: Vec::new(), ..one.clone() };
        let same = |old: &Arc<Claim>| known(old) == known(&claim);
        match old {
            _ if had && !self.counted.contains_key(&key) => Change::Freed,
            Some(old) if same(&old) => Change::None,
            _ => Change::Claim(key),
        }
    }

    /// An object is gone.
    pub fn remove(&mut self, kind: Kind, key: &ObjectKey) -> Change {
        self.version += 1;
        match kind {
            Kind::Claim => {
                self.claims.remove(key);
                self.assumed.remove(key);
                let had = self.counted.contains_key(key);
                self.count(key);
                if had { Change::Freed } else { Change::Claim(key.clone()) }
            }
            Kind::Class => {
                self.classes.remove(&*key.name);
                Change::None
            }
            Kind::Slice => {
                self.slices.remove(&key.name);
                Change::Supply
            }
            Kind::Rule => {
                self.rules.remove(&*key.name);
                self.taint_all();
                Change::Supply
            }
        }
    }

    /// These are all objects of a kind; others are gone.
    pub fn retain(&mut self, kind: Kind, keys: &[ObjectKey]) {
        let gone: Vec<ObjectKey> = match kind {
            Kind::Claim => self.claims.keys().filter(|key| !keys.contains(key)).cloned().collect(),
            Kind::Class => cluster_keys(self.classes.keys(), keys),
            Kind::Slice => {
                let names: Vec<Box<str>> = self.slices.all().map(|slice| slice.name.clone()).collect();
                cluster_keys(names.iter(), keys)
            }
            Kind::Rule => cluster_keys(self.rules.keys(), keys),
        };
        for key in gone {
            self.remove(kind, &key);
        }
    }

    /// Puts the taints that rules make on all devices again.
    fn taint_all(&mut self) {
        let slices: Vec<Slice> = self.slices.all().cloned().collect();
        for mut slice in slices {
            slice.devices.iter_mut().for_each(|device| device.taints.truncate(device.own_taints));
            taint(&mut slice, &self.rules);
            self.slices.put(slice);
        }
    }

    /// Counts what a claim has, in place of what it had.
    fn count(&mut self, key: &ObjectKey) {
        let own = self.claims.get(key).and_then(|claim| claim.allocation.clone());
        let new = own.or_else(|| self.assumed.get(key).map(|one| one.allocation.clone()));
        if let Some(old) = self.counted.remove(key) {
            old.taken.iter().for_each(|one| self.tally(one, false));
        }
        if let Some(new) = new {
            new.taken.iter().for_each(|one| self.tally(one, true));
            self.counted.insert(key.clone(), new);
        }
    }

    fn tally(&mut self, one: &object::Taken, more: bool) {
        if one.admin {
            return;
        }
        let counts = if one.shared { &mut self.sharers } else { &mut self.taken };
        let count = counts.entry(one.id.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            counts.remove(&one.id);
        }
        if !one.shared {
            return;
        }
        let sums = self.shares.entry(one.id.clone()).or_default();
        for (name, amount) in &one.consumed {
            let sum = sums.entry(name.clone()).or_default();
            *sum = if more { sum.plus(*amount) } else { sum.minus(*amount) };
        }
        if !self.sharers.contains_key(&one.id) {
            self.shares.remove(&one.id);
        }
    }

    /// Why a pod cannot even be tried: a claim of its own is not there.
    pub fn missing(&self, pod: &Pod) -> Option<Text> {
        if self.unknown != 0 && !pod.template.devices.is_empty() {
            return Some("waiting for resource claims to be known".into());
        }
        for one in &pod.template.devices {
            let (name, made) = match &one.claim {
                Meant::Named(name) => (name, false),
                Meant::Made(name) => (name, true),
                Meant::Nothing => continue,
                Meant::NotYet => {
                    return Some(
                        format!("pod {:?}: ResourceClaim not created yet", pod.key.to_string()).into(),
                    );
                }
            };
            let key = ObjectKey::new(&pod.key.namespace, name);
            let Some(claim) = self.claims.get(&key) else {
                return Some(format!("could not find ResourceClaim {:?}", key.to_string()).into());
            };
            if claim.deleting {
                return Some(format!("resourceclaim {name:?} is being deleted").into());
            }
            if made && claim.owner.as_deref() != Some(&*pod.uid) {
                let why =
                    format!("ResourceClaim {key} was not created for pod {} (pod is not owner)", pod.key);
                return Some(why.into());
            }
        }
        None
    }

    /// Why no node at all comes into question for a pod.
    pub fn refusal(&self, pod: &Pod) -> Option<Text> {
        if let Some(why) = self.missing(pod) {
            return Some(why);
        }
        for (key, claim) in self.of(&pod.template) {
            if self.counted.contains_key(&key) {
                let full = claim.reserved.len() >= RESERVED_MAXIMUM && !claim.is_reserved_for(&pod.uid);
                if full {
                    return Some("resourceclaim in use".into());
                }
                if self.assumed.get(&key).is_some_and(|one| one.written.is_none()) {
                    let why = format!("resource claim {key} is in the process of being allocated");
                    return Some(why.into());
                }
                continue;
            }
            for alternative in claim.requests.iter().flat_map(|request| &request.alternatives) {
                if !self.classes.contains_key(&alternative.class) {
                    let (name, class) = (&alternative.name, &alternative.class);
                    return Some(format!("request {name}: device class {class} does not exist").into());
                }
            }
        }
        None
    }

    /// The claims of a pod.
    fn of(&self, template: &Template) -> Vec<(ObjectKey, &Arc<Claim>)> {
        let keys = template.device_claims();
        keys.filter_map(|key| self.claims.get(&key).map(|claim| (key, claim))).collect()
    }

    /// How a pod sees nodes.
    pub fn search(&self, template: &Template) -> Search<'_> {
        let (mut allocated, mut open) = (Vec::new(), Vec::new());
        for (key, claim) in self.of(template) {
            match self.counted.get(&key) {
                Some(allocation) => allocated.push(&**allocation),
                None => open.push((key, &**claim)),
            }
        }
        Search { devices: self, allocated, open }
    }

    /// What is to be written of a pod's claims where it goes; what it gets is counted from now on.
    pub fn reserve(&mut self, pod: &Pod, node: &Node) -> Vec<Reservation> {
        let search = self.search(&pod.template);
        let solution = search.solve(node).unwrap_or_default();
        let mut found: HashMap<ObjectKey, Arc<Allocation>> = HashMap::new();
        for ((key, claim), chosen) in search.open.iter().zip(&solution) {
            let tree = result::tree(self, claim, chosen, node);
            if let Ok(allocation) = Allocation::decode(tree) {
                found.insert(key.clone(), Arc::new(allocation));
            }
        }
        let claims = self.of(&pod.template).into_iter().filter(|(_, claim)| !claim.is_reserved_for(&pod.uid));
        let reservations: Vec<Reservation> = claims
            .map(|(key, claim)| Reservation {
                allocation: found.get(&key).cloned(),
                claim: claim.clone(),
                key,
            })
            .collect();
        for (key, allocation) in found {
            let uid = self.claims.get(&key).map(|claim| claim.uid.clone()).unwrap_or_default();
            self.assumed.insert(key.clone(), Assumed { uid, allocation, written: None });
            self.count(&key);
        }
        self.version += 1;
        reservations
    }

    /// What a reservation gives a claim is written, and the claim has this revision.
    pub fn written(&mut self, reservation: &Reservation, revision: u64) {
        let key = &reservation.key;
        if let Some(assumed) = self.assumed.get_mut(key).filter(|one| one.uid == reservation.claim.uid) {
            assumed.written = Some(revision);
        }
        if self.claims.get(key).is_none_or(|claim| claim.revision >= revision) {
            self.assumed.remove(key);
            self.count(key);
        }
        self.version += 1;
    }

    /// What reservations give claims will not be written; whether that frees devices.
    pub fn forget(&mut self, reservations: &[Reservation]) -> bool {
        let mut freed = false;
        for one in reservations.iter().filter(|one| one.allocation.is_some()) {
            let mine = |assumed: &Assumed| {
                assumed.written.is_none()
                    && one.allocation.as_ref().is_some_and(|own| Arc::ptr_eq(own, &assumed.allocation))
            };
            if self.assumed.get(&one.key).is_some_and(mine) {
                self.assumed.remove(&one.key);
                self.count(&one.key);
                freed = true;
            }
        }
        self.version += u64::from(freed);
        freed
    }

    /// A claim of a pod that keeps it from nodes and that nobody else uses: it could have other devices.
    pub fn idle(&self, pod: &Pod, cluster: &Cluster) -> Option<Reservation> {
        let found = self.of(&pod.template).into_iter().find(|(key, claim)| {
            let nodes = claim.allocation.as_ref().and_then(|one| one.nodes.as_ref());
            let elsewhere = nodes.is_some_and(|terms| {
                let admits = |node: &Node| node.is_selected(terms);
                cluster.known().iter().any(|index| !admits(cluster.node(*index)))
            });
            let unused = claim.reserved.iter().all(|one| one["uid"] == *pod.uid);
            elsewhere && unused && !self.assumed.contains_key(key)
        });
        found.map(|(key, claim)| Reservation { key, claim: claim.clone(), allocation: None })
    }

    /// What the last search found wrong with a claim or a class.
    pub fn take_failure(&self) -> Option<String> {
        self.failure.take()
    }

    /// A claim, if there is one.
    pub fn claim(&self, key: &ObjectKey) -> Option<&Arc<Claim>> {
        self.claims.get(key)
    }

    /// Who has how many devices for itself; for tests.
    #[cfg(test)]
    pub fn holders(&self) -> impl Iterator<Item = (&Id, usize)> {
        self.taken.iter().map(|(id, count)| (id, *count))
    }
}

/// A pod's claims, while nodes are asked.
#[derive(Debug)]
pub struct Search<'a> {
    devices: &'a Devices,
    /// What claims have already.
    allocated: Vec<&'a Allocation>,
    /// Claims that need devices.
    open: Vec<(ObjectKey, &'a Claim)>,
}

impl Search<'_> {
    fn solve(&self, node: &Node) -> Result<allocate::Solution<'_>, Failure> {
        if self.open.is_empty() {
            return Ok(Vec::new());
        }
        allocate::find(self.devices, &self.open, node)
    }

    /// Why the claims keep the pod from a node.
    ///
    /// # Errors
    /// Why.
    pub fn check(&self, node: &Node) -> Result<(), Text> {
        match self.solve(node) {
            Ok(_) => {}
            Err(Failure::Node(why)) => return Err(why),
            Err(Failure::Claim(why)) => {
                self.devices.failure.borrow_mut().get_or_insert(why);
                return Err(CANNOT.into());
            }
        }
        let admits = |allocation: &Allocation| {
            allocation.nodes.as_ref().is_none_or(|selector| node.is_selected(selector))
        };
        match self.allocated.iter().all(|one| admits(one)) {
            true => Ok(()),
            false => Err(ELSEWHERE.into()),
        }
    }

    /// Whether nodes differ in how good a way of satisfying a request they allow.
    pub fn is_ranked(&self) -> bool {
        self.open.iter().any(|(_, claim)| claim.requests.iter().any(|request| request.ranked))
    }

    /// The better the alternatives that a node allows, the higher.
    pub fn score(&self, node: &Node) -> i64 {
        let Ok(solution) = self.solve(node) else { return 0 };
        let mut score = 0;
        for ((_, claim), chosen) in self.open.iter().zip(&solution) {
            for (number, _) in claim.requests.iter().enumerate().filter(|(_, request)| request.ranked) {
                let first = chosen.iter().find(|one| one.request == number);
                let place = first.map_or(object::ALTERNATIVES_MAXIMUM, |one| one.alternative);
                score += i64::try_from(object::ALTERNATIVES_MAXIMUM - place).unwrap_or_default();
            }
        }
        score
    }
}

fn rule(object: &Object) -> Result<Rule, serde_json::Error> {
    let tree: Value = serde_json::from_slice(object.raw())?;
    let selector = &tree["spec"]["deviceSelector"];
    let part = |name: &str| selector[name].as_str().map(Into::into);
    let taint = Taint::decode(&tree["spec"]["taint"]);
    Ok(Rule { driver: part("driver"), pool: part("pool"), device: part("device"), taint })
}

fn taint(slice: &mut Slice, rules: &HashMap<Box<str>, Rule>) {
    for device in &mut slice.devices {
        let is = |wanted: &Option<Box<str>>, own: &str| wanted.as_deref().is_none_or(|one| one == own);
        let id = device.id.clone();
        let selects = |rule: &&Rule| {
            is(&rule.driver, &id.driver) && is(&rule.pool, &id.pool) && is(&rule.device, &id.device)
        };
        device.taints.extend(rules.values().filter(selects).map(|rule| rule.taint.clone()));
    }
}

fn cluster_keys<'a>(names: impl Iterator<Item = &'a Box<str>>, keys: &[ObjectKey]) -> Vec<ObjectKey> {
    let gone = names.filter(|name| keys.iter().all(|key| *key.name != ***name));
    gone.map(|name| ObjectKey::cluster(name)).collect()
}

/// Conditions of a claim's devices that must come true before its pod is bound: whether they have; none while they may yet.
pub fn outcome(claim: &Claim) -> Option<Result<(), String>> {
    let allocation = claim.allocation.as_ref()?;
    let mut all = true;
    for result in list(&allocation.tree["devices"]["results"]) {
        let same = |one: &&Value| ["driver", "pool", "device"].iter().all(|part| one[*part] == result[*part]);
        let status = list(&claim.devices).find(same);
        let is_true = |kind: &Value| {
            let conditions = status.into_iter().flat_map(|one| list(&one["conditions"]));
            conditions.into_iter().any(|one| one["type"] == *kind && one["status"] == "True")
        };
        if let Some(failed) = list(&result["bindingFailureConditions"]).find(|kind| is_true(kind)) {
            let name = failed.as_str().unwrap_or_default();
            return Some(Err(format!("device binding conditions failed: {name}")));
        }
        all &= list(&result["bindingConditions"]).all(is_true);
    }
    all.then_some(Ok(()))
}
