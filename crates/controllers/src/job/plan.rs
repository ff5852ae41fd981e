//! Which pods a Job makes and deletes, and whether it has come to an end, from one view. Pure.

use super::backoff::{self, Backoff};
use super::indexes::Indexes;
use super::policy::Verdict;
use super::spec::Cause;
use super::view::{Pod, View};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// At most so many pods are made or deleted at a time.
pub const BURST: usize = 500;

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Complete, for this cause.
    Success(Cause),
    /// Failed, for this cause.
    Failure(Cause),
}

/// A pod to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Its completion index.
    pub index: Option<u32>,
    /// Failures of its index so far, those that count and those that do not, if the index has a limit.
    pub failures: Option<(u32, u32)>,
}

/// What to do about the pods.
#[derive(Debug, Default)]
pub struct Plan {
    /// Pods to delete, by their place in the view.
    pub delete: Vec<usize>,
    /// Whether these pods are never to be counted: they are let go before they are deleted.
    pub uncount: bool,
    /// Pods to make.
    pub create: Vec<Creation>,
    /// How the Job ends, if it does.
    pub end: Option<End>,
    /// The failures since the last success.
    pub backoff: Backoff,
    /// When time alone changes something.
    pub again: Option<Duration>,
}

/// Pods that have ended, counted or about to be.
pub struct Ended {
    /// How many succeeded.
    pub succeeded: u32,
    /// How many failed.
    pub failed: u32,
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Plans what happens to the pods.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let noted = view.status.uncounted.clone().unwrap_or_default();
    let fresh_successes: Vec<&Pod> = view.fresh(&noted.succeeded, Pod::succeeded).collect();
    let fresh_failures: Vec<&Pod> = view.fresh(&noted.failed, |pod| view.failed(pod)).collect();
    let counting = fresh_failures.iter().filter(|pod| view.judge(pod) != Verdict::Ignore).count();
    let indexes = view.spec.indexed().then(|| view.succeeded_indexes());
    let status = &view.status;
    let ended = Ended {
        succeeded: match &indexes {
            Some(indexes) => indexes.total(),
            None => status.succeeded + number(fresh_successes.len() + noted.succeeded.len()),
        },
        failed: status.failed + number(counting + noted.failed.len()),
    };
    let backoff = view.backoff.after(&fresh_successes, &fresh_failures);
    let mut plan = Plan { backoff, ..Plan::default() };
    let failed_indexes = view.failed_indexes();
    plan.end = end(view, &ended, indexes.as_ref(), failed_indexes.as_ref(), now, &mut plan);
    if plan.end.is_some() {
        plan.delete = (0..view.pods.len()).filter(|at| view.pods[*at].brief.active()).collect();
        return plan;
    }
    if !view.job.deleting() {
        let done = indexes.unwrap_or_default().union(&failed_indexes.unwrap_or_default());
        manage(view, &ended, &done, now, &mut plan);
    }
    let active = active(view, &plan);
    let complete = match view.spec.completions() {
        None => ended.succeeded > 0,
        Some(completions) => ended.succeeded >= completions,
    };
    if complete && active == 0 {
        plan.end =
            Some(End::Success(Cause::new("CompletionsReached", "Reached expected number of succeeded pods")));
    }
    plan
}

/// How many pods are active when the plan has been applied.
fn active(view: &View, plan: &Plan) -> usize {
    let present = view.pods.iter().filter(|pod| pod.brief.active()).count();
    present + plan.create.len() - plan.delete.len()
}

/// Whether the Job has come to an end before all has succeeded, and why.
fn end(
    view: &View,
    ended: &Ended,
    succeeded: Option<&Indexes>,
    failed: Option<&Indexes>,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<End> {
    if let Some(cause) = view.status.holds("SuccessCriteriaMet") {
        return Some(End::Success(cause));
    }
    if let Some(cause) = view.status.holds("FailureTarget") {
        return Some(End::Failure(cause));
    }
    let failure = |reason: &str, message: &str| Some(End::Failure(Cause::new(reason, message)));
    let verdicts = view.pods.iter().filter(|pod| view.failed(pod)).map(|pod| view.judge(pod));
    let fatal = verdicts.filter_map(|verdict| match verdict {
        Verdict::FailJob(message) => Some(message),
        _ => None,
    });
    if let Some(message) = fatal.into_iter().next() {
        return failure("PodFailurePolicy", &message);
    }
    if ended.failed > view.spec.backoff_limit() || restarted_too_often(view) {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let deadline = view.spec.active_deadline_seconds.filter(|_| !view.spec.suspended());
    if let Some(seconds) = deadline {
        let since = view.status.start_time.unwrap_or(now);
        let left = SignedDuration::from_secs(seconds).saturating_sub(now.duration_since(since));
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => plan.again = Some(left),
            _ => return failure("DeadlineExceeded", "Job was active longer than specified deadline"),
        }
    }
    let (succeeded, bound) = (succeeded?, view.spec.index_bound());
    if let Some(failed) = failed {
        if view.spec.max_failed_indexes().is_some_and(|limit| failed.total() > limit) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failure("MaxFailedIndexesExceeded", message);
        }
        if failed.total() > 0 && failed.total() + succeeded.total() >= bound {
            return failure("FailedIndexes", "Job has failed indexes");
        }
    }
    let message = view.spec.success_policy.as_ref()?.met(bound, succeeded)?;
    Some(End::Success(Cause::new("SuccessPolicy", message)))
}

/// Whether containers that are restarted in place have failed as often as pods may.
fn restarted_too_often(view: &View) -> bool {
    if !view.spec.restarts_in_place() {
        return false;
    }
    let running =
        view.pods.iter().filter(|pod| matches!(pod.brief.status.phase.as_str(), "Running" | "Pending"));
    let containers = running.flat_map(|pod| {
        pod.brief.status.init_container_statuses.iter().chain(&pod.brief.status.container_statuses)
    });
    let restarts: i64 = containers.map(|one| i64::from(one.restart_count)).sum();
    restarts > 0 && restarts >= i64::from(view.spec.backoff_limit())
}

/// Pods to delete or to make so that as many run as should; never both at once.
fn manage(view: &View, ended: &Ended, done: &Indexes, now: Timestamp, plan: &mut Plan) {
    let active = view.pods.iter().filter(|pod| pod.brief.active()).count();
    let parallelism = view.spec.parallelism() as usize;
    let wanted = match view.spec.completions() {
        _ if view.spec.suspended() => 0,
        // Whoever runs when the first has succeeded is left to end.
        None if ended.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => parallelism.min(completions.saturating_sub(ended.succeeded) as usize),
    };
    plan.delete = surplus(view, active.saturating_sub(wanted));
    plan.uncount = true;
    if !view.spec.suspended() {
        plan.delete.truncate(BURST);
    }
    if !plan.delete.is_empty() || view.spec.suspended() {
        return;
    }
    let waiting = match view.spec.replaces_only_failed() {
        true => view.pods.iter().filter(|pod| pod.terminating()).count(),
        false => 0,
    };
    let missing = wanted.saturating_sub(active + waiting);
    if missing > 0 {
        create(view, missing, done, now, plan);
    }
}

fn create(view: &View, missing: usize, done: &Indexes, now: Timestamp, plan: &mut Plan) {
    let limited = view.spec.indexed() && view.spec.backoff_limit_per_index().is_some();
    if !limited {
        let wait = plan.backoff.remaining(now);
        if !wait.is_zero() {
            return sooner(&mut plan.again, wait);
        }
    }
    let missing = missing.min(BURST);
    if !view.spec.indexed() {
        plan.create = vec![Creation { index: None, failures: None }; missing];
        return;
    }
    let waits = |pod: &Pod| pod.brief.active() || view.spec.replaces_only_failed() && pod.terminating();
    let pending = done.with(view.indexes(waits)).missing(view.spec.index_bound(), missing);
    let replaced = if limited { view.replaced(done) } else { BTreeMap::new() };
    let mut shortest = None;
    for index in pending {
        let last = replaced.get(&index).copied();
        let wait = last.map_or(Duration::ZERO, |pod| {
            backoff::remaining(pod.earlier_failures().saturating_add(1), backoff::ended(&pod.brief), now)
        });
        match wait.is_zero() {
            true => plan
                .create
                .push(Creation { index: Some(index), failures: limited.then(|| view.counts_after(last)) }),
            false => sooner(&mut shortest, wait),
        }
    }
    if let Some(wait) = shortest {
        sooner(&mut plan.again, wait);
    }
}

fn sooner(again: &mut Option<Duration>, wait: Duration) {
    *again = Some(again.map_or(wait, |other| other.min(wait)));
}

/// At least so many active pods, the least useful first; all that have no index of their own where they should.
fn surplus(view: &View, at_least: usize) -> Vec<usize> {
    let mut active: Vec<usize> = (0..view.pods.len()).filter(|at| view.pods[*at].brief.active()).collect();
    active.sort_by(|a, b| usefulness(&view.pods[*a]).cmp(&usefulness(&view.pods[*b])));
    let mut surplus = Vec::new();
    if view.spec.indexed() {
        let mut best = BTreeMap::new();
        for at in &active {
            if view.fits(&view.pods[*at]) {
                best.insert(view.pods[*at].index, *at);
            }
        }
        let (kept, rest): (Vec<usize>, Vec<usize>) =
            active.into_iter().partition(|at| best.get(&view.pods[*at].index) == Some(at));
        (active, surplus) = (kept, rest);
    }
    let more = at_least.saturating_sub(surplus.len());
    surplus.extend(active.into_iter().take(more));
    surplus
}

/// Bound, running, ready, ready for long, restarted little, old: in this order.
type Usefulness<'a> = (
    bool,
    u8,
    bool,
    std::cmp::Reverse<Option<Timestamp>>,
    std::cmp::Reverse<i32>,
    std::cmp::Reverse<Option<Timestamp>>,
    &'a str,
);

fn usefulness(pod: &Pod) -> Usefulness<'_> {
    let brief = &pod.brief;
    (
        !brief.spec.node_name.is_empty(),
        crate::replicaset::plan::phase_order(brief),
        brief.ready(),
        std::cmp::Reverse(brief.ready_since()),
        std::cmp::Reverse(brief.restarts()),
        std::cmp::Reverse(brief.created),
        pod.uid(),
    )
}
