//! What is seen of a Job and its pods, and what follows from that for each pod. Pure.

use super::backoff::Backoff;
use super::indexes::Indexes;
use super::policy::Verdict;
use super::spec::{Spec, Status};
use gifee_base::Object;
use gifee_reconcile::Result;
use gifee_reconcile::owner::Claims;
use gifee_reconcile::pod::Brief;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Who holds a pod until it is counted.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Which completion a pod is for.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How many pods of the index failed before this one.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How many pods of the index failed before this one without counting.
pub const INDEX_IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A pod of a Job.
pub struct Pod {
    /// The pod.
    pub brief: Brief,
    /// Whether it holds [`TRACKING`], so that it is not counted yet.
    pub tracked: bool,
    /// Its completion index.
    pub index: Option<u32>,
}

impl Pod {
    /// Reads the parts that are not in the brief.
    pub fn new(brief: Brief, tracked: bool) -> Self {
        let index = brief.annotation(INDEX).and_then(|text| text.parse().ok());
        Self { brief, tracked, index }
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.brief.object.uid()
    }

    /// Whether it has ended well.
    pub fn succeeded(&self) -> bool {
        self.brief.status.phase == "Succeeded"
    }

    /// Whether it is on its way out and has not ended.
    pub fn terminating(&self) -> bool {
        self.brief.deleted.is_some() && !self.brief.terminal()
    }

    fn count(&self, annotation: &str) -> u32 {
        let number = self.brief.annotation(annotation).and_then(|text| text.parse::<i32>().ok());
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
    }

    /// How many pods of its index failed before it, those that did not count included.
    pub fn earlier_failures(&self) -> u32 {
        self.count(INDEX_FAILURES).saturating_add(self.count(INDEX_IGNORED))
    }
}

/// A Job, its pods, and what is remembered of it.
pub struct View {
    /// The object.
    pub job: Arc<Object>,
    /// Its spec.
    pub spec: Spec,
    /// Its status.
    pub status: Status,
    /// Adoptions and releases that are due.
    pub claims: Claims,
    /// Its pods, those to be adopted included; of an indexed Job by index.
    pub pods: Vec<Pod>,
    /// The failures since the last success.
    pub backoff: Backoff,
    /// Whether the status is about to count pods that are not there and that nobody here has let go: they are gone, or
    /// the cache of pods has not come as far as whoever noted them down.
    pub unknown: bool,
}

impl View {
    /// Of what is in the caches; `released` are the UIDs of pods that were let go, and of them those stay that the cache
    /// still shows as held or the status as not counted.
    ///
    /// # Errors
    /// If a pod cannot be read.
    pub fn new(
        job: Arc<Object>,
        spec: Spec,
        status: Status,
        claims: Claims,
        backoff: Backoff,
        released: &mut HashSet<String>,
    ) -> Result<Self> {
        let mut pods = Vec::with_capacity(claims.owned.len() + claims.adopt.len());
        let mut unseen = HashSet::new();
        for pod in &claims.owned {
            let brief = Brief::read(pod)?;
            let held = brief.finalizers.iter().any(|one| one == TRACKING);
            let freed = released.contains(pod.uid());
            if held && freed {
                unseen.insert(pod.uid().to_owned());
            }
            pods.push(Pod::new(brief, held && !freed));
        }
        for pod in &claims.adopt {
            pods.push(Pod::new(Brief::read(pod)?, true));
        }
        let noted = status.uncounted.iter().flat_map(|lists| lists.succeeded.iter().chain(&lists.failed));
        let gone: Vec<&String> =
            noted.filter(|uid| pods.iter().all(|pod| pod.uid() != uid.as_str())).collect();
        let unknown = gone.iter().any(|uid| !released.contains(*uid));
        unseen.extend(gone.into_iter().filter(|uid| released.contains(*uid)).cloned());
        *released = unseen;
        // In order, so that what is noted down of many is, too.
        pods.sort_by(|a, b| a.index.cmp(&b.index).then_with(|| a.uid().cmp(b.uid())));
        Ok(Self { job, spec, status, claims, pods, backoff, unknown })
    }

    /// Whether a pod counts as failed: one that is being deleted does, unless it is waited for.
    pub fn failed(&self, pod: &Pod) -> bool {
        if pod.brief.status.phase == "Failed" {
            return true;
        }
        !self.spec.replaces_only_failed() && pod.brief.deleted.is_some() && !pod.succeeded()
    }

    /// What the failure policy says of a failed pod.
    pub fn judge(&self, pod: &Pod) -> Verdict {
        self.spec.pod_failure_policy.as_ref().map_or(Verdict::Count, |policy| policy.judge(&pod.brief))
    }

    /// Whether a pod's index means something, or the Job has none.
    pub fn fits(&self, pod: &Pod) -> bool {
        !self.spec.indexed() || pod.index.is_some_and(|index| index < self.spec.index_bound())
    }

    /// Pods that have ended and are neither counted nor noted down to be counted.
    pub fn fresh<'a>(
        &'a self,
        noted: &'a [String],
        ended: impl Fn(&Pod) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Pod> {
        let noted: BTreeSet<&str> = noted.iter().map(String::as_str).collect();
        self.pods
            .iter()
            .filter(move |pod| pod.tracked && !noted.contains(pod.uid()) && self.fits(pod) && ended(pod))
    }

    /// Indexes that the status says have succeeded.
    pub fn counted_indexes(&self) -> Indexes {
        Indexes::parse(&self.status.completed_indexes, self.spec.index_bound())
    }

    /// Indexes that have succeeded, counted or not.
    pub fn succeeded_indexes(&self) -> Indexes {
        let fresh = self.pods.iter().filter(|pod| pod.tracked && pod.succeeded() && self.fits(pod));
        self.counted_indexes().with(fresh.filter_map(|pod| pod.index))
    }

    /// Indexes that have failed for good; none if they have no limit of their own.
    pub fn failed_indexes(&self) -> Option<Indexes> {
        let limit = self.spec.backoff_limit_per_index().filter(|_| self.spec.indexed())?;
        let counted = self.status.failed_indexes.as_deref().unwrap_or_default();
        let ended = |pod: &&Pod| {
            pod.tracked
                && self.fits(pod)
                && self.failed(pod)
                && match self.judge(pod) {
                    Verdict::FailIndex => true,
                    Verdict::Ignore => false,
                    _ => pod.count(INDEX_FAILURES) >= limit,
                }
        };
        let fresh = self.pods.iter().filter(ended).filter_map(|pod| pod.index);
        Some(Indexes::parse(counted, self.spec.index_bound()).with(fresh))
    }

    /// The indexes of pods of a kind.
    pub fn indexes(&self, which: impl Fn(&Pod) -> bool) -> BTreeSet<u32> {
        self.pods.iter().filter(|pod| which(pod)).filter_map(|pod| pod.index).collect()
    }

    /// The last failed pod of each index that waits for its replacement: it stays until then, since the replacement
    /// bears the count of failures on.
    pub fn replaced(&self, done: &Indexes) -> BTreeMap<u32, &Pod> {
        let active = self.indexes(|pod| pod.brief.active());
        let mut last: BTreeMap<u32, &Pod> = BTreeMap::new();
        for pod in self.fresh(&[], |pod| self.failed(pod)) {
            let Some(index) = pod.index.filter(|index| !done.has(*index) && !active.contains(index)) else {
                continue;
            };
            let rank = |pod: &Pod| (pod.earlier_failures(), super::backoff::ended(&pod.brief));
            if last
                .get(&index)
                .is_none_or(|other| rank(other).0 <= rank(pod).0 && rank(other).1 <= rank(pod).1)
            {
                last.insert(index, pod);
            }
        }
        last
    }

    /// The counts of failures that the pod after a failed one bears: those that count, and those that do not.
    pub fn counts_after(&self, failed: Option<&Pod>) -> (u32, u32) {
        let Some(pod) = failed else { return (0, 0) };
        let (counted, ignored) = (pod.count(INDEX_FAILURES), pod.count(INDEX_IGNORED));
        match self.judge(pod) {
            Verdict::Ignore => (counted, ignored.saturating_add(1)),
            _ => (counted.saturating_add(1), ignored),
        }
    }
}
