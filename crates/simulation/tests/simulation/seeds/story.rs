//! One story: a cluster comes up, things are done and go wrong, faults end, time passes, and all is as it must be.

use super::deeds::DEEDS;
use super::faults::{Faults, Watched};
use super::model::{Model, When};
use super::random::Random;
use crate::conformance::place::Place;
use crate::measured::{self, Net, Told as Metrics, waiting};
use futures_util::FutureExt;
use gifee_base::{Clock, Gvr};
use gifee_client::{Client, DeleteOptions, ListOptions, PatchKind};
use gifee_simulation::World;
use gifee_simulation::fleet::{Behaviour, Conduct, Fleet, Shape};
use gifee_simulation::world::Parts;
use gifee_store::memory::Disk;
use gifee_store::{Limits, Range, Store};
use gifee_testkit::RuntimeClock;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Deeds of a story.
const DEEDS_MAXIMUM: u64 = 14;
/// Nodes that a story may have.
const NODES: usize = 4;
/// What passes after the last fault: longer than the longest wait of any controller.
const REST: Duration = Duration::from_secs(1_500);
/// Over which nothing may be written but leases.
const QUIET: Duration = Duration::from_secs(120);

/// What became of a seed.
pub struct Told {
    /// What was done.
    pub deeds: Vec<String>,
    /// Which invariants were broken.
    pub broken: Vec<String>,
    /// How many commits there were.
    pub commits: u64,
    /// All of them.
    pub told: Vec<String>,
    /// All of them in one number.
    pub digest: u64,
    /// How often each kind of fault has happened.
    pub faults: BTreeMap<&'static str, u64>,
}

/// The running cluster of a story.
struct Running {
    world: World,
    fleet: Arc<Fleet>,
    components: Components,
    shutdown: CancellationToken,
}

/// Controllers and scheduler, which crash together when this is dropped.
struct Components {
    tasks: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
}

impl Components {
    fn start(world: &World, shutdown: CancellationToken) -> Self {
        let tasks = vec![
            tokio::spawn(world.controllers(shutdown.clone())),
            tokio::spawn(world.scheduler(shutdown.clone())),
        ];
        Self { tasks, shutdown }
    }
}

impl Drop for Components {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shutdown.cancel();
    }
}

/// What deeds are done on.
pub struct Stage {
    /// The wall clock.
    pub clock: Arc<RuntimeClock>,
    disk: Disk,
    model: Arc<Mutex<Model>>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// What others say of their metrics.
    metrics: Arc<Metrics>,
    seed: u64,
    shape: Shape,
    running: Option<Running>,
}

/// A disk with the objects that every cluster has, made once for all seeds.
static FIRST: OnceLock<Disk> = OnceLock::new();

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// Tells the story of a seed.
pub fn tell(seed: u64) -> Told {
    let first = FIRST.get_or_init(|| {
        std::thread::spawn(|| {
            let disk = prepare();
            // What a process makes once and keeps draws on randomness: a story in which everything is done comes first,
            // so that those that count find it all made.
            super::random::seed(0);
            let every: Vec<usize> = (0..DEEDS.len()).chain(0..DEEDS.len()).collect();
            drop(enact(0, disk.copy(), |_| every));
            disk
        })
        .join()
        .expect("the first disk")
    });
    super::random::seed(seed);
    enact(seed, first.copy(), |random| {
        let weights: u64 = DEEDS.iter().map(|deed| deed.weight).sum();
        let count = DEEDS_MAXIMUM / 2 + random.below(DEEDS_MAXIMUM / 2);
        let mut one = || {
            let mut lot = random.below(weights);
            DEEDS.iter().position(|deed| {
                let here = lot < deed.weight;
                lot = lot.saturating_sub(deed.weight);
                here
            })
        };
        (0..count).filter_map(|_| one()).collect()
    })
}

/// Does deeds one after the other in a cluster that begins with what is on a disk, until all is at rest.
fn enact(seed: u64, disk: Disk, choose: impl FnOnce(&mut Random) -> Vec<usize>) -> Told {
    runtime().block_on(async {
        let mut random = Random::new(seed);
        let mut stage = Stage::open(seed, disk).await;
        let mut deeds = Vec::new();
        for index in 0..2 + random.below(3) as usize {
            let _ = stage.add_node(index.min(NODES - 1)).await;
        }
        stage.queue(20);
        stage.faults.set(true);
        for chosen in choose(&mut random) {
            deeds.push((DEEDS[chosen].run)(&mut stage, &mut random).await);
            let pause = if random.happens(500) { 500 } else { 90_000 };
            tokio::time::sleep(Duration::from_millis(random.below(pause))).await;
        }
        stage.rest().await;
        let mut model = stage.model.lock();
        Told {
            deeds,
            broken: std::mem::take(&mut model.broken),
            commits: model.commits,
            told: std::mem::take(&mut model.told),
            digest: model.digest(),
            faults: stage.faults.counts(),
        }
    })
}

/// Writes the objects that every cluster has.
fn prepare() -> Disk {
    super::random::seed(0);
    let disk = Disk::default();
    runtime().block_on(async {
        let mut stage = Stage::new(0, disk.clone());
        stage.start().await;
        let namespace =
            serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "stays" } });
        let made = stage.client().create(&Gvr::core("namespaces"), "", namespace).await;
        made.expect("the namespace is made");
        let (client, fleet) = (stage.client(), stage.fleet());
        let place = Place { client, fleet, scripts: Arc::default(), namespace: "stays".into() };
        measured::register(&place).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        stage.stop().await;
    });
    disk
}

impl Stage {
    fn new(seed: u64, disk: Disk) -> Self {
        let capacity = [("cpu", "2"), ("memory", "4Gi"), ("pods", "10")];
        let capacity = capacity.map(|(name, amount)| (name.to_owned(), amount.into())).into_iter().collect();
        Self {
            clock: RuntimeClock::new(),
            disk,
            model: Arc::default(),
            faults: Faults::new(seed),
            metrics: Arc::default(),
            seed,
            shape: Shape { capacity, zones: vec!["a".into(), "b".into()], ..Shape::default() },
            running: None,
        }
    }

    async fn open(seed: u64, disk: Disk) -> Self {
        let mut stage = Self::new(seed, disk);
        stage.start().await;
        stage
    }

    /// Brings up store, server, components and nodes from what is on the disk.
    async fn start(&mut self) {
        let inner = self.disk.open_inline(Limits::default()).expect("what was written can be read");
        self.compare(&inner).await;
        let shutdown = CancellationToken::new();
        let (model, faults) = (self.model.clone(), self.faults.clone());
        let store = Arc::new(Watched { inner, model, faults, dead: shutdown.clone() });
        let faults = self.faults.clone();
        let parts = Parts {
            store,
            clock: self.clock.clone(),
            seed: Some(self.seed),
            between: Some(Arc::new(move |_: &str, client: Client| faults.between(client))),
            shutdown: shutdown.clone(),
        };
        let on = self.faults.clone();
        on.set(false);
        let net = Net::new(self.metrics.clone());
        let world =
            World::configured(parts, |config| net.configure(config)).await.expect("the server starts");
        let behaviour = Behaviour {
            start: Duration::from_secs(2),
            stop: Duration::from_secs(1),
            run: Duration::from_secs(30),
            renew: Duration::from_secs(20),
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        let fleet = Fleet::start(world.admin(), world.agents(), clock, behaviour, shutdown.clone()).await;
        // One in four that end by themselves fails; which ones follows from the seed, as their UIDs do.
        fleet.direct(Arc::new(|pod| Conduct {
            codes: vec![i64::from(pod.uid().bytes().map(u64::from).sum::<u64>() % 4 == 0), 0],
            ..Conduct::default()
        }));
        let components = Components::start(&world, shutdown.child_token());
        self.running = Some(Running { world, fleet, components, shutdown });
    }

    /// What was acknowledged before a crash is there after it, and nothing else.
    async fn compare(&self, store: &dyn Store) {
        let mut model = self.model.lock();
        let page = store.range(Range::prefix("")).now_or_never();
        let Some(Ok(page)) = page else {
            model.broken.push("the store cannot be read after a crash".into());
            return;
        };
        if model.commits == 0 {
            for entry in page.entries {
                model.commit(&entry.key, Some(&entry.value), 0);
            }
            model.broken.clear();
            return;
        }
        let there: std::collections::BTreeMap<_, _> =
            page.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        if there != model.raw {
            model.broken.push("a crash lost or invented a write".into());
        }
    }

    /// Ends everything as a crash does: where it stands.
    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown.cancel();
            drop(running);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything crashes and comes up again.
    pub async fn crash(&mut self) {
        self.faults.happened("everything crashes");
        let alive: Vec<String> = (0..NODES).map(|index| self.shape.name(index)).collect();
        self.stop().await;
        self.start().await;
        self.fleet().adopt(&alive).await;
        self.faults.set(true);
    }

    /// Controllers and scheduler crash and come up again.
    pub fn restart_components(&mut self) {
        self.faults.happened("controllers and scheduler crash");
        if let Some(running) = &mut self.running {
            running.components = Components::start(&running.world, running.shutdown.child_token());
        }
    }

    /// May do everything, and meets no faults.
    pub fn client(&self) -> Client {
        self.running.as_ref().expect("the story goes on").world.admin()
    }

    /// From now on so many wait in a queue that is elsewhere.
    pub fn queue(&self, length: u64) {
        self.metrics.set("queue", &[waiting(&length.to_string())]);
    }

    /// The simulated nodes.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.running.as_ref().expect("the story goes on").fleet.clone()
    }

    /// The name of a node.
    pub fn node(&self, index: usize) -> String {
        self.shape.name(index)
    }

    /// Adds a node, or lets it speak again if it is there.
    pub async fn add_node(&mut self, index: usize) -> gifee_client::Result<()> {
        let object = self.shape.object(index, self.clock.now());
        let made = self.client().create(&Gvr::core("nodes"), "", object).await;
        self.fleet().adopt(&[self.shape.name(index)]).await;
        made.map(drop)
    }

    /// Faults end, all nodes speak, time passes; then everything must be as it should, and stay so.
    async fn rest(&mut self) {
        self.faults.set(false);
        let schedules = Gvr::new("batch", "v1", "cronjobs");
        let all = self.client().list_all(&schedules, "", &ListOptions::default()).await;
        for schedule in all.expect("they can be listed").items {
            let stop = serde_json::json!({ "spec": { "suspend": true } });
            let _ = self.client().patch(&schedules, &schedule.key(), PatchKind::Merge, stop).await;
        }
        // Whoever has nothing to scale says so for ever.
        let autoscalers = Gvr::new("autoscaling", "v2", "horizontalpodautoscalers");
        let all = self.client().list_all(&autoscalers, "", &ListOptions::default()).await;
        for autoscaler in all.expect("they can be listed").items {
            let key = autoscaler.key();
            if self.client().get(&Gvr::new("apps", "v1", "deployments"), &key).await.is_err() {
                let _ = self.client().delete(&autoscalers, &key, &DeleteOptions::default()).await;
            }
        }
        for index in 0..NODES {
            let _ = self.add_node(index).await;
        }
        tokio::time::sleep(REST).await;
        self.model.lock().check(When::AtRest, &Default::default());
        self.model.lock().writes.clear();
        tokio::time::sleep(QUIET).await;
        let mut model = self.model.lock();
        let writes = std::mem::take(&mut model.writes);
        if !writes.is_empty() {
            model.broken.push(format!("a quiet cluster writes: {writes:?}"));
        }
    }
}
