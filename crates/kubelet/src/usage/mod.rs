//! What containers, pods and the machine use.
//!
//! Invariant: nothing is read unless somebody asks, and at most once a second however many ask. A rate is over the time
//! since an earlier sample; if there is none, a second is waited for one. Answers to cAdvisor and to the kubelet's
//! stats provider.

mod disk;
mod machine;
mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gifee_oci::status::{DiskUsage, Stats};
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::worker::Shown;

pub use disk::{Room, room};
pub use machine::{Interface, processes};

/// A sample is good enough for whoever asks within this time.
const FRESH: Duration = Duration::from_secs(1);
/// How long a second sample is waited for, if there is no earlier one.
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// A rate is over about this time, if there are samples to choose from.
const WINDOW: Duration = Duration::from_secs(20);
/// What is older says nothing about now.
const WINDOW_MAXIMUM: Duration = Duration::from_secs(120);
/// Samples whose CPU times are remembered; the oldest is forgotten.
const SAMPLES: usize = 16;

/// Figures of a control group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What the kernel counts.
    pub stats: Stats,
    /// CPU time used per second, nanoseconds; `None` if that is not known.
    pub cpu_rate: Option<u64>,
    /// Since when it counts.
    pub started: Timestamp,
}

/// Figures of a container that runs.
#[derive(Clone, Debug)]
pub struct ContainerUsage {
    /// Name in the pod.
    pub name: String,
    /// The run.
    pub id: String,
    /// Its image.
    pub image: String,
    /// Its figures.
    pub figures: Figures,
}

/// Figures of a pod that runs.
#[derive(Clone)]
pub struct PodUsage {
    /// The pod.
    pub shown: Arc<Shown>,
    /// Its control group.
    pub cgroup: String,
    /// All of it together.
    pub figures: Figures,
    /// Its containers that run.
    pub containers: Vec<ContainerUsage>,
    /// Its network interfaces; none with the host's network.
    pub network: Vec<Interface>,
}

/// Figures of all that there is, at one time.
#[derive(Clone)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// The machine.
    pub machine: Figures,
    /// Bytes of memory that the machine could give away.
    pub memory_available: u64,
    /// The machine's network interfaces that lead somewhere.
    pub network: Vec<Interface>,
    /// The agent's own process.
    pub agent: Figures,
    /// All pods together.
    pub all_pods: Figures,
    /// The pods that run.
    pub pods: Vec<PodUsage>,
    /// Whether something could not be read that should have been.
    pub failed: bool,
}

/// CPU times of an earlier sample, by what they are of.
struct Past {
    at: Instant,
    time: Timestamp,
    cpu: HashMap<String, u64>,
}

#[derive(Default)]
struct State {
    latest: Option<(Instant, Arc<Sample>)>,
    past: VecDeque<Past>,
}

/// Takes samples.
#[derive(Default)]
pub struct Meter {
    samples: Mutex<State>,
    /// At most one for each container and volume; old ones go with the next question.
    disks: Mutex<HashMap<String, (Instant, DiskUsage)>>,
}

impl Meter {
    /// A sample of now; with rates if these are wanted.
    pub async fn sample(&self, agent: &Agent, rates: bool) -> Arc<Sample> {
        let mut state = self.samples.lock().await;
        if let Some((at, latest)) = &state.latest
            && at.elapsed() < FRESH
            && (!rates || latest.machine.cpu_rate.is_some())
        {
            return latest.clone();
        }
        if rates && state.base(Instant::now()).is_none() {
            let first = read::sample(agent).await;
            state.remember(&first, Instant::now());
            tokio::time::sleep(FIRST_WINDOW).await;
        }
        let mut sample = read::sample(agent).await;
        let now = Instant::now();
        if let Some(base) = state.base(now) {
            rate(&mut sample, base, now);
        }
        state.remember(&sample, now);
        let sample = Arc::new(sample);
        state.latest = Some((now, sample.clone()));
        sample
    }
}

impl State {
    /// The sample that rates are over: the oldest of the last few seconds, else the newest that is not too old.
    fn base(&self, now: Instant) -> Option<&Past> {
        let age = |past: &&Past| now.saturating_duration_since(past.at);
        let mut recent = self.past.iter().filter(|past| age(past) >= FRESH / 2);
        let within = recent.clone().find(|past| age(past) <= WINDOW);
        within.or_else(|| recent.rfind(|past| age(past) <= WINDOW_MAXIMUM))
    }

    fn remember(&mut self, sample: &Sample, now: Instant) {
        self.past.retain(|past| now.saturating_duration_since(past.at) <= WINDOW_MAXIMUM);
        if self.past.len() == SAMPLES {
            self.past.pop_front();
        }
        let mut cpu = HashMap::new();
        each(sample, &mut |key, figures| {
            cpu.insert(key.to_owned(), figures.stats.cpu_nanos);
        });
        self.past.push_back(Past { at: now, time: sample.at, cpu });
    }
}

/// All figures, by what they are of.
fn each(sample: &Sample, take: &mut dyn FnMut(&str, &Figures)) {
    take("machine", &sample.machine);
    take("agent", &sample.agent);
    take("pods", &sample.all_pods);
    for pod in &sample.pods {
        take(&pod.cgroup, &pod.figures);
        pod.containers.iter().for_each(|container| take(&container.id, &container.figures));
    }
}

/// Sets the rates of a sample.
fn rate(sample: &mut Sample, base: &Past, now: Instant) {
    let window = now.saturating_duration_since(base.at).as_nanos();
    let at = sample.at;
    let set = |key: &str, figures: &mut Figures| {
        let used = figures.stats.cpu_nanos;
        let (before, nanos) = match base.cpu.get(key) {
            // A counter that went back is another group of the same name.
            Some(before) if *before <= used => (*before, window),
            _ if figures.started > base.time => {
                (0, u128::try_from(at.duration_since(figures.started).as_nanos()).unwrap_or(0))
            }
            _ => return,
        };
        let rate = (u128::from(used - before) * 1_000_000_000).checked_div(nanos);
        figures.cpu_rate = rate.and_then(|rate| u64::try_from(rate).ok());
    };
    set("machine", &mut sample.machine);
    set("agent", &mut sample.agent);
    set("pods", &mut sample.all_pods);
    for pod in &mut sample.pods {
        set(&pod.cgroup, &mut pod.figures);
        for container in &mut pod.containers {
            set(&container.id, &mut container.figures);
        }
    }
}
