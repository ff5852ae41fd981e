//! Finds devices on a node for all claims of a pod at once: one after the other, going back where that does not work out.
//!
//! Invariant: the first solution in the order of claims, requests, alternatives, pools and devices is the one found, so
//! that asking again finds it again. Answers to upstream's structured allocator.

use super::capacity;
use super::constrain::Held;
use super::object::{Alternative, Claim, Counters, Device, Id, Taint};
use super::pools::Pool;
use super::{Devices, Text};
use crate::node::Node;
use gifee_base::{ObjectKey, Quantity};
use std::collections::HashMap;

/// So many devices a claim can have.
const RESULTS_MAXIMUM: usize = 32;
/// So many devices are tried on one node before it is given up.
const TRIALS_MAXIMUM: usize = 200_000;
const TIMED_OUT: &str = "timed out trying to allocate devices";
const INVALID_POOLS: &str = "invalid resource pools were encountered";

/// Why there is no solution on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is none on this node.
    Node(Text),
    /// There is something wrong with a claim or a class: other nodes need not be asked.
    Claim(String),
}

/// A device that was chosen.
#[derive(Clone, Debug)]
pub struct Chosen<'a> {
    /// For which request, and the alternative's number.
    pub request: usize,
    /// See there.
    pub alternative: usize,
    /// The device.
    pub device: &'a Device,
    /// What it takes of a device that is shared.
    pub consumed: Option<Counters>,
    /// The pool's place among the node's.
    pool: usize,
}

/// Devices for each claim, in order of requests.
pub type Solution<'a> = Vec<Vec<Chosen<'a>>>;

/// Finds devices for claims on a node.
///
/// # Errors
/// Why there are none.
pub fn find<'a>(
    devices: &'a Devices,
    claims: &'a [(ObjectKey, &'a Claim)],
    node: &Node,
) -> Result<Solution<'a>, Failure> {
    let pools = devices.slices.of(node);
    let mut attempt = Attempt::new(devices, claims, &pools);
    attempt.prepare().map_err(Failure::Claim)?;
    match attempt.next(At::default()) {
        Ok(true) => Ok(attempt.chosen),
        Ok(false) | Err(Stop::TooMany) => Err(Failure::Node(match pools.iter().any(|pool| pool.invalid) {
            true => INVALID_POOLS.into(),
            false => super::CANNOT.into(),
        })),
        Err(Stop::Trials) => Err(Failure::Node(TIMED_OUT.into())),
        Err(Stop::Wrong(why)) => Err(Failure::Claim(why)),
    }
}

enum Stop {
    /// A claim would get more devices than it can have.
    TooMany,
    /// The search takes too long.
    Trials,
    /// Something is wrong with a claim or a class.
    Wrong(String),
}

/// How far the search has come.
#[derive(Clone, Copy, Default)]
struct At {
    claim: usize,
    request: usize,
    /// Of the request, once one is being tried.
    alternative: Option<usize>,
    device: usize,
}

/// Devices, each with its pool's place.
type Placed<'a> = Vec<(usize, &'a Device)>;

struct Attempt<'a, 'b> {
    devices: &'a Devices,
    claims: &'a [(ObjectKey, &'a Claim)],
    pools: &'b [Pool<'a>],
    /// All devices that an alternative wants which wants all: by claim, request and alternative.
    all: HashMap<(usize, usize, usize), Placed<'a>>,
    held: Vec<Vec<Held<'a>>>,
    chosen: Solution<'a>,
    trials: usize,
}

impl<'a, 'b> Attempt<'a, 'b> {
    fn new(devices: &'a Devices, claims: &'a [(ObjectKey, &'a Claim)], pools: &'b [Pool<'a>]) -> Self {
        let held = claims.iter().map(|(_, claim)| claim.constraints.iter().map(Held::new).collect());
        let (held, chosen) = (held.collect(), vec![Vec::new(); claims.len()]);
        Self { devices, claims, pools, all: HashMap::new(), held, chosen, trials: 0 }
    }

    /// Finds out how many devices each request wants, and whether a claim can have so many.
    fn prepare(&mut self) -> Result<(), String> {
        for (number, (key, claim)) in self.claims.iter().enumerate() {
            let mut least = 0_usize;
            for (request, one) in claim.requests.iter().enumerate() {
                let mut counts = Vec::new();
                for (place, alternative) in one.alternatives.iter().enumerate() {
                    counts.push(self.count(key, (number, request, place), alternative)?);
                }
                least = least.saturating_add(counts.into_iter().min().unwrap_or_default());
            }
            if least > RESULTS_MAXIMUM {
                return Err(format!(
                    "claim {key}: number of requested devices {least} exceeds the claim limit of {RESULTS_MAXIMUM}"
                ));
            }
            if let Some(number) = claim.constraints.iter().position(|one| one.attribute.is_none()) {
                return Err(format!(
                    "claim {key}, constraint #{number}: empty constraint (unsupported constraint type?)"
                ));
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        key: &ObjectKey,
        place: (usize, usize, usize),
        alternative: &'a Alternative,
    ) -> Result<usize, String> {
        if let Some(count) = alternative.count {
            return Ok(count);
        }
        let name = alternative.name.rsplit('/').next().unwrap_or_default();
        let mut all = Vec::new();
        for (number, pool) in self.pools.iter().enumerate() {
            let (driver, pool_name) = pool.key;
            if pool.incomplete || pool.invalid {
                let state = if pool.incomplete { "being updated" } else { "invalid" };
                return Err(format!(
                    "claim {key}, request {name}: asks for all devices, but resource pool {driver}/{pool_name} is currently {state}"
                ));
            }
            for device in &pool.devices {
                if self.selected(key, alternative, device)?
                    && self.has_capacity(alternative, device).is_some()
                {
                    all.push((number, *device));
                }
            }
        }
        let count = all.len();
        self.all.insert(place, all);
        Ok(count)
    }

    fn selected(&self, key: &ObjectKey, wanted: &Alternative, device: &Device) -> Result<bool, String> {
        let class = self.devices.classes.get(&wanted.class).ok_or_else(|| {
            let class = &wanted.class;
            let name = &wanted.name;
            format!(
                "claim {key}, request {name}: could not retrieve device class {class}: \
                 deviceclass.resource.k8s.io {class:?} not found"
            )
        })?;
        for (number, expression) in class.selectors.iter().enumerate() {
            let answer = self.devices.selections.select(expression, device);
            if !answer.map_err(|why| format!("class {}: selector #{number}: {why}", wanted.class))? {
                return Ok(false);
            }
        }
        for (number, expression) in wanted.selectors.iter().enumerate() {
            let answer = self.devices.selections.select(expression, device);
            if !answer.map_err(|why| format!("claim {key}: selector #{number}: {why}"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What an alternative would take of a device's capacities, if there is so much left.
    fn has_capacity(&self, wanted: &Alternative, device: &Device) -> Option<Counters> {
        if device.capacity.is_empty() && wanted.capacity.is_empty() {
            return Some(Counters::new());
        }
        let consumed = capacity::consumed(device, &wanted.capacity)?;
        let mut taken: Vec<&Counters> = self.devices.shares.get(&device.id).into_iter().collect();
        taken.extend(self.trying(&device.id).filter_map(|one| one.consumed.as_ref()));
        capacity::fits(device, &consumed, &taken).then_some(consumed)
    }

    /// The times that a device is being tried.
    fn trying<'c>(&'c self, id: &'c Id) -> impl Iterator<Item = &'c Chosen<'a>> + 'c {
        self.chosen.iter().flatten().filter(move |one| one.device.id == *id)
    }

    fn alternative(&self, at: At) -> Option<&'a Alternative> {
        self.claims[at.claim].1.requests[at.request].alternatives.get(at.alternative?)
    }

    /// Finds devices for all that is left; whether there are.
    fn next(&mut self, at: At) -> Result<bool, Stop> {
        let Some((_, claim)) = self.claims.get(at.claim) else { return Ok(true) };
        let Some(request) = claim.requests.get(at.request) else {
            return match self.next(At { claim: at.claim + 1, ..At::default() }) {
                // Another choice for this claim may leave more.
                Err(Stop::TooMany) => Ok(false),
                other => other,
            };
        };
        if at.alternative.is_some() {
            return self.next_device(at);
        }
        let mut too_many = true;
        for number in 0..request.alternatives.len() {
            match self.next_device(At { alternative: Some(number), ..at }) {
                Err(Stop::TooMany) => continue,
                Ok(false) => too_many = false,
                other => return other,
            }
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// Finds the next device of an alternative, and what is left after it.
    fn next_device(&mut self, at: At) -> Result<bool, Stop> {
        let Some(wanted) = self.alternative(at) else { return Ok(false) };
        let place = (at.claim, at.request, at.alternative.unwrap_or_default());
        let all = self.all.get(&place).map(|all| (all.len(), all.get(at.device).copied()));
        let count = all.map_or(wanted.count.unwrap_or_default(), |(count, _)| count);
        if wanted.count.is_none() && count == 0 {
            return Ok(false);
        }
        if at.device >= count {
            return self.next(At { claim: at.claim, request: at.request + 1, ..At::default() });
        }
        let after = self.chosen[at.claim].len().saturating_add(count - at.device);
        if after > RESULTS_MAXIMUM {
            return Err(Stop::TooMany);
        }
        if let Some((_, Some((pool, device)))) = all {
            return self.with(at, wanted, pool, device, true);
        }
        let pools = self.pools;
        for (number, pool) in pools.iter().enumerate().filter(|(_, pool)| !pool.invalid) {
            for device in &pool.devices {
                if self.in_use(at, wanted, device) {
                    continue;
                }
                let key = &self.claims[at.claim].0;
                if !self.selected(key, wanted, device).map_err(Stop::Wrong)? {
                    continue;
                }
                if self.with(at, wanted, number, device, false)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn in_use(&self, at: At, wanted: &Alternative, device: &Device) -> bool {
        if wanted.admin {
            return self.chosen[at.claim].iter().any(|one| one.device.id == device.id);
        }
        let exclusively = |one: &Chosen<'_>| one.consumed.is_none();
        self.devices.taken.contains_key(&device.id) || self.trying(&device.id).any(exclusively)
    }

    /// Takes a device, and goes on; takes it back if that does not work out.
    fn with(
        &mut self,
        at: At,
        wanted: &'a Alternative,
        pool: usize,
        device: &'a Device,
        must: bool,
    ) -> Result<bool, Stop> {
        self.trials += 1;
        if self.trials > TRIALS_MAXIMUM {
            return Err(Stop::Trials);
        }
        if self.in_use(at, wanted, device) || !self.has_counters(pool, device) || !tolerated(device, wanted) {
            return Ok(false);
        }
        let Some(consumed) = self.has_capacity(wanted, device) else { return Ok(false) };
        let held = &mut self.held[at.claim];
        if let Some(against) = held.iter_mut().position(|one| !one.add(&wanted.name, device)) {
            held[..against].iter_mut().for_each(|one| one.remove(&wanted.name));
            let key = &self.claims[at.claim].0;
            let request = wanted.name.rsplit('/').next().unwrap_or_default();
            return match must {
                true => Err(Stop::Wrong(format!(
                    "claim {key}, request {request}: cannot add device {} because a claim constraint would not be satisfied",
                    device.id
                ))),
                false => Ok(false),
            };
        }
        let (request, alternative) = (at.request, at.alternative.unwrap_or_default());
        let consumed = device.multiple.then_some(consumed);
        self.chosen[at.claim].push(Chosen { request, alternative, device, consumed, pool });
        let outcome = self.next(At { device: at.device + 1, ..at });
        if !matches!(outcome, Ok(true)) {
            self.chosen[at.claim].pop();
            self.held[at.claim].iter_mut().for_each(|one| one.remove(&wanted.name));
        }
        outcome
    }

    /// Whether the pool's counters leave enough for a device.
    fn has_counters(&self, number: usize, device: &Device) -> bool {
        if device.consumes.is_empty() {
            return true;
        }
        let pool = &self.pools[number];
        let sets = || pool.slices.iter().flat_map(|slice| &slice.counters);
        let in_pool = pool.slices.iter().flat_map(|slice| &slice.devices);
        let taken: Vec<&Device> = in_pool.filter(|one| self.devices.is_taken(&one.id)).collect();
        let trying = self.chosen.iter().flatten().filter(|one| one.pool == number).map(|one| one.device);
        let mut trying: Vec<&Device> = trying.chain([device]).collect();
        trying.retain(|one| !self.devices.is_taken(&one.id));
        trying.sort_by_key(|one| one.number);
        trying.dedup_by_key(|one| one.number);
        let consumers: Vec<&Device> = taken.into_iter().chain(trying).collect();
        device.consumes.iter().all(|(set, wanted)| {
            let Some((_, total)) = sets().find(|(name, _)| name == set) else { return false };
            wanted.keys().all(|counter| {
                let used = consumers.iter().flat_map(|one| &one.consumes).filter(|(name, _)| name == set);
                let used = used.filter_map(|(_, counters)| counters.get(counter));
                let used = used.fold(Quantity::ZERO, |sum, one| sum.plus(*one));
                total.get(counter).is_some_and(|total| used <= *total)
            })
        })
    }
}

fn tolerated(device: &Device, wanted: &Alternative) -> bool {
    let borne = |taint: &Taint| {
        let bears = |key: &str, value: &str, effect: &str| {
            wanted.tolerations.iter().any(|one| match (one.key.is_empty(), &*one.operator) {
                // A device's toleration without a key bears every key, whatever its operator.
                (true, "" | "Equal") => one.value == value && (one.effect.is_empty() || one.effect == effect),
                _ => one.tolerates(key, value, effect),
            })
        };
        &*taint.effect == "None" || bears(&taint.key, &taint.value, &taint.effect)
    };
    device.taints.iter().all(borne)
}
