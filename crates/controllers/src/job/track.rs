//! What a Job's status says once its pods are dealt with, and which pods are let go. Pure.
//!
//! Invariant: a pod is let go only after its UID (or its index) stands in a status that has been written, and it is
//! counted only after it was let go; so that at every point between two writes what is stored says which pods
//! are counted. Answers to the Job controller's tracking with finalizers.

use super::plan::{BURST, End, Plan};
use super::policy::Verdict;
use super::spec::{Cause, Status};
use super::view::{Pod, View};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Which pods could not be deleted, by their place in the view.
    pub undeleted: Vec<usize>,
    /// How many pods were made.
    pub created: usize,
}

impl Applied {
    /// That all went as planned.
    pub fn whole(plan: &Plan) -> Self {
        Self { undeleted: Vec::new(), created: plan.create.len() }
    }
}

/// Something to tell once it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// What happened.
    pub cause: Cause,
}

/// The status to write before pods are let go, and who is.
#[derive(Debug, Default)]
pub struct Tracking {
    /// The status.
    pub status: Status,
    /// Pods to let go, by their place in the view.
    pub release: Vec<usize>,
    /// How the Job ends when these are counted.
    pub end: Option<End>,
    /// What to tell.
    pub notes: Vec<Note>,
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Notes down what has ended.
pub fn track(view: &View, plan: &Plan, applied: &Applied, now: Timestamp) -> Tracking {
    let mut tracking = Tracking { status: view.status.clone(), end: plan.end.clone(), ..Tracking::default() };
    if view.status.start_time.is_none() && !view.spec.suspended() {
        tracking.status.start_time = Some(now);
    }
    if !applied.undeleted.is_empty() || applied.created < plan.create.len() {
        // Pods may still run, and one that is not seen yet would have to be counted.
        tracking.end = None;
    }
    if plan.end.is_none() && !view.job.deleting() {
        suspend(view, &mut tracking, now);
    }
    count(view, plan, applied, &mut tracking.status);
    let present: HashSet<&str> = view.pods.iter().filter(|pod| pod.tracked).map(Pod::uid).collect();
    settle_uncounted(&mut tracking.status, &present);
    let whole = note_ended(view, &mut tracking);
    match &tracking.end {
        Some(End::Success(cause)) => {
            tracking.status.set("SuccessCriteriaMet", true, cause, now);
        }
        Some(End::Failure(cause)) => {
            tracking.status.set("FailureTarget", true, cause, now);
        }
        None => {}
    }
    if !whole {
        tracking.end = None;
    }
    tracking
}

fn suspend(view: &View, tracking: &mut Tracking, now: Timestamp) {
    let (suspended, resumed) =
        (Cause::new("JobSuspended", "Job suspended"), Cause::new("JobResumed", "Job resumed"));
    let status = &mut tracking.status;
    if view.spec.suspended() {
        if status.set("Suspended", true, &suspended, now) {
            // The time that a Job may take runs anew when it goes on.
            status.start_time = None;
            tracking.notes.push(Note { warning: false, cause: Cause::new("Suspended", "Job suspended") });
        }
    } else if status.set("Suspended", false, &resumed, now) {
        status.start_time = Some(now);
        tracking.notes.push(Note { warning: false, cause: Cause::new("Resumed", "Job resumed") });
    }
}

/// Counts pods that are there.
fn count(view: &View, plan: &Plan, applied: &Applied, status: &mut Status) {
    let deleted: HashSet<usize> =
        plan.delete.iter().copied().filter(|at| !applied.undeleted.contains(at)).collect();
    let left =
        || view.pods.iter().enumerate().filter(|(at, pod)| pod.brief.active() && !deleted.contains(at));
    status.active = number(left().count() + applied.created);
    status.ready = Some(number(left().filter(|(_, pod)| pod.brief.ready()).count()));
    let terminating = view.pods.iter().filter(|pod| pod.terminating()).count();
    status.terminating = Some(number(terminating + deleted.len()));
}

/// Counts pods that were noted down and have been let go.
fn settle_uncounted(status: &mut Status, held: &HashSet<&str>) {
    let mut uncounted = status.uncounted.take().unwrap_or_default();
    let before = (uncounted.succeeded.len(), uncounted.failed.len());
    uncounted.succeeded.retain(|uid| held.contains(uid.as_str()));
    uncounted.failed.retain(|uid| held.contains(uid.as_str()));
    status.succeeded += number(before.0 - uncounted.succeeded.len());
    status.failed += number(before.1 - uncounted.failed.len());
    status.uncounted = Some(uncounted);
}

/// Notes down pods that have ended, at most [`BURST`] of them; whether these were all.
fn note_ended(view: &View, tracking: &mut Tracking) -> bool {
    let indexed = view.spec.indexed();
    let (counted, succeeded, failed) =
        (view.counted_indexes(), view.succeeded_indexes(), view.failed_indexes());
    let done = failed.as_ref().map(|failed| succeeded.union(failed)).unwrap_or_default();
    let replaced = if failed.is_some() { view.replaced(&done) } else { BTreeMap::new() };
    let mut uncounted = tracking.status.uncounted.take().unwrap_or_default();
    let noted: HashSet<String> = uncounted.succeeded.iter().cloned().collect();
    let noted_failed: HashSet<String> = uncounted.failed.iter().cloned().collect();
    let (mut new_indexes, mut whole) = (0, true);
    for (at, pod) in view.pods.iter().enumerate().filter(|(_, pod)| pod.tracked) {
        let failed = view.failed(pod);
        let waits =
            pod.index.and_then(|index| replaced.get(&index)).is_some_and(|last| last.uid() == pod.uid());
        let over = view.job.deleting() || tracking.end.is_some() || pod.succeeded();
        if !(over || failed && !waits) {
            continue;
        }
        tracking.release.push(at);
        if pod.succeeded() && !noted_failed.contains(pod.uid()) {
            match pod.index {
                Some(index) if indexed && view.fits(pod) => new_indexes += usize::from(!counted.has(index)),
                _ if indexed => {}
                _ if !noted.contains(pod.uid()) => uncounted.succeeded.push(pod.uid().to_owned()),
                _ => {}
            }
        } else if (failed || matches!(tracking.end, Some(End::Failure(_))))
            && view.fits(pod)
            && !noted_failed.contains(pod.uid())
            && view.judge(pod) != Verdict::Ignore
        {
            uncounted.failed.push(pod.uid().to_owned());
        }
        if new_indexes + uncounted.total() >= BURST {
            whole = false;
            break;
        }
    }
    tracking.status.uncounted = Some(uncounted);
    if indexed {
        tracking.status.succeeded = succeeded.total();
        tracking.status.completed_indexes = succeeded.to_string();
        tracking.status.failed_indexes = failed.map(|failed| failed.to_string());
    }
    whole
}

/// The status once pods have been let go, except for those that could not be; and what to tell of the Job's end.
pub fn settle(view: &View, tracking: &Tracking, held: &[usize], now: Timestamp) -> (Status, Vec<Note>) {
    let mut status = tracking.status.clone();
    let released = |at: &usize| tracking.release.contains(at) && !held.contains(at);
    let still = view.pods.iter().enumerate().filter(|(at, pod)| pod.tracked && !released(at));
    settle_uncounted(&mut status, &still.map(|(_, pod)| pod.uid()).collect());
    let uncounted = status.uncounted.as_ref().map_or(0, super::spec::Uncounted::total);
    let Some(end) = tracking.end.as_ref().filter(|_| {
        uncounted == 0 && held.is_empty() && status.active == 0 && status.terminating.unwrap_or_default() == 0
    }) else {
        return (status, Vec::new());
    };
    status.start_time = status.start_time.or(Some(now));
    let mut notes = Vec::new();
    let kind = match end {
        End::Success(_) => {
            status.completion_time = Some(now);
            if view.spec.completions().is_some_and(|completions| status.succeeded > completions) {
                let message = "Too many succeeded pods running after completion count reached";
                notes.push(Note { warning: true, cause: Cause::new("TooManySucceededPods", message) });
            }
            notes.push(Note { warning: false, cause: Cause::new("Completed", "Job completed") });
            "Complete"
        }
        End::Failure(cause) => {
            notes.push(Note { warning: true, cause: cause.clone() });
            "Failed"
        }
    };
    let (End::Success(cause) | End::Failure(cause)) = end;
    status.set(kind, true, cause, now);
    (status, notes)
}
