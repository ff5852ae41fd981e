//! Upstream's conformance tests of workloads that need pods to run, fail and become ready but nothing of a real
//! container: step by step what their bodies do, side by side on one control plane with simulated nodes.
//!
//! Invariant: each test has a namespace of its own and says itself how its pods behave.

mod budgets;
mod daemons;
mod deployments;
mod garbage;
mod jobs;
pub mod place;
mod replicas;
mod stateful;

use futures_util::future::BoxFuture;
use gifee_apiserver::Config;
use gifee_base::{Clock, Gvr};
use gifee_simulation::World;
use gifee_simulation::fleet::{Behaviour, Fleet, Shape};
use gifee_simulation::world::Parts;
use gifee_store::memory::Disk;
use gifee_store::{Limits, Store};
use gifee_testkit::RuntimeClock;
use parking_lot::Mutex;
use place::{Place, Scripts};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A namespace, and what is done in it.
type Step = (&'static str, fn(Place) -> BoxFuture<'static, ()>);

/// Nodes of the cluster.
pub const NODES: usize = 3;

async fn fleet(world: &World, clock: Arc<RuntimeClock>, shutdown: &CancellationToken) -> Arc<Fleet> {
    let behaviour = Behaviour {
        start: Duration::from_millis(5),
        run: Duration::from_millis(20),
        renew: Duration::from_secs(10),
        ..Behaviour::default()
    };
    let fleet = Fleet::start(world.admin(), world.agents(), clock.clone(), behaviour, shutdown.clone()).await;
    let capacity = [("cpu", "64"), ("memory", "64Gi"), ("pods", "500")];
    let capacity = capacity.map(|(name, amount)| (name.to_owned(), amount.into())).into_iter().collect();
    let shape = Shape { capacity, ..Shape::default() };
    for index in 0..NODES {
        let node = shape.object(index, clock.now());
        world.admin().create(&Gvr::core("nodes"), "", node).await.unwrap();
    }
    fleet.adopt(&(0..NODES).map(|index| shape.name(index)).collect::<Vec<_>>()).await;
    fleet
}

/// A running control plane with simulated nodes, until it is dropped.
pub struct Cluster {
    world: World,
    fleet: Arc<Fleet>,
    scripts: Arc<Mutex<Scripts>>,
    _ends: DropGuard,
}

impl Cluster {
    /// Starts one with a store, and an API server that is otherwise configured.
    pub async fn start(store: Arc<dyn Store>, configure: impl FnOnce(&mut Config)) -> Self {
        let (shutdown, clock) = (CancellationToken::new(), RuntimeClock::new());
        let parts =
            Parts { store, clock: clock.clone(), seed: None, between: None, shutdown: shutdown.clone() };
        let world = World::configured(parts, configure).await.unwrap();
        world.components();
        let fleet = fleet(&world, clock, &shutdown).await;
        let scripts = Arc::new(Mutex::new(Scripts::default()));
        let said = scripts.clone();
        fleet.direct(Arc::new(move |pod| said.lock().conduct(pod)));
        Self { world, fleet, scripts, _ends: shutdown.drop_guard() }
    }

    /// A namespace that is yet to be opened.
    pub fn place(&self, namespace: &str) -> Place {
        let (client, fleet, scripts) = (self.world.admin(), self.fleet.clone(), self.scripts.clone());
        Place { client, fleet, scripts, namespace: namespace.to_owned() }
    }
}

/// A store that is gone with the test.
pub fn store() -> Arc<dyn Store> {
    Arc::new(Disk::default().open_inline(Limits::default()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn workloads_do_what_upstreams_tests_ask() {
    let cluster = Cluster::start(store(), |_| {}).await;
    let only = std::env::var("GIFEE_STEP").ok();
    let steps = [
        budgets::STEPS,
        daemons::STEPS,
        deployments::STEPS,
        garbage::STEPS,
        jobs::STEPS,
        replicas::STEPS,
        stateful::STEPS,
    ];
    let steps = steps.into_iter().flatten().filter(|(name, _)| only.as_ref().is_none_or(|one| one == name));
    let mut running = Vec::new();
    for (name, step) in steps {
        let place = cluster.place(name);
        let step = async move {
            step(place.open().await).await;
        };
        running.push((name, tokio::spawn(step)));
    }
    let mut failed = Vec::new();
    for (name, step) in running {
        if step.await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "these failed: {}", failed.join(", "));
}
