//! How many replicas a metric asks for. Pure.
//!
//! Answers to upstream's `ReplicaCalculator`: pods that cannot be judged yet count for the status quo in the direction in which the
//! rest would scale. Values are thousandths, as upstream compares them.

use gifee_base::{Quantity, clock};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// So long after its start a pod's CPU may be that of its beginning.
const INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that was not ready for so long after its start has never been.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What was measured of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In thousandths.
    pub value: i64,
    /// When.
    pub at: Option<Timestamp>,
    /// Over how long.
    pub window: SignedDuration,
}

/// Samples by the names of pods.
pub type Samples = BTreeMap<String, Sample>;

/// How far usage may be off its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Below.
    pub down: f64,
    /// Above.
    pub up: f64,
}

impl Tolerance {
    fn bears(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What is scaled.
pub struct Target<'a> {
    /// The pods that are selected, with all that they say.
    pub pods: &'a [Value],
    /// How many there should be now.
    pub replicas: i32,
    /// How many there are.
    pub present: i32,
    /// How far off usage may be.
    pub tolerance: Tolerance,
    /// Now.
    pub now: Timestamp,
}

/// What a metric asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// So many replicas.
    pub replicas: i32,
    /// Usage in percent of what was requested.
    pub percent: Option<i64>,
    /// Usage, or usage per pod.
    pub usage: i64,
}

/// How usage is compared: with requests in percent, or as it is.
enum Measure<'a> {
    Percent(i64, &'a BTreeMap<String, i64>),
    Plain(i64),
}

struct Usage {
    ratio: f64,
    percent: Option<i64>,
    usage: i64,
}

impl Measure<'_> {
    fn usage(&self, samples: &Samples) -> Result<Usage, String> {
        match self {
            Self::Percent(target, requests) => {
                let known =
                    samples.iter().filter_map(|(pod, sample)| Some((sample.value, *requests.get(pod)?)));
                let (mut used, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
                for (value, request) in known {
                    used = used.saturating_add(value);
                    requested = requested.saturating_add(request);
                    count += 1;
                }
                if requested == 0 {
                    return Err("no metrics returned matched known pods".into());
                }
                let percent = used.saturating_mul(100) / requested;
                Ok(Usage {
                    ratio: percent as f64 / *target as f64,
                    percent: Some(percent),
                    usage: used / count,
                })
            }
            Self::Plain(target) => {
                let total = samples.values().fold(0_i64, |sum, sample| sum.saturating_add(sample.value));
                let usage = total / i64::try_from(samples.len().max(1)).unwrap_or(1);
                Ok(Usage { ratio: usage as f64 / *target as f64, percent: None, usage })
            }
        }
    }

    /// What a pod counts for that nothing is known of when the rest uses too little.
    fn filler(&self, pod: &str) -> i64 {
        match self {
            Self::Percent(target, requests) => {
                let request = requests.get(pod).copied().unwrap_or_default();
                request.saturating_mul((*target).max(100)) / 100
            }
            Self::Plain(target) => *target,
        }
    }
}

fn ceiling(replicas: f64) -> i32 {
    // A cast of floats saturates.
    replicas.ceil() as i32
}

impl Target<'_> {
    /// By usage in percent of what pods request of a resource, all of them or one container of each.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn by_utilization(
        &self,
        samples: Samples,
        resource: &str,
        container: Option<&str>,
        percent: i64,
    ) -> Result<Proposal, String> {
        let (samples, groups) = self.judged(samples, resource == "cpu")?;
        let requests = self.pods.iter().map(|pod| Ok((name(pod), request(pod, resource, container)?)));
        let requests = requests.collect::<Result<BTreeMap<_, _>, String>>()?;
        self.propose(samples, &groups, &Measure::Percent(percent, &requests))
    }

    /// By the average of a metric over pods.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn by_average(&self, samples: Samples, resource: &str, target: i64) -> Result<Proposal, String> {
        let (samples, groups) = self.judged(samples, resource == "cpu")?;
        self.propose(samples, &groups, &Measure::Plain(target))
    }

    /// By one value for all pods.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn by_value(&self, usage: i64, target: i64) -> Result<Proposal, String> {
        let ratio = usage as f64 / target as f64;
        let replicas = if self.replicas == 0 {
            ceiling(ratio)
        } else if self.tolerance.bears(ratio) {
            self.replicas
        } else {
            if self.pods.is_empty() {
                let why = "no pods returned by selector while calculating replica count";
                return Err(format!("unable to calculate ready pods: {why}"));
            }
            let ready = self.pods.iter().filter(|pod| {
                pod["status"]["phase"] == "Running"
                    && condition(pod).is_some_and(|ready| ready["status"] == "True")
            });
            ceiling(ratio * ready.count() as f64)
        };
        Ok(Proposal { replicas, percent: None, usage })
    }

    /// By one value that is shared by all pods.
    pub fn by_share(&self, usage: i64, target: i64) -> Proposal {
        let ratio = usage as f64 / (target as f64 * f64::from(self.present));
        let replicas = match self.tolerance.bears(ratio) {
            true => self.present,
            false => ceiling(usage as f64 / target as f64),
        };
        // Where there are no pods yet, all of it is shown.
        let usage = (usage as f64 / f64::from(self.present.max(1))).ceil() as i64;
        Proposal { replicas, percent: None, usage }
    }

    /// The samples that count.
    fn judged(&self, mut samples: Samples, cpu: bool) -> Result<(Samples, Groups), String> {
        if self.pods.is_empty() {
            return Err("no pods returned by selector while calculating replica count".into());
        }
        let groups = self.group(&samples, cpu);
        samples.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
        if samples.is_empty() {
            return Err("did not receive metrics for targeted pods (pods might be unready)".into());
        }
        Ok((samples, groups))
    }

    fn propose(
        &self,
        mut samples: Samples,
        groups: &Groups,
        measure: &Measure<'_>,
    ) -> Result<Proposal, String> {
        let first = measure.usage(&samples)?;
        let with = |replicas: i32| Proposal { replicas, percent: first.percent, usage: first.usage };
        let (up, down) = (first.ratio > 1.0, first.ratio < 1.0);
        let unready = up && !groups.unready.is_empty();
        if !unready && groups.missing.is_empty() {
            return Ok(with(match self.tolerance.bears(first.ratio) {
                true => self.replicas,
                false => ceiling(first.ratio * groups.ready as f64),
            }));
        }
        let sample = |value| Sample { value, at: None, window: SignedDuration::ZERO };
        for pod in groups.missing.iter().filter(|_| up || down) {
            samples.insert(pod.clone(), sample(if down { measure.filler(pod) } else { 0 }));
        }
        for pod in groups.unready.iter().filter(|_| unready) {
            samples.insert(pod.clone(), sample(0));
        }
        let second = measure.usage(&samples)?.ratio;
        if self.tolerance.bears(second) || down && second > 1.0 || up && second < 1.0 {
            return Ok(with(self.replicas));
        }
        let replicas = ceiling(second * samples.len() as f64);
        let turns = second < 1.0 && replicas > self.replicas || second > 1.0 && replicas < self.replicas;
        Ok(with(if turns { self.replicas } else { replicas }))
    }

    fn group(&self, samples: &Samples, cpu: bool) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let (name, phase) = (name(pod), pod["status"]["phase"].as_str().unwrap_or_default());
            if !pod["metadata"]["deletionTimestamp"].is_null() || phase == "Failed" {
                groups.ignored.insert(name);
            } else if phase == "Pending" {
                groups.unready.insert(name);
            } else if let Some(sample) = samples.get(&name) {
                if cpu && self.beginning(pod, sample) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        groups
    }

    /// Whether the CPU of a pod may be that of its beginning.
    fn beginning(&self, pod: &Value, sample: &Sample) -> bool {
        let time = |value: &Value| value.as_str().and_then(clock::parse_time);
        let (Some(started), Some(ready)) = (time(&pod["status"]["startTime"]), condition(pod)) else {
            return true;
        };
        let not_ready = ready["status"] == "False";
        let Some(since) = time(&ready["lastTransitionTime"]) else { return not_ready };
        if self.now.duration_since(started) < INITIALIZATION {
            let settled = sample.at.is_some_and(|at| at.duration_since(since) >= sample.window);
            return not_ready || !settled;
        }
        not_ready && since.duration_since(started) < INITIAL_READINESS
    }
}

/// Pods by what can be said of them.
#[derive(Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn condition(pod: &Value) -> Option<&Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == "Ready")
}

/// A quantity in thousandths.
pub fn milli(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<Quantity>().ok().map(|quantity| quantity.milli())
}

/// What a pod requests of a resource: for itself, or the sum of its containers and sidecars, or one of these.
fn request(pod: &Value, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let pod_name = name(pod);
    let list = |name: &str| pod["spec"][name].as_array().into_iter().flatten();
    let sidecars = list("initContainers").filter(|one| one["restartPolicy"] == "Always");
    let containers = list("containers").chain(sidecars);
    let whole = pod["spec"]["resources"]["requests"].as_object().filter(|all| !all.is_empty());
    if let Some(whole) = whole.filter(|_| container.is_none()) {
        let present = containers.filter_map(|one| milli(&one["resources"]["requests"][resource]));
        let sum = present.reduce(i64::saturating_add);
        return whole
            .get(resource)
            .and_then(milli)
            .or(sum)
            .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {pod_name}"));
    }
    let mut sum = None;
    for one in containers.filter(|one| container.is_none_or(|name| one["name"] == name)) {
        let request = milli(&one["resources"]["requests"][resource]).ok_or_else(|| {
            let container = one["name"].as_str().unwrap_or_default();
            format!("missing request for {resource} in container {container} of Pod {pod_name}")
        })?;
        sum = Some(sum.unwrap_or(0_i64).saturating_add(request));
    }
    match (sum, container) {
        (None, Some(container)) => Err(format!("container {container} not found in Pod {pod_name}")),
        (sum, _) => Ok(sum.unwrap_or_default()),
    }
}
