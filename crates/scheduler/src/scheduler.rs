//! The scheduler without its effects: changes and time come in, steps to take come out.
//!
//! Invariants: a pod is assumed on its node from the moment of the decision, so that the next decision sees
//! it; what fails to bind is forgotten. Answers to upstream's `Scheduler`, `eventhandlers` and assume cache.

use crate::advice::advise;
use crate::budgets::Budgets;
use crate::cluster::{Cluster, Placed};
use crate::devices::Reservation;
use crate::extended::Asking;
use crate::extender::{Extender, Question};
use crate::gang::GroupReport;
use crate::node::Node;
use crate::nominations::{Nominations, Nominee};
use crate::placement::{Diagnosis, Placement};
use crate::plugins::{self, Event};
use crate::pod::{Condition, Pod, Templates};
use crate::preemption::{self, Candidate, Outcome, Search};
use crate::profile::Profile;
use crate::queue::{Pending, Put, Queue, give_back};
use crate::ranking::{Ranking, Rankings};
use crate::selectors::Selectors;
use crate::storage::Bindings;
use gifee_base::ObjectKey;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An effect to carry out.
#[derive(Debug)]
pub enum Step {
    /// Bind a pod to a node; then say how it went.
    Bind(Binding),
    /// Say why a pod has no place.
    Report(Report),
    /// Make room for a pod; then say how it went.
    Preempt(Preemption),
    /// Take its devices from a claim that nobody uses.
    Deallocate(Reservation),
    /// Ask extenders; then say what they said.
    Ask(Question),
    /// Say what became of a group.
    Group(GroupReport),
}

/// A pod and its node.
#[derive(Debug)]
pub struct Binding {
    /// The pod.
    pub pod: Pod,
    /// The node's name.
    pub node: Arc<str>,
    /// What is to become of its claims first.
    pub volumes: Bindings,
    /// What is to become of its claims of devices first.
    pub devices: Vec<Reservation>,
    /// Whether that is done.
    pub prepared: bool,
}

/// Why a pod has no place.
#[derive(Debug)]
pub struct Report {
    /// The pod.
    pub pod: Pod,
    /// `Unschedulable`, `SchedulingGated` or `SchedulerError`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// What becomes of `status.nominatedNodeName`.
    pub nominate: Nominate,
    /// What would have to change for the pod to fit, if that is known.
    pub advice: Option<String>,
}

/// What becomes of a pod's `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nominate {
    /// It stays as it is.
    Keep,
    /// It goes.
    Clear,
    /// It becomes this.
    Node(Arc<str>),
}

/// Who must leave for a pod.
#[derive(Debug)]
pub struct Preemption {
    /// The pod.
    pub pod: Pod,
    /// The node that it is to have.
    pub node: Arc<str>,
    /// Those that leave, and are not leaving yet.
    pub victims: Vec<(ObjectKey, Placed)>,
    /// Pods of lower priority that were to have the node.
    pub cleared: Vec<Pod>,
}

impl Report {
    /// The PodScheduled condition to write; none if the pod has it.
    pub fn condition(&self) -> Option<Condition> {
        let condition = Condition {
            status: "False".into(),
            reason: self.reason.into(),
            message: self.message.clone(),
            observed_generation: self.pod.generation,
        };
        (self.pod.condition.as_deref() != Some(&condition)).then_some(condition)
    }
}

/// What the scheduler knows.
pub struct Scheduler {
    /// Nodes and placed pods.
    pub cluster: Cluster,
    /// Pods without a place.
    pub queue: Queue,
    /// Which pods are protected.
    pub budgets: Budgets,
    /// By what pods are spread that do not say so themselves.
    pub selectors: Selectors,
    profiles: Vec<Arc<Profile>>,
    pub(crate) rankings: Rankings,
    templates: Templates,
    /// Pods whose binding is under way.
    binding: HashMap<ObjectKey, Box<Pending>>,
    nominations: Nominations,
    /// Pods that are not tried before something of theirs is there.
    pub(crate) held: HashSet<ObjectKey>,
    /// Pods for which others are being told to leave, and whether they were tried meanwhile.
    preempting: HashMap<ObjectKey, bool>,
    /// Steps that are due; at most two for each pod.
    pub(crate) steps: VecDeque<Step>,
    pub(crate) random: u64,
    pub(crate) extenders: Vec<Arc<Extender>>,
    /// The pod whose extenders are being asked.
    pub(crate) asking: Option<Asking>,
    /// What must be known before the first decision and is not yet, as bits.
    unknown: u32,
}

/// Stands for the nodes among what must be known.
const NODES: u32 = 1;
/// Stands for the pods.
const PODS: u32 = 2;

impl Scheduler {
    /// Knows nothing yet, and decides on pods that name it as their scheduler.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            cluster: Cluster::default(),
            queue: Queue::default(),
            budgets: Budgets::default(),
            selectors: Selectors::default(),
            profiles: vec![Arc::new(Profile::new(name))],
            rankings: Rankings::default(),
            templates: Templates::default(),
            binding: HashMap::new(),
            nominations: Nominations::default(),
            held: HashSet::new(),
            preempting: HashMap::new(),
            steps: VecDeque::new(),
            random: seed,
            extenders: Vec::new(),
            asking: None,
            unknown: NODES | PODS,
        }
    }

    /// Decides on the pods of these profiles, and on no others.
    pub fn with_profiles(mut self, profiles: Vec<Profile>) -> Self {
        self.profiles = profiles.into_iter().map(Arc::new).collect();
        self
    }

    /// Delays pods whose decisions failed by these times: the first, and the longest.
    pub fn with_backoffs(mut self, base: Duration, maximum: Duration) -> Self {
        self.queue = Queue::new(base, maximum);
        self
    }

    /// What must be known before the first decision beside nodes and pods, as bits from the third on.
    pub fn await_known(&mut self, bits: u32) {
        self.unknown |= bits;
    }

    /// It is known.
    pub fn known(&mut self, bits: u32) {
        self.unknown &= !bits;
    }

    pub(crate) fn profile(&self, name: &str) -> Option<Arc<Profile>> {
        self.profiles.iter().find(|profile| *profile.name == *name).cloned()
    }

    /// These are all nodes there are.
    pub fn replace_nodes(&mut self, nodes: Vec<Node>, now: Instant) {
        let names: HashSet<Arc<str>> = nodes.iter().map(|node| node.name.clone()).collect();
        let known = self.cluster.known().iter().map(|index| self.cluster.node(*index).name.clone());
        let gone: Vec<_> = known.filter(|name| !names.contains(name)).collect();
        for name in gone {
            self.node_removed(&name);
        }
        for node in nodes {
            self.node_changed(node, now);
        }
        self.known(NODES);
    }

    /// A node is new or changed.
    pub fn node_changed(&mut self, node: Node, now: Instant) {
        let (index, old) = self.cluster.put_node(node);
        if old.as_ref() != Some(self.cluster.node(index)) {
            self.wake(&Event::Node(old, index), now);
        }
    }

    /// A node is gone.
    pub fn node_removed(&mut self, name: &str) {
        self.cluster.remove_node(name);
    }

    /// These are all pods there are.
    pub fn replace_pods(&mut self, pods: Vec<Pod>, now: Instant) {
        let keys: HashSet<ObjectKey> = pods.iter().map(|pod| pod.key.clone()).collect();
        let placed = self.cluster.pods().map(|(key, _)| key);
        let gone: Vec<_> =
            placed.chain(self.queue.keys()).filter(|key| !keys.contains(*key)).cloned().collect();
        for key in gone {
            self.pod_removed(&key, now);
        }
        for pod in pods {
            self.pod_changed(pod, now);
        }
        self.known(PODS);
    }

    /// A pod is new or changed.
    pub fn pod_changed(&mut self, mut pod: Pod, now: Instant) {
        let template = Arc::unwrap_or_clone(pod.template);
        pod.template = self.templates.share(template);
        if self.cluster.placed(&pod.key).is_some_and(|placed| placed.uid != pod.uid) {
            self.pod_removed(&pod.key, now);
        }
        if pod.ended {
            return self.pod_removed(&pod.key, now);
        }
        if let Some(group) = pod.template.group_key()
            && self.cluster.groups.join(group.clone(), &pod.key)
        {
            self.group_changed(group, now);
        }
        if pod.node.is_some() || pod.life.deleting {
            self.forget_in_gang(&pod.key);
        } else if self.asking.as_mut().and_then(|one| one.gang.as_mut()).is_some_and(|gang| gang.renew(&pod))
        {
            return;
        }
        if let Some(asking) = self.asking.as_mut().filter(|one| one.pending.pod.key == pod.key) {
            asking.gone |= pod.node.is_some() || pod.life.deleting;
            if !asking.gone {
                asking.pending.pod = pod;
                return;
            }
        }
        if let Some(node) = pod.node.clone() {
            self.queue.take(&pod.key);
            self.drop_nomination(&pod.key, Some(&node), now);
            return self.pod_bound(&pod, &node, now);
        }
        if pod.life.deleting || self.profile(&pod.scheduler).is_none() {
            self.queue.take(&pod.key);
            return self.drop_nomination(&pod.key, None, now);
        }
        if let Some(pending) = self.binding.get_mut(&pod.key) {
            pending.pod = pod;
            return;
        }
        self.nominate(&mut pod, now);
        let gate = plugins::gate(&pod.template);
        let told = gate.is_some();
        let gate = gate.or_else(|| plugins::hold(&pod, &self.cluster));
        if gate.is_some() && !told {
            self.held.insert(pod.key.clone());
        }
        if let Put::Gated(message) = self.queue.put(pod.clone(), gate, now)
            && told
        {
            let message = message.into();
            let report =
                Report { pod, reason: "SchedulingGated", message, nominate: Nominate::Keep, advice: None };
            if report.pod.condition.as_ref().is_none_or(|one| one.reason != report.reason) {
                self.steps.push_back(Step::Report(report));
            }
        }
    }

    /// Brings together what the server and what this scheduler says of a pod's nomination.
    fn nominate(&mut self, pod: &mut Pod, now: Instant) {
        match (&pod.nominated, self.nominations.get(&pod.key)) {
            (Some(node), known) => {
                let same = known.is_some_and(|known| {
                    known.node == *node && Arc::ptr_eq(&known.pod.template, &pod.template)
                });
                let nominee = Nominee { pod: pod.clone(), node: node.clone(), told: true };
                match same {
                    true => drop(self.nominations.put(nominee)),
                    false => self.put_nominee(nominee),
                }
            }
            // The server has not been told yet.
            (None, Some(nominee)) if !nominee.told && nominee.pod.uid == pod.uid => {
                pod.nominated = Some(nominee.node.clone());
            }
            (None, Some(_)) => self.drop_nomination(&pod.key, None, now),
            (None, None) => {}
        }
    }

    fn put_nominee(&mut self, nominee: Nominee) {
        let (key, template, node) =
            (nominee.pod.key.clone(), nominee.pod.template.clone(), nominee.node.clone());
        if let Some(old) = self.nominations.put(nominee) {
            self.cluster.dismiss(&key, &old.node);
        }
        self.cluster.nominate(&key, &template, &node);
    }

    /// A pod is to have a node, which the server has not been told yet.
    pub(crate) fn nominate_for(&mut self, pod: &Pod, node: &Arc<str>) {
        self.put_nominee(Nominee { pod: pod.clone(), node: node.clone(), told: false });
    }

    fn take_nominee(&mut self, key: &ObjectKey) -> Option<Nominee> {
        let nominee = self.nominations.take(key)?;
        self.cluster.dismiss(key, &nominee.node);
        Some(nominee)
    }

    /// A pod needs no nomination any more, because it has a node or no hope of one.
    fn drop_nomination(&mut self, key: &ObjectKey, placed: Option<&Arc<str>>, now: Instant) {
        let Some(nominee) = self.take_nominee(key) else { return };
        if placed != Some(&nominee.node)
            && let Some(index) = self.cluster.find(&nominee.node)
        {
            self.wake(&Event::Freed(nominee.pod.template, index), now);
        }
    }

    fn pod_bound(&mut self, pod: &Pod, node: &Arc<str>, now: Instant) {
        let same = self.cluster.placed(&pod.key).is_some_and(|placed| {
            placed.bound
                && *self.cluster.node(placed.node).name == **node
                && Arc::ptr_eq(&placed.template, &pod.template)
        });
        if same {
            return self.cluster.live(&pod.key, pod.life);
        }
        let old = self.cluster.place(pod, node, true);
        let Some(index) = self.cluster.find(node) else { return };
        if old.is_none() {
            self.wake(&Event::Placed(pod.template.clone(), index), now);
        }
        if let Some(old) = old {
            let moved = *self.cluster.node(old.node).name != **node;
            if moved || !Arc::ptr_eq(&old.template, &pod.template) {
                self.wake(&Event::Freed(old.template, old.node), now);
            }
        }
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(asking) = self.asking.as_mut().filter(|one| one.pending.pod.key == *key) {
            asking.gone = true;
        }
        self.forget_in_gang(key);
        self.leave_group(key);
        self.queue.take(key);
        self.binding.remove(key);
        self.drop_nomination(key, None, now);
        if let Some(placed) = self.cluster.remove(key) {
            self.wake(&Event::Freed(placed.template, placed.node), now);
        }
    }

    pub(crate) fn wake(&mut self, event: &Event, now: Instant) {
        if self.queue.none_wait() {
            return;
        }
        let cluster = &self.cluster;
        if let Event::Freed(_, index) = event {
            // Those that are to have the room are asked one by one: what they share with others is not that.
            for (key, template) in cluster.nominees(*index) {
                let waits = self.queue.get(key);
                if waits.is_some_and(|one| plugins::hint(one.rejected, template, event, cluster)) {
                    self.queue.activate(key, now);
                }
            }
        }
        self.queue.wake(now, |pending| {
            plugins::hint_behind(pending.rejected, &pending.pod.template, event, cluster)
        });
    }

    /// A pod that was just given a place loses it.
    pub(crate) fn take_back(&mut self, pod: &Pod) -> Option<Box<Pending>> {
        let mut pending = self.binding.remove(&pod.key)?;
        self.cluster.storage.forget(&std::mem::take(&mut pending.volumes));
        self.cluster.devices.forget(&std::mem::take(&mut pending.devices));
        self.cluster.remove(&pod.key);
        Some(pending)
    }

    /// A group has changed, or who belongs to it.
    pub fn group_changed(&mut self, group: ObjectKey, now: Instant) {
        if self.cluster.groups.is_complete(&group) {
            self.release_held(now);
        }
        self.wake(&Event::Group(group), now);
    }

    fn leave_group(&mut self, key: &ObjectKey) {
        let waiting = || self.queue.get(key).or_else(|| self.binding.get(key).map(Box::as_ref));
        let template = self.cluster.placed(key).map(|placed| placed.template.clone());
        let template = template.or_else(|| waiting().map(|pending| pending.pod.template.clone()));
        if let Some(group) = template.and_then(|template| template.group_key()) {
            self.cluster.groups.leave(&group, key);
        }
    }

    /// What claims get their volumes by has changed.
    pub fn storage_changed(&mut self, claim: Option<ObjectKey>, now: Instant) {
        self.wake(&Event::Storage(claim), now);
    }

    /// Whether a pod's binding is still wanted.
    pub fn is_binding(&self, pod: &Pod) -> bool {
        self.binding.get(&pod.key).is_some_and(|pending| pending.pod.uid == pod.uid)
    }

    /// A namespace is new or has other labels, or none any more because it is gone.
    pub fn namespace_changed(&mut self, name: &str, labels: Option<crate::cluster::Labels>, now: Instant) {
        if self.cluster.put_namespace(name, labels) {
            self.wake(&Event::Namespace, now);
        }
    }

    /// The next effect to carry out; none until something happens or the deadline comes.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        if self.unknown != 0 {
            return None;
        }
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        if self.asking.is_some() {
            return None;
        }
        let pending = self.queue.pop(now)?;
        let profile = self.profile(&pending.pod.scheduler)?;
        if let Some(gang) = self.gang_of(&pending) {
            return self.decide_together(pending, gang, now);
        }
        if !self.extenders.is_empty() && self.is_extended(&pending) {
            return Some(self.ask(pending, &profile, now));
        }
        let placement = self.decide(&profile, &pending.pod);
        if let Some(why) = self.wrong_claims(&pending.pod) {
            return Some(self.fail(pending, why, now));
        }
        Some(match placement {
            Placement::Node(index) => self.place(pending, index, now),
            Placement::None(diagnosis) => {
                let (outcome, rejected) = self.preempt(&profile, &pending.pod, &diagnosis);
                self.refuse_or_ask(pending, *diagnosis, outcome, rejected, now)
            }
        })
    }

    /// Where a pod goes.
    pub fn decide(&mut self, profile: &Profile, pod: &Pod) -> Placement {
        if let Some(diagnosis) = Diagnosis::refusal(pod, &self.cluster, profile) {
            return Placement::None(Box::new(diagnosis));
        }
        // What an earlier search has found is not this pod's.
        self.wrong_claims(pod);
        let spread = self.selectors.spread(profile, &pod.template);
        let own = pod.nominated.as_deref().and_then(|name| self.cluster.find(name));
        if let Some(index) = own {
            let mut only = Ranking::new(&mut self.cluster, profile, pod, spread.clone(), Some(vec![index]));
            if let Placement::Node(index) = only.choose(&self.cluster, profile, pod, &mut || 0) {
                return Placement::Node(index);
            }
        }
        let ranking = self.rankings.of(&mut self.cluster, profile, pod, spread);
        let random = &mut self.random;
        ranking.choose(&self.cluster, profile, pod, &mut || draw(random))
    }

    pub(crate) fn place(&mut self, mut pending: Box<Pending>, index: usize, now: Instant) -> Step {
        let node = self.cluster.node(index).name.clone();
        if !pending.pod.template.claims.is_empty() {
            let found = self.cluster.storage.find(&pending.pod.claims(), self.cluster.node(index));
            pending.volumes = found.unwrap_or_default();
            self.cluster.storage.assume(&pending.volumes, &node);
        }
        if !pending.pod.template.devices.is_empty() {
            let at = self.cluster.node(index).clone();
            pending.devices = self.cluster.devices.reserve(&pending.pod, &at);
        }
        let (volumes, devices) = (pending.volumes.clone(), pending.devices.clone());
        self.cluster.place(&pending.pod, &node, false);
        let pod = pending.pod.clone();
        self.wake(&Event::Placed(pod.template.clone(), index), now);
        self.binding.insert(pod.key.clone(), pending);
        self.drop_nomination(&pod.key, Some(&node), now);
        Step::Bind(Binding { pod, node, volumes, devices, prepared: false })
    }

    /// Whether others can be pushed out, and all plugins that stand in the way.
    pub(crate) fn preempt(
        &mut self,
        profile: &Profile,
        pod: &Pod,
        diagnosis: &Diagnosis,
    ) -> (Option<Outcome>, plugins::Set) {
        let mut rejected = diagnosis.rejected;
        if diagnosis.nodes == 0 {
            return (None, rejected);
        }
        if let Some(tried) = self.preempting.get_mut(&pod.key) {
            *tried = true;
            return (Some(Outcome::Waiting(preemption::WAITS.into())), rejected);
        }
        let random = draw(&mut self.random);
        let spread = self.selectors.spread(profile, &pod.template);
        let ranking = self.rankings.again(&mut self.cluster, profile, pod, spread);
        let judges = |one: &Arc<Extender>| !one.preempt.is_empty() && one.concerns(&pod.template);
        let all = self.extenders.iter().any(judges);
        let search = Search { cluster: &self.cluster, profile, pod, budgets: &self.budgets, random, all };
        let outcome = search.find(ranking, diagnosis, &mut rejected);
        (Some(outcome), rejected)
    }

    pub(crate) fn refuse(
        &mut self,
        mut pending: Box<Pending>,
        diagnosis: &Diagnosis,
        outcome: Option<Outcome>,
        rejected: plugins::Set,
        now: Instant,
    ) -> Step {
        let mut advice = None;
        if pending.is_new() && diagnosis.refused.is_none() && !matches!(outcome, Some(Outcome::Found(_))) {
            let profile = self.profile(&pending.pod.scheduler);
            advice =
                profile.and_then(|profile| advise(&self.cluster, &profile, &pending.pod, diagnosis.rejected));
        }
        let mut message = diagnosis.message();
        let mut tail: Vec<String> = Vec::new();
        if outcome.is_some() {
            let profile = self.profile(&pending.pod.scheduler);
            let said = profile.and_then(|profile| self.deallocate(&profile, &pending.pod, diagnosis));
            tail.extend(said.map(Into::into));
        }
        let mut nominate = Nominate::Keep;
        let mut pod = pending.pod.clone();
        match outcome {
            None | Some(Outcome::Several(_)) => {}
            Some(Outcome::Waiting(why)) if why.is_empty() => {}
            Some(Outcome::Waiting(why)) => tail.push(why),
            Some(Outcome::None(why)) => {
                tail.push(why);
                if pending.pod.nominated.take().is_some() {
                    nominate = Nominate::Clear;
                }
            }
            Some(Outcome::Found(candidate)) => {
                let node = self.make_room(&pending.pod, candidate, now);
                pending.pod.nominated = Some(node.clone());
                nominate = Nominate::Node(node);
                tail.clear();
            }
        }
        if !tail.is_empty() {
            message = format!("{message} {}", tail.join(", "));
        }
        let key = pod.key.clone();
        pod.nominated = pending.pod.nominated.clone();
        self.queue.unschedulable(pending, rejected, now);
        if nominate == Nominate::Clear {
            self.drop_nomination(&key, None, now);
        }
        Step::Report(Report { pod, reason: "Unschedulable", message, nominate, advice })
    }

    /// Has others leave a node for a pod, and nominates it.
    fn make_room(&mut self, pod: &Pod, candidate: Candidate, now: Instant) -> Arc<str> {
        let node = self.cluster.node(candidate.node).name.clone();
        let mut cleared = Vec::new();
        for key in self.nominations.behind(pod, &node) {
            cleared.extend(self.take_nominee(&key).map(|nominee| nominee.pod));
            self.queue.activate(&key, now);
        }
        self.nominate_for(pod, &node);
        let mut victims = candidate.victims;
        victims.retain(|(_, placed)| !placed.life.deleting);
        if !victims.is_empty() || !cleared.is_empty() {
            self.preempting.insert(pod.key.clone(), false);
            let (pod, node) = (pod.clone(), node.clone());
            self.steps.push_back(Step::Preempt(Preemption { pod, node, victims, cleared }));
        }
        node
    }

    /// All victims of a preemption have been told to leave, or could not be.
    pub fn preempted(&mut self, pod: &Pod, told: bool, now: Instant) {
        let tried = self.preempting.remove(&pod.key).unwrap_or_default();
        if tried || !told {
            self.queue.activate(&pod.key, now);
        }
    }

    /// When to call [`Scheduler::next`] again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.deadline()
    }

    /// A pod was bound.
    pub fn bound(&mut self, pod: &Pod) {
        if self.binding.get(&pod.key).is_some_and(|pending| pending.pod.uid == pod.uid) {
            self.binding.remove(&pod.key);
            give_back(&mut self.binding);
        }
    }

    /// A pod could not be bound: it is taken from its node, and tried again unless it is gone or bound after all.
    pub fn bind_failed(&mut self, pod: &Pod, gone: bool, now: Instant) {
        if !self.is_binding(pod) {
            return;
        }
        let Some(mut pending) = self.binding.remove(&pod.key) else { return };
        self.cluster.storage.forget(&std::mem::take(&mut pending.volumes));
        self.forget_devices(&std::mem::take(&mut pending.devices), now);
        if self.cluster.placed(&pod.key).is_none_or(|placed| placed.bound) {
            return;
        }
        if let Some(placed) = self.cluster.remove(&pod.key) {
            self.wake(&Event::Freed(placed.template, placed.node), now);
        }
        if !gone && !pending.pod.life.deleting {
            self.queue.failed(pending, now);
        }
    }
}

/// SplitMix64: a number from a seed, and the next seed.
pub(crate) fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
