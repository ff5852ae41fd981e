//! The scheduler: a place for every pod.
//!
//! Watches feed a compact picture of the cluster; decisions are pure functions of it; bindings are written
//! in parallel while the next decisions already see their pods as placed. Invariant: a quiet cluster is not
//! written to. Answers to kube-scheduler.

mod advice;
mod budgets;
mod claims;
mod cluster;
pub mod configuration;
mod consult;
mod decode;
mod devices;
mod drive;
mod effects;
mod extended;
pub mod extender;
mod feed;
mod gang;
mod groups;
mod journal;
mod node;
mod nominations;
mod placement;
pub mod plugins;
mod pod;
mod prebind;
mod preemption;
mod profile;
mod queue;
mod ranking;
mod relations;
mod resources;
mod scheduler;
mod selectors;
mod storage;
mod terms;
#[cfg(test)]
mod tests;
mod topology;

pub use cluster::{Cluster, Load, Placed};
pub use decode::pod as decode;
pub use devices::{Devices, Reservation};
pub use node::{Node, Taint};
pub use placement::{Diagnosis, Feasible, Placement, View};
pub use plugins::{PLUGINS, Plugin};
pub use pod::{Condition, HostPort, Owner, Pod, Shape, Template};
pub use profile::{Defaults, Profile};
pub use ranking::{Ranking, Rankings};
pub use relations::Relations;
pub use resources::Resources;
pub use scheduler::{Binding, Nominate, Preemption, Report, Scheduler, Step};
pub use storage::{Bindings, Storage};
pub use terms::{Near, Spread, Terms};

use configuration::Configuration;
use drive::Shared;
use effects::Effects;
use extender::Caller;
use gifee_base::{Clock, ObjectKey, SystemClock};
use gifee_client::Client;
use gifee_reconcile::Recorder;
use gifee_reconcile::events::{Api, Source};
use gifee_reconcile::lease::{Election, Timing};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The name that pods ask for unless they say otherwise.
pub const NAME: &str = "default-scheduler";
/// Half the pause before a scheduler that panicked begins anew; it doubles each time, up to 32 s.
const RESTART_BASE: Duration = Duration::from_millis(500);

/// How to schedule.
#[derive(Clone)]
pub struct Config {
    /// Profiles: which pods to decide on, and how.
    pub configuration: Configuration,
    /// Unique name of this process if several compete to schedule; none: begin at once.
    pub elect_as: Option<String>,
    /// Seed of the lots that are drawn among equally good nodes; none: an unpredictable one.
    pub seed: Option<u64>,
    /// Now.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("configuration", &self.configuration)
            .field("elect_as", &self.elect_as)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        let configuration = Configuration::default();
        Self { configuration, elect_as: None, seed: None, clock: Arc::new(SystemClock) }
    }
}

/// Schedules until the shutdown; with [`Config::elect_as`] only while elected.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let Some(identity) = config.elect_as.clone() else {
        return schedule(client, &config, None, shutdown).await;
    };
    let election = Election {
        client: client.clone(),
        clock: config.clock.clone(),
        lease: ObjectKey::new("kube-system", "kube-scheduler"),
        identity,
        timing: Timing::default(),
    };
    election.run(shutdown, |term| schedule(client.clone(), &config, Some(&election), term)).await;
}

/// Schedules, and begins anew if it panics: all it knows comes out of watches again.
async fn schedule(client: Client, config: &Config, election: Option<&Election>, shutdown: CancellationToken) {
    let seed = config.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let clock = config.clock.clone();
    let configuration = &config.configuration;
    let name = configuration.profiles.first().map_or(NAME, |profile| &*profile.name);
    let source = Source::component(name);
    let events = Recorder::start_api(client.clone(), clock.clone(), source, Api::Events, shutdown.clone());
    if let Some(election) = election {
        election.announce(&events, "Leading");
    }
    let extenders = &configuration.extenders;
    let callers = extenders.iter().map(|one| Caller::new(one.clone())).collect();
    let effects = Effects { client, clock, events, extenders: callers };
    let mut failures = 0_u32;
    while !shutdown.is_cancelled() {
        let scheduler = Scheduler::new(name, seed)
            .with_profiles(configuration.profiles.clone())
            .with_extenders(extenders.clone())
            .with_backoffs(configuration.initial_backoff, configuration.maximum_backoff);
        let shared = Shared::new(scheduler, effects.clone());
        if tokio::spawn(shared.run(shutdown.clone())).await.is_ok() {
            return;
        }
        failures += 1;
        tracing::error!(failures, "the scheduler panicked");
        let pause = RESTART_BASE.saturating_mul(1 << failures.min(6));
        let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
    }
}
