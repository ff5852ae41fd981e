//! The nodes as pods that ask for the same see them: kept from one decision to the next, so that a decision costs
//! what has changed since the last one and not the number of nodes.
//!
//! Nodes that scores and filters cannot tell apart but by the node itself are one class: same domains, or same counts
//! where every domain is a node, and same scores before scaling. A decision asks once per class, and takes the best
//! node of the best class. Invariant: it is the decision that asking for every node would come to.

use crate::cluster::Cluster;
use crate::placement::{
    Diagnosis, Group, Placement, Raw, Rejection, Scores, View, ahead, compare, prepare, reject, reject_alone,
};
use crate::plugins::{PLUGINS, Set};
use crate::pod::{Pod, Shape, Template};
use crate::preemption::Trials;
use crate::profile::Profile;
use crate::relations::{Relations, Role};
use crate::terms::{Spread, Terms};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What tells a class from others.
type ClassKey = SmallVec<[i64; 6]>;
/// Stands for a node without a domain among counts.
const NOWHERE: i64 = i64::MIN;
/// Of a node that is not known.
const UNKNOWN: u32 = 0;
/// Of a node that fits by itself; the rejections come after.
const FITS: u32 = 1;

#[derive(Clone, Debug, Default)]
struct Slot {
    verdict: u32,
    score: i64,
    raw: Raw,
    class: Option<u32>,
    /// Where it stands among those of its class with its score.
    at: u32,
}

#[derive(Debug, Default)]
struct Class {
    key: ClassKey,
    /// Slots by score.
    nodes: BTreeMap<i64, Vec<u32>>,
    count: usize,
}

/// What pods must have in common to see nodes alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    profile: Arc<str>,
    shape: Arc<Shape>,
    terms: Arc<Terms>,
    namespace: Arc<str>,
    /// The labels that somebody selects by.
    labels: Vec<(Box<str>, Box<str>)>,
    spread: Arc<[Spread]>,
}

impl Key {
    /// Of a template under constraints.
    pub fn of(cluster: &Cluster, profile: &Profile, template: &Template, spread: &Arc<[Spread]>) -> Self {
        let own: HashSet<&str> = template.terms.keys().chain(spread.iter().flat_map(Spread::keys)).collect();
        let selects = |key: &str| own.contains(key) || cluster.selecting().contains(key);
        let labels = template.labels.iter().filter(|(key, _)| selects(key));
        Self {
            profile: profile.name.clone(),
            shape: template.shape.clone(),
            terms: template.terms.clone(),
            namespace: template.namespace.clone(),
            labels: labels.cloned().collect(),
            spread: spread.clone(),
        }
    }
}

/// The nodes as seen.
#[derive(Debug)]
pub struct Ranking {
    /// Counts of what is placed.
    pub relations: Relations,
    template: Arc<Template>,
    /// The only nodes that come into question, if plugins name them.
    only: Option<Vec<usize>>,
    slots: Vec<Slot>,
    classes: Vec<Class>,
    unused: Vec<u32>,
    by_key: HashMap<ClassKey, u32>,
    rejections: Vec<Rejection>,
    /// How many nodes have each verdict.
    verdicts: Vec<usize>,
    scaled: SmallVec<[usize; 2]>,
    /// Topologies that classes differ by, and whether by counts.
    topologies: Vec<(usize, bool)>,
    at: u64,
    fingerprint: u64,
    /// Of the last decision: classes that were rejected, and why.
    refused: Vec<(u32, Rejection)>,
    /// Who could leave nodes for such pods.
    pub trials: Trials,
    /// Nodes that were seen as only the pod that is to have them sees them.
    own: Vec<usize>,
}

impl Ranking {
    /// Looks at all nodes, or only at some.
    pub fn new(
        cluster: &mut Cluster,
        profile: &Profile,
        pod: &Pod,
        spread: Arc<[Spread]>,
        only: Option<Vec<usize>>,
    ) -> Self {
        let mut ranking = Self {
            relations: Relations::count(cluster, profile, &pod.template, spread),
            template: pod.template.clone(),
            only,
            slots: Vec::new(),
            classes: Vec::new(),
            unused: Vec::new(),
            by_key: HashMap::new(),
            rejections: Vec::new(),
            verdicts: vec![0; 2],
            scaled: SmallVec::new(),
            topologies: Vec::new(),
            at: cluster.journal().end(),
            fingerprint: fingerprint(cluster, &pod.template),
            refused: Vec::new(),
            trials: Trials::default(),
            own: Vec::new(),
        };
        ranking.topologies = ranking.told_apart_by(cluster);
        let all = ranking.only.clone().unwrap_or_else(|| cluster.known().to_vec());
        ranking.look(cluster, profile, pod, &all);
        ranking
    }

    /// How many nodes it keeps something of.
    pub fn size(&self) -> usize {
        self.slots.len()
    }

    /// Learns what has changed.
    pub fn catch_up(&mut self, cluster: &mut Cluster, profile: &Profile, pod: &Pod) {
        let lost = cluster.journal().since(self.at).is_none();
        if lost || self.fingerprint != fingerprint(cluster, &pod.template) {
            let (spread, only) = (self.relations.spread.clone(), self.only.take());
            *self = Self::new(cluster, profile, pod, spread, only);
            return;
        }
        let mut changed: Vec<usize> =
            cluster.journal().since(self.at).into_iter().flatten().map(|one| one.node).collect();
        self.at = cluster.journal().end();
        // What a pod is to have itself does not stand in its way, but in that of others.
        changed.append(&mut self.own);
        changed.extend(pod.nominated.as_deref().and_then(|name| cluster.find(name)));
        changed.sort_unstable();
        changed.dedup();
        let mut all = false;
        if self.relations.holds(cluster) {
            all |= self.relations.catch_up(cluster, profile, &self.template.clone());
        }
        if !self.relations.holds(cluster) {
            let spread = self.relations.spread.clone();
            self.relations = Relations::count(cluster, profile, &self.template, spread);
            all = !(self.topologies.is_empty() && self.relations.is_empty());
        }
        if all {
            self.topologies = self.told_apart_by(cluster);
            let slots: Vec<usize> =
                (0..self.slots.len()).filter(|at| self.slots[*at].class.is_some()).collect();
            for slot in slots {
                let node = self.only.as_ref().map_or(slot, |only| only[slot]);
                self.classify(cluster, slot, node);
            }
        }
        self.look(cluster, profile, pod, &changed);
    }

    fn told_apart_by(&self, cluster: &Cluster) -> Vec<(usize, bool)> {
        let mut topologies: Vec<(usize, bool)> = Vec::new();
        for counter in &self.relations.counters {
            if topologies.iter().any(|(one, _)| *one == counter.topology) {
                continue;
            }
            let own = |number: usize| {
                let spread = &self.relations.spread[number];
                spread.hard || &*spread.topology == crate::relations::HOSTNAME
            };
            let here = self.relations.counters.iter().filter(|one| one.topology == counter.topology);
            // Where soft constraints ask how many domains there are, domains must be told apart.
            let mut by_counts = here.map(|one| match one.role {
                Role::Spread(number) => own(number),
                _ => true,
            });
            let by_counts =
                by_counts.all(|one| one) && cluster.topology(counter.topology).is_of_single_nodes();
            topologies.push((counter.topology, by_counts));
        }
        topologies
    }

    fn slot(&mut self, cluster: &Cluster, node: usize) -> Option<usize> {
        if let Some(only) = &self.only {
            self.slots.resize(only.len(), Slot::default());
            return only.iter().position(|one| *one == node);
        }
        if self.slots.len() < cluster.limit() {
            self.slots.resize(cluster.limit(), Slot::default());
        }
        Some(node)
    }

    /// Asks about nodes by themselves.
    fn look(&mut self, cluster: &Cluster, profile: &Profile, pod: &Pod, nodes: &[usize]) {
        let nowhere = Relations::default();
        let view = View { cluster, relations: &nowhere, profile, supposed: None };
        let filters = prepare(pod, &view, false);
        let scores = Scores::prepare(pod, &view);
        self.scaled.clone_from(&scores.scaled);
        for node in nodes {
            let Some(slot) = self.slot(cluster, *node) else { continue };
            if cluster.nominees(*node).iter().any(|(key, _)| *key == pod.key) {
                self.own.push(*node);
            }
            let verdict = match cluster.is_known(*node) {
                false => UNKNOWN,
                true => match reject_alone(pod, &view, &filters, *node) {
                    None => FITS,
                    Some(rejection) => self.verdict(rejection),
                },
            };
            let old = std::mem::replace(&mut self.slots[slot].verdict, verdict);
            self.verdicts[old as usize] = self.verdicts[old as usize].saturating_sub(1);
            self.verdicts[verdict as usize] += 1;
            self.leave(slot);
            if verdict == FITS {
                (self.slots[slot].score, self.slots[slot].raw) = scores.of(*node);
                self.classify(cluster, slot, *node);
            }
        }
    }

    fn verdict(&mut self, rejection: Rejection) -> u32 {
        let found = self.rejections.iter().position(|one| *one == rejection);
        let at = found.unwrap_or_else(|| {
            self.rejections.push(rejection);
            self.verdicts.push(0);
            self.rejections.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX - 2) + FITS + 1
    }

    fn leave(&mut self, slot: usize) {
        let Some(number) = self.slots[slot].class.take() else { return };
        let (score, at) = (self.slots[slot].score, self.slots[slot].at as usize);
        let class = &mut self.classes[number as usize];
        class.count -= 1;
        if let Some(nodes) = class.nodes.get_mut(&score) {
            nodes.swap_remove(at);
            match nodes.get(at) {
                Some(moved) => self.slots[*moved as usize].at = u32::try_from(at).unwrap_or(u32::MAX),
                None if nodes.is_empty() => drop(class.nodes.remove(&score)),
                None => {}
            }
        }
        if class.count == 0 {
            let key = std::mem::take(&mut class.key);
            self.by_key.remove(&key);
            self.unused.push(number);
        }
    }

    /// Puts a node that fits by itself into its class.
    fn classify(&mut self, cluster: &Cluster, slot: usize, node: usize) {
        self.leave(slot);
        let mut key: ClassKey = self.slots[slot].raw.iter().copied().collect();
        for (topology, by_counts) in &self.topologies {
            if !by_counts {
                key.push(i64::try_from(cluster.topology(*topology).domain(node)).unwrap_or(NOWHERE));
                continue;
            }
            let counters = self.relations.counters.iter().filter(|one| one.topology == *topology);
            key.extend(counters.map(|one| one.at(cluster, node).unwrap_or(NOWHERE)));
        }
        let number = match self.by_key.get(&key) {
            Some(number) => *number,
            None => {
                let number = self.unused.pop().unwrap_or_else(|| {
                    self.classes.push(Class::default());
                    u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
                });
                self.classes[number as usize].key.clone_from(&key);
                self.by_key.insert(key, number);
                number
            }
        };
        let class = &mut self.classes[number as usize];
        class.count += 1;
        let nodes = class.nodes.entry(self.slots[slot].score).or_default();
        self.slots[slot].at = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        self.slots[slot].class = Some(number);
        nodes.push(u32::try_from(slot).unwrap_or(u32::MAX));
    }

    fn node(&self, slot: u32) -> usize {
        self.only.as_ref().map_or(slot as usize, |only| only[slot as usize])
    }

    /// Finds the pod's place.
    pub fn choose(
        &mut self,
        cluster: &Cluster,
        profile: &Profile,
        pod: &Pod,
        random: &mut dyn FnMut() -> u64,
    ) -> Placement {
        let mut set_aside: Vec<(usize, Rejection)> = Vec::new();
        let outcome = loop {
            let Some(slot) = self.best(cluster, profile, pod, random) else { break None };
            let node = self.node(slot);
            match self.reject_among_nominees(cluster, profile, pod, node) {
                None => break Some(node),
                Some(rejection) => {
                    self.leave(slot as usize);
                    set_aside.push((slot as usize, rejection));
                }
            }
        };
        for (slot, _) in &set_aside {
            let node = self.node(u32::try_from(*slot).unwrap_or(u32::MAX));
            self.classify(cluster, *slot, node);
        }
        match outcome {
            Some(node) => Placement::Node(node),
            None => Placement::None(Box::new(self.diagnose(cluster, pod, &set_aside))),
        }
    }

    /// The slot of the best node; of several, one drawn by lot.
    fn best(
        &mut self,
        cluster: &Cluster,
        profile: &Profile,
        pod: &Pod,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<u32> {
        let totals = self.totals(cluster, profile, pod);
        let tops: Vec<(i64, &Vec<u32>)> = totals
            .into_iter()
            .filter_map(|(number, total)| {
                let (score, nodes) = self.classes[number].nodes.last_key_value()?;
                Some((score + total, nodes))
            })
            .collect();
        let highest = tops.iter().map(|(score, _)| *score).max()?;
        let equals = || tops.iter().filter(|(score, _)| *score == highest).map(|(_, nodes)| *nodes);
        let count: usize = equals().map(Vec::len).sum();
        let lot = if count > 1 { random() % count as u64 } else { 0 };
        equals().flatten().nth(usize::try_from(lot).unwrap_or_default()).copied()
    }

    /// All nodes that fit with their scores, and why others do not.
    pub fn all(&mut self, cluster: &Cluster, profile: &Profile, pod: &Pod) -> (Vec<(usize, i64)>, Diagnosis) {
        let mut fit: Vec<(usize, i64, u32)> = Vec::new();
        for (number, total) in self.totals(cluster, profile, pod) {
            let nodes = self.classes[number].nodes.iter();
            let scored =
                nodes.flat_map(|(score, slots)| slots.iter().map(move |slot| (*slot, score + total)));
            fit.extend(scored.map(|(slot, score)| (self.node(slot), score, slot)));
        }
        let mut set_aside: Vec<(usize, Rejection)> = Vec::new();
        fit.retain(|(node, _, slot)| match self.reject_among_nominees(cluster, profile, pod, *node) {
            None => true,
            Some(rejection) => {
                set_aside.push((*slot as usize, rejection));
                false
            }
        });
        let diagnosis = self.diagnose(cluster, pod, &set_aside);
        (fit.into_iter().map(|(node, score, _)| (node, score)).collect(), diagnosis)
    }

    /// Classes that fit, and what scores that compare nodes give to each.
    fn totals(&mut self, cluster: &Cluster, profile: &Profile, pod: &Pod) -> Vec<(usize, i64)> {
        let view = View { cluster, relations: &self.relations, profile, supposed: None };
        let filters = prepare(pod, &view, true);
        self.refused.clear();
        let (mut groups, mut numbers) = (Vec::new(), Vec::new());
        for (number, class) in self.classes.iter().enumerate().filter(|(_, class)| class.count > 0) {
            let Some(slot) = class.nodes.values().next().and_then(|nodes| nodes.first()) else { continue };
            let node = self.node(*slot);
            match reject(&filters, node) {
                Some(why) => self.refused.push((u32::try_from(number).unwrap_or(u32::MAX), why)),
                None => {
                    groups.push(Group {
                        node,
                        count: class.count,
                        raw: self.slots[*slot as usize].raw.clone(),
                    });
                    numbers.push(number);
                }
            }
        }
        let totals = match groups.as_slice() {
            [_] | [] => vec![0; groups.len()],
            _ => compare(pod, &view, &self.scaled, &groups),
        };
        numbers.into_iter().zip(totals).collect()
    }

    /// Whether a node is rejected once those that are to have room there are there.
    fn reject_among_nominees(
        &mut self,
        cluster: &Cluster,
        profile: &Profile,
        pod: &Pod,
        node: usize,
    ) -> Option<Rejection> {
        let nominees: Vec<Arc<Template>> = ahead(cluster, pod, node).map(|(_, one)| one.clone()).collect();
        if nominees.is_empty() {
            return None;
        }
        let own = pod.template.clone();
        for one in &nominees {
            self.relations.apply(cluster, profile, &own, one, node, (1, true));
        }
        let view = View { cluster, relations: &self.relations, profile, supposed: None };
        let why = reject(&prepare(pod, &view, true), node);
        for one in &nominees {
            self.relations.apply(cluster, profile, &own, one, node, (-1, true));
        }
        why
    }

    fn diagnose(&self, cluster: &Cluster, pod: &Pod, set_aside: &[(usize, Rejection)]) -> Diagnosis {
        let nodes = cluster.known().len();
        let mut diagnosis = Diagnosis { nodes, ..Diagnosis::default() };
        if let Some(only) = &self.only {
            diagnose_narrowed(&mut diagnosis, &pod.template, nodes - only.len());
        }
        for (rejection, count) in self.rejections.iter().zip(&self.verdicts[2..]) {
            diagnosis.reject(rejection, *count);
        }
        for (number, rejection) in &self.refused {
            diagnosis.reject(rejection, self.classes[*number as usize].count);
        }
        for (_, rejection) in set_aside {
            diagnosis.reject(rejection, 1);
        }
        diagnosis
    }

    /// Nodes where the pod could run if others went away, as the last decision saw it.
    pub fn resolvable(&self) -> Vec<usize> {
        let of_class = |number: u32| self.refused.iter().any(|(one, why)| *one == number && why.resolvable);
        let could = |slot: &Slot| match slot.verdict {
            UNKNOWN => false,
            FITS => slot.class.is_some_and(of_class),
            verdict => self.rejections[(verdict - FITS - 1) as usize].resolvable,
        };
        let slots = self.slots.iter().enumerate().filter(|(_, slot)| could(slot));
        slots.map(|(slot, _)| self.only.as_ref().map_or(slot, |only| only[slot])).collect()
    }
}

/// Differs where something has changed that nodes not in the journal are judged by.
fn fingerprint(cluster: &Cluster, template: &Template) -> u64 {
    PLUGINS.iter().fold(0, |sum, plugin| {
        u64::wrapping_add(sum.wrapping_mul(31), (plugin.fingerprint)(template, cluster))
    })
}

/// The nodes that come into question where plugins name them; all others are rejected.
pub fn narrow(cluster: &Cluster, template: &Template) -> Option<Vec<usize>> {
    let mut narrowed: Option<Vec<usize>> = None;
    for plugin in PLUGINS {
        let Some(names) = (plugin.narrow)(template) else { continue };
        let found = names.iter().filter_map(|name| cluster.find(name));
        narrowed = Some(match narrowed {
            None => found.collect(),
            Some(earlier) => found.filter(|index| earlier.contains(index)).collect(),
        });
    }
    narrowed
}

fn diagnose_narrowed(diagnosis: &mut Diagnosis, template: &Template, left_out: usize) {
    let naming = || PLUGINS.iter().enumerate().filter(|(_, plugin)| (plugin.narrow)(template).is_some());
    let names: Vec<&str> = naming().map(|(_, plugin)| plugin.name).collect();
    if left_out > 0 {
        let reason = format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "));
        diagnosis.reasons.insert(reason.into(), left_out);
        let mut set = Set::default();
        naming().for_each(|(number, _)| set.insert(number));
        diagnosis.rejected = set;
    }
}

/// Whether a pod has claims that tell nodes apart, and so sees nodes as no other does.
pub fn is_alone(cluster: &Cluster, template: &Template) -> bool {
    let everywhere = || template.claims.is_empty() || cluster.storage.are_everywhere(&template.claim_keys());
    !template.devices.is_empty() || !everywhere()
}

/// Rankings are kept for so many kinds of pods.
const RANKINGS_MAXIMUM: usize = 64;
/// All rankings together keep something of so many nodes; the one not used for longest goes.
const SLOTS_MAXIMUM: usize = 1 << 20;

#[derive(Debug)]
struct Kept {
    key: Key,
    /// How many labels were selected by when the key was made; they only become more.
    selecting: usize,
    ranking: Ranking,
}

/// The rankings in use.
#[derive(Debug, Default)]
pub struct Rankings {
    /// The one used last comes last.
    kept: Vec<Kept>,
    /// Of a pod that names its nodes or has claims, and so is like no other: until the next such decision.
    narrowed: Option<Box<Ranking>>,
}

impl Rankings {
    /// What the last decision, which was about the same pod, saw.
    pub fn again(
        &mut self,
        cluster: &mut Cluster,
        profile: &Profile,
        pod: &Pod,
        spread: Arc<[Spread]>,
    ) -> &mut Ranking {
        let names_nodes = || PLUGINS.iter().any(|plugin| (plugin.narrow)(&pod.template).is_some());
        let own = is_alone(cluster, &pod.template) || names_nodes();
        match self.narrowed.take().filter(|_| own) {
            Some(narrowed) => self.narrowed.insert(narrowed),
            None => self.of(cluster, profile, pod, spread),
        }
    }

    /// The nodes as a pod sees them now.
    pub fn of(
        &mut self,
        cluster: &mut Cluster,
        profile: &Profile,
        pod: &Pod,
        spread: Arc<[Spread]>,
    ) -> &mut Ranking {
        let only = narrow(cluster, &pod.template);
        if only.is_some() || is_alone(cluster, &pod.template) {
            let ranking = Box::new(Ranking::new(cluster, profile, pod, spread, only));
            return self.narrowed.insert(ranking);
        }
        let selecting = cluster.selecting().len();
        let known = self.kept.iter().rposition(|one| {
            Arc::ptr_eq(&one.ranking.template, &pod.template)
                && one.selecting == selecting
                && one.key.spread == spread
                && one.key.profile == profile.name
        });
        let (key, found) = match known {
            Some(at) => (None, Some(at)),
            None => {
                let key = Key::of(cluster, profile, &pod.template, &spread);
                let found = self.kept.iter().position(|one| one.key == key);
                (Some(key), found)
            }
        };
        let kept = match (found, key) {
            (Some(at), _) => {
                let mut kept = self.kept.remove(at);
                kept.ranking.catch_up(cluster, profile, pod);
                kept.selecting = selecting;
                kept
            }
            (None, key) => {
                let key = key.unwrap_or_else(|| Key::of(cluster, profile, &pod.template, &spread));
                let ranking = Ranking::new(cluster, profile, pod, spread, None);
                Kept { key, selecting, ranking }
            }
        };
        let full = |others: &Vec<Kept>| {
            let slots: usize = others.iter().map(|one| one.ranking.size()).sum();
            others.len() >= RANKINGS_MAXIMUM || slots + kept.ranking.size() > SLOTS_MAXIMUM
        };
        while !self.kept.is_empty() && full(&self.kept) {
            self.kept.remove(0);
        }
        self.kept.push(kept);
        let last = self.kept.len() - 1;
        &mut self.kept[last].ranking
    }
}
