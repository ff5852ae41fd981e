//! Runs a workload, step by step, and tells what happened.

use crate::error::{Error, Result};
use crate::fleet::{Agents, Fleet};
use crate::ledger::{Ledger, Pod};
use crate::operations::{Stage, Step};
use crate::report::{Move, Reason, Report, StepReport, Tally};
use crate::usage;
use crate::workload::Workload;
use gifee_base::{Clock, ObjectKey};
use gifee_client::Client;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a workload is run with.
pub struct Plan {
    /// May do everything.
    pub client: Client,
    /// Makes the clients of nodes' agents.
    pub agents: Agents,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Nodes that are there already, and are simulated.
    pub nodes: Vec<String>,
    /// What it is run against, for people.
    pub against: String,
    /// Ends the simulated nodes.
    pub shutdown: CancellationToken,
}

/// Runs a workload. What is asked of a cluster (a change, a loss) is given time to settle after each such step.
///
/// # Errors
/// That of the step that failed.
pub async fn run(workload: &Workload, plan: Plan) -> Result<Report> {
    let Plan { client, agents, clock, nodes, against, shutdown } = plan;
    let fleet = Fleet::start(client.clone(), agents, clock.clone(), workload.behaviour, shutdown).await;
    fleet.adopt(&nodes).await;
    let stage = Stage::new(client, fleet.clone(), clock);
    let settle = crate::operations::settle();
    let mut report = Report { name: workload.name.clone(), against, ..Report::default() };
    if !nodes.is_empty() {
        let wrap = |source| Error::Step { index: 0, opcode: "settle".into(), source: Box::new(source) };
        settle.run(&stage).await.map_err(wrap)?;
    }
    let begun = usage::cpu();
    for (index, (opcode, step)) in workload.steps.iter().enumerate() {
        let before = fleet.ledger(placed);
        let (cpu, at) = (usage::cpu(), Instant::now());
        let wrap = |source| Error::Step { index, opcode: opcode.clone(), source: Box::new(source) };
        let outcome = step.run(&stage).await.map_err(wrap)?;
        let (elapsed, question) = (at.elapsed(), outcome.question && !nodes.is_empty());
        if question {
            settle.run(&stage).await.map_err(wrap)?;
        }
        let used = usage::cpu().saturating_sub(cpu);
        let mut told = StepReport::new(opcode, outcome, elapsed, used, usage::resident());
        if question {
            told.moves = fleet.ledger(|ledger| moves(&before, ledger));
        }
        report.steps.push(told);
    }
    stage.beside.lock().abort_all();
    report.cpu_seconds = usage::cpu().saturating_sub(begun).as_secs_f64();
    report.resident_bytes = usage::resident();
    fleet.ledger(|ledger| close(&mut report, ledger));
    Ok(report)
}

/// Where pods are: node and owner, by key and UID.
type Placed = HashMap<(ObjectKey, Arc<str>), (Option<Arc<str>>, Option<Arc<str>>)>;

fn placed(ledger: &mut Ledger) -> Placed {
    let one = |(key, pod): (&ObjectKey, &Pod)| {
        ((key.clone(), pod.uid.clone()), (pod.node.clone(), pod.owner.clone()))
    };
    ledger.pods.iter().map(one).collect()
}

fn owner(key: &ObjectKey, owner: Option<&Arc<str>>) -> String {
    match owner {
        Some(owner) => format!("{}/{owner}", key.namespace),
        None => key.to_string(),
    }
}

/// Which pods are gone since, and which are new or have lost or found a node.
fn moves(before: &Placed, ledger: &Ledger) -> Vec<Move> {
    let mut found: BTreeMap<String, Move> = BTreeMap::new();
    for ((key, uid), (node, by)) in before {
        let here = ledger.pods.get(key).is_some_and(|pod| pod.uid == *uid && pod.node == *node);
        if let Some(node) = node.as_ref().filter(|_| !here) {
            found.entry(owner(key, by.as_ref())).or_default().left.push(node.to_string());
        }
    }
    for (key, pod) in &ledger.pods {
        let was = before.get(&(key.clone(), pod.uid.clone()));
        if pod.ended || was.is_some_and(|(node, _)| *node == pod.node) {
            continue;
        }
        let entry = found.entry(owner(key, pod.owner.as_ref())).or_default();
        match (&pod.node, &pod.reason) {
            (Some(node), _) => entry.placed.push(node.to_string()),
            (None, reason) => entry.pending.push(reason.as_deref().unwrap_or("not decided yet").to_owned()),
        }
    }
    let named = found.into_iter().map(|(owner, mut one)| {
        one.left.sort();
        one.placed.sort();
        Move { owner, ..one }
    });
    named.collect()
}

fn close(report: &mut Report, ledger: &Ledger) {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut tally = Tally::default();
    for (key, pod) in &ledger.pods {
        match (pod.ended, &pod.node, pod.ready) {
            (true, _, _) => tally.ended += 1,
            (false, None, _) => {
                tally.pending += 1;
                reasons.entry(pod.reason.as_deref().unwrap_or_default()).or_default().push(key.to_string());
            }
            (false, Some(_), Some(_)) => tally.ready += 1,
            (false, Some(_), None) => tally.starting += 1,
        }
    }
    report.pods = tally;
    report.pending = reasons
        .into_iter()
        .map(|(message, mut pods)| {
            pods.sort();
            Reason { message: message.into(), pods }
        })
        .collect();
    report.pending.sort_by_key(|reason| std::cmp::Reverse(reason.pods.len()));
}
