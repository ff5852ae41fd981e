//! Wires the agent together.

use std::path::Path;
use std::sync::Arc;

use gifee_base::{Clock, SystemClock};
use gifee_client::{Cache, Client, Scope};
use gifee_net::PodNetwork;
use gifee_oci::{ImageService, Runtime};
use gifee_reconcile::events::Source;
use gifee_reconcile::{Recorder, gvr};
use k8s_openapi::api::core::v1::Service;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::config::Config;
use crate::dispatch::{self, Dispatch};
use crate::error::Error;
use crate::eviction;
use crate::files;
use crate::images::Puller;
use crate::node::Heart;
use crate::node::machine::Machine;
use crate::paths::Paths;
use crate::references::References;
use crate::server::Server;
use crate::streams::upgrade;

/// How many sandboxes and containers are made at once, for each processor.
const STARTS_PER_CPU: usize = 3;

/// Runs the agent until the shutdown. Containers go on running.
///
/// # Errors
/// What keeps the agent from beginning; once it runs, nothing ends it but the shutdown.
pub async fn run(
    config: Config,
    client: Client,
    runtime: Arc<dyn Runtime>,
    images: Arc<dyn ImageService>,
    network: Arc<dyn PodNetwork>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Whatever is started here ends with this call, also if it fails.
    let shutdown = shutdown.child_token();
    let _guard = shutdown.clone().drop_guard();
    let server = Server::bind(config.listen).await?;
    let agent = Arc::new(agent(config, client, runtime, images, network, shutdown.clone())?);
    let heart = tokio::spawn(Heart::new(agent.clone(), server.port()).beat());
    let pods = dispatch::pods(&agent);
    let events = agent.runtime.events();
    let records = dispatch::records(&agent).await?;
    release_addresses(&agent, &records).await?;
    let serving = tokio::spawn(server.serve(agent.clone()));
    let evicting = tokio::spawn(eviction::keep(agent.clone()));
    let work = async {
        agent.services.synced().await;
        agent.node.synced().await;
        pods.synced().await;
        Dispatch::new(agent.clone(), pods.clone(), records, events).run().await;
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
    heart.abort();
    serving.abort();
    evicting.abort();
    // Workers give up where they wait, as in a crash; nothing of them is left when this returns.
    shutdown.cancel();
    agent.tasks.close();
    agent.tasks.wait().await;
    Ok(())
}

fn agent(
    config: Config,
    client: Client,
    runtime: Arc<dyn Runtime>,
    images: Arc<dyn ImageService>,
    network: Arc<dyn PodNetwork>,
    shutdown: CancellationToken,
) -> Result<Agent, Error> {
    let paths = Paths::new(&config.root);
    for folder in [paths.pods(), paths.memory(), paths.logs(), paths.namespaces()] {
        std::fs::create_dir_all(&folder).map_err(folder_error("creating", &folder))?;
    }
    mount_memory(&paths.memory())?;
    let machine = Machine::look(&config.root).map_err(Error::Machine)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let source = Source { component: "kubelet".into(), host: config.node_name.as_str().into() };
    let events = Recorder::start(client.clone(), clock.clone(), source, shutdown.clone());
    let services = Cache::start(client.clone(), Scope::all(gvr::<Service>()), shutdown.clone());
    let node = dispatch::node(&client, &config, &shutdown);
    let starts = Semaphore::new(STARTS_PER_CPU * usize::try_from(machine.cpus).unwrap_or(1).max(1));
    Ok(Agent {
        references: References::new(client.clone(), shutdown.clone()),
        images: Puller::new(images),
        paths,
        config,
        client,
        events,
        meter: Default::default(),
        started: clock.now(),
        clock,
        runtime,
        network,
        node,
        services,
        machine,
        starts,
        streams: Arc::new(Semaphore::new(upgrade::STREAMS)),
        pods: Default::default(),
        sandboxes: Default::default(),
        tasks: Default::default(),
        shutdown,
    })
}

fn folder_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Folder { action, path, source }
}

/// Mounts the file system in memory for what must not reach the disk, unless an agent before did.
fn mount_memory(path: &Path) -> Result<(), Error> {
    if files::mounted(path).map_err(|error| folder_error("looking at", path)(std::io::Error::other(error)))? {
        return Ok(());
    }
    let mounted =
        rustix::mount::mount("gifee", path, "tmpfs", rustix::mount::MountFlags::NOSUID, c"mode=0711");
    mounted.map_err(|error| folder_error("mounting a file system in memory on", path)(error.into()))
}

/// Gives back addresses of sandboxes that the runtime does not have, and their namespaces.
async fn release_addresses(
    agent: &Agent,
    records: &std::collections::HashMap<String, crate::worker::Records>,
) -> Result<(), Error> {
    let known: Vec<String> =
        records.values().flat_map(|one| &one.sandboxes).filter_map(crate::labels::sandbox_network).collect();
    for attachment in agent.network.list().await? {
        if known.contains(&attachment.sandbox_id) {
            continue;
        }
        agent.network.detach(&attachment.sandbox_id).await?;
        let path = agent.paths.namespaces().join(&attachment.sandbox_id);
        if let Err(error) = gifee_oci::netns::remove(&path) {
            tracing::warn!(%error, "a network namespace was not removed");
        }
    }
    Ok(())
}
