//! What the node takes back when it runs short: images that nobody uses, then pods.
//!
//! Invariant: at most one pod goes at a look for what the node lacks, so that what it leaves behind counts before another
//! one has to follow; critical pods never go. Time itself is the event here: usage tells nobody that it grows. Answers to
//! `pkg/kubelet/eviction` with its hard thresholds, and to the image garbage collector.

mod images;
mod limits;
mod plan;
#[cfg(test)]
mod tests;
pub mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use gifee_reconcile::events::Reference;

use crate::agent::Agent;
use crate::node::machine;
use crate::pod::conditions::EVICTED;
use crate::pod::{members, qos};
use crate::usage;
use crate::worker::{Mailbox, Shown};
use images::Known;
use plan::{Candidate, Part, Reading, Signal};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// Looks until it is dropped.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let mut known = Known::default();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let pods = running(&agent);
        for (mailbox, shown) in &pods {
            if limits::limited(&shown.pod)
                && let Some(message) = limits::exceeded(&shown.pod, &limits::taken(&agent, shown).await)
            {
                mailbox.evict(EVICTED, message);
            }
        }
        collect(&agent, &mut known, images::needed(usage::room(&agent.config.root), &agent.config.images))
            .await;
        let Some(reading) = readings(&agent).into_iter().find(Reading::low) else { continue };
        tracing::warn!(
            resource = reading.signal.resource(),
            available = reading.available,
            "the node runs short"
        );
        let about = Reference {
            kind: "Node".to_owned(),
            name: agent.config.node_name.clone(),
            uid: agent.config.node_name.clone(),
            ..Reference::default()
        };
        let message = format!("Attempting to reclaim {}", reading.signal.resource());
        agent.events.warning(about, "EvictionThresholdMet", message);
        if reading.signal != Signal::Memory && collect(&agent, &mut known, u64::MAX).await {
            // What this gave is seen at the next look.
            continue;
        }
        let mut candidates = Vec::new();
        for (_, shown) in &pods {
            candidates.push(candidate(&agent, shown, reading.signal).await);
        }
        let Some(victim) = plan::victim(candidates) else { continue };
        let message = plan::message(&reading, &victim);
        if let Some((mailbox, _)) = pods.iter().find(|(_, shown)| members::uid(&shown.pod) == victim.uid) {
            mailbox.evict(EVICTED, message);
        }
    }
}

/// The pods that have not ended and are not about to.
fn running(agent: &Agent) -> Vec<(Arc<Mailbox>, Arc<Shown>)> {
    let mailboxes: Vec<Arc<Mailbox>> = agent.pods.lock().values().cloned().collect();
    let shown = mailboxes.into_iter().filter_map(|mailbox| Some((mailbox.clone(), mailbox.shown()?)));
    shown
        .filter(|(mailbox, shown)| {
            let phase = shown.pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !mailbox.removed()
                && shown.pod.metadata.deletion_timestamp.is_none()
                && !matches!(phase, Some("Succeeded" | "Failed"))
        })
        .collect()
}

/// Removes images until so many bytes are free; whether any went.
async fn collect(agent: &Agent, known: &mut Known, need: u64) -> bool {
    if need == 0 {
        return false;
    }
    let service = agent.images.service();
    let (Ok(images), Ok(used)) = (service.list().await, images::used(agent).await) else { return false };
    let mut any = false;
    for id in known.choose(&images, &used, need, &agent.config.images, agent.clock.now()) {
        match service.remove(&id).await {
            Ok(()) => any = true,
            Err(error) => tracing::warn!(id, %error, "an image was not removed"),
        }
    }
    any
}

fn readings(agent: &Agent) -> Vec<Reading> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let room = usage::room(&agent.config.root);
    let thresholds = &agent.config.thresholds;
    let mut readings = Vec::new();
    // Nothing is sampled as long as there is enough.
    if let Some(available) = machine::memory_available() {
        let threshold = thresholds.memory.of(agent.machine.memory_bytes);
        readings.push(Reading { signal: Signal::Memory, available, threshold });
    }
    if room.capacity > 0 {
        // As df counts: what is set aside for others is nothing that pods could have used up.
        let usable = room.used.saturating_add(room.available);
        let (available, threshold) = (number(room.available), thresholds.disk(number(usable)));
        readings.push(Reading { signal: Signal::Disk, available, threshold });
        let (available, threshold) = (number(room.inodes_free), thresholds.inodes(number(room.inodes)));
        readings.push(Reading { signal: Signal::Inodes, available, threshold });
    }
    readings
}

/// A pod as far as it matters who goes.
async fn candidate(agent: &Agent, shown: &Arc<Shown>, signal: Signal) -> Candidate {
    let pod = &shown.pod;
    let mut parts: Vec<Part> = Vec::new();
    let mut volumes = 0;
    match signal {
        Signal::Memory => {
            let sample = agent.meter.sample(agent, false).await;
            let own = sample.pods.iter().find(|one| members::uid(&one.shown.pod) == members::uid(pod));
            for one in own.iter().flat_map(|pod| &pod.containers) {
                let used = i64::try_from(one.figures.stats.memory_working_set).unwrap_or(i64::MAX);
                parts.push(Part { name: one.name.clone(), used, requested: 0 });
            }
        }
        Signal::Disk | Signal::Inodes => {
            let taken = limits::taken(agent, shown).await;
            volumes = taken.volumes.iter().map(|(_, bytes)| *bytes).fold(0, i64::saturating_add);
            let containers = taken.containers.into_iter();
            parts.extend(containers.map(|(name, used)| Part { name, used, requested: 0 }));
        }
    }
    for member in members::members(pod) {
        if let Some(part) = parts.iter_mut().find(|part| part.name == member.name()) {
            part.requested = qos::request(&member.container, signal.resource()).value();
        }
    }
    let sum = |of: fn(&Part) -> i64| parts.iter().map(of).fold(0, i64::saturating_add);
    Candidate {
        uid: members::uid(pod).to_owned(),
        priority: i64::from(members::spec(pod).priority.unwrap_or(0)),
        used: sum(|part| part.used).saturating_add(volumes),
        requested: sum(|part| part.requested),
        parts,
    }
}
