//! Priority and fairness: which flow a request belongs to, and whether it runs, waits or is shed.
//!
//! Invariant: a request for which there is a free seat waits for nobody: it costs a look into an index, one short lock
//! and two counters. Levels are bounded in seats and in who waits; nobody waits for ever. Answers to
//! apiserver's `util/flowcontrol` and its filter.

mod allot;
mod classify;
mod dump;
mod level;
mod meter;
mod objects;
mod plan;
#[cfg(test)]
mod tests;
mod timed;
mod upkeep;

pub use dump::answer as dump;
pub use level::Seat;
pub use meter::Meter;
pub use upkeep::run;

use crate::body::Body;
use crate::info::Query;
use crate::info::RequestInfo;
use crate::kinds::Resource;
use crate::respond;
use arc_swap::ArcSwap;
use gifee_base::gvk::api_version;
use gifee_policy::User;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Response};
use level::{Details, Entry, Refusal};
use parking_lot::Mutex;
use plan::{Distinguisher, Flow, Plan};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Seconds after which a client that was shed may come again.
const RETRY_SECONDS: &str = "1";

/// Bytes of a list that one seat stands for; upstream's figure.
const BYTES_PER_SEAT: usize = 100_000;
/// Bytes that a list out of the cache is taken to hold in memory at most; upstream's figure.
const LIST_BYTES: usize = 1_000_000;
/// Objects by which the size of all is estimated.
const MEASURED: usize = 8;
/// Watchers that telling one event to takes a seat; upstream's figure.
const WATCHERS_PER_SEAT: usize = 10;
/// How long that takes; upstream's figure.
const TELLING: Duration = Duration::from_millis(5);
/// Seats that a write takes at most; upstream's figure.
const WIDEST_WRITE: u32 = 10;

const FLOW: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Everything about fairness that a server holds.
pub struct Fairness {
    plan: ArcSwap<Plan>,
    /// Seats of all levels together.
    seats: u32,
    /// How long a request waits for one at most.
    wait: Duration,
    meter: Meter,
    changing: Mutex<()>,
}

/// Where a request stands: in which flow, and with its seat.
pub struct Standing {
    flow: Arc<Flow>,
    seat: Result<Seat, Refusal>,
    /// Since when.
    since: Instant,
    watch: bool,
}

impl Fairness {
    /// With so many seats, and no objects yet: all is one level.
    pub fn new(seats: usize, wait: Duration) -> Self {
        let seats = u32::try_from(seats).unwrap_or(u32::MAX).max(1);
        let meter = Meter::new();
        let plan = Plan::new(&[], &[], seats, None, &meter);
        Self { plan: ArcSwap::from_pointee(plan), seats, wait, meter, changing: Mutex::new(()) }
    }

    /// Takes seats for a request, or waits for them; what `waits` gives is held meanwhile.
    pub async fn enter<W>(
        &self,
        user: &User,
        info: &RequestInfo<'_>,
        work: Work,
        waits: impl FnOnce() -> W,
    ) -> Standing {
        let (flow, hash) = self.plan.load().classify(user, info);
        let seat = match flow.level.enter(&flow, hash, work) {
            Entry::Seated(seat) => Ok(seat),
            Entry::Refused(refusal) => Err(refusal),
            Entry::Waiting(waiting) => {
                let _waits = waits();
                waiting.describe(details(&flow, user, info));
                waiting.seat(self.wait).await
            }
        };
        Standing { flow, seat, since: Instant::now(), watch: info.verb == "watch" }
    }

    /// What is counted.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Takes in the objects as they are now; levels keep who is in them.
    pub(super) fn adopt(&self, schemas: &[serde_json::Value], levels: &[serde_json::Value]) {
        let _one_at_a_time = self.changing.lock();
        let old = self.plan.load_full();
        let plan = Plan::new(schemas, levels, self.seats, Some(&old), &self.meter);
        self.plan.store(Arc::new(plan));
    }

    /// Moves seats that a level lends to those that want them.
    pub(super) fn allot(&self) {
        let _one_at_a_time = self.changing.lock();
        allot::allot(&self.plan.load().levels, self.seats, &self.meter);
    }
}

fn details(flow: &Flow, user: &User, info: &RequestInfo<'_>) -> Details {
    let distinguisher = match flow.by {
        Distinguisher::None => "",
        Distinguisher::User => &user.name,
        Distinguisher::Namespace => &info.namespace,
    };
    let version = api_version(&info.group, &info.version);
    let request = [
        &user.name,
        info.verb,
        info.path,
        &info.namespace,
        &info.name,
        &version,
        &info.resource,
        &info.subresource,
    ];
    Details { distinguisher: distinguisher.into(), request: request.map(Box::from) }
}

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Seats while it runs. A level may allow fewer.
    pub width: u32,
    /// Of a write, who may be told of what it changes.
    pub watchers: Option<usize>,
}

impl Work {
    /// One seat.
    pub const ONE: Self = Self { width: 1, watchers: None };

    /// Seats, and how long they stay taken once the request is done: as long as telling the watchers takes, in seats
    /// of which there are no more than `most`.
    fn seats(self, most: u32) -> (u32, Duration) {
        let most = most.max(1);
        let watchers = self.watchers.unwrap_or_default();
        if watchers < WATCHERS_PER_SEAT {
            return (self.width.min(most), Duration::ZERO);
        }
        let wanted = u32::try_from(watchers.div_ceil(WATCHERS_PER_SEAT)).unwrap_or(u32::MAX);
        let width = wanted.min(most).min(WIDEST_WRITE);
        (width, TELLING.mul_f64(f64::from(wanted) / f64::from(width)))
    }
}

/// What a request takes: a list, and a watch that begins as one, seats by the bytes of what it answers; a write, by
/// those who watch; anything else, one seat.
pub fn work(info: &RequestInfo<'_>, query: &Query, resource: Option<&Resource>) -> Work {
    let Some(cache) = resource.and_then(|resource| resource.cache.as_ref()) else { return Work::ONE };
    let lists = match info.verb {
        "list" => true,
        "watch" => {
            let all = matches!(query.get("resourceVersion"), None | Some("" | "0"));
            all || query.get("sendInitialEvents") == Some("true")
        }
        "get" => return Work::ONE,
        // A token is no change of its account.
        _ if &*info.subresource == "token" => return Work::ONE,
        _ => {
            let watchers = cache.interested(&info.namespace, &info.name, WATCHERS_PER_SEAT);
            return Work { width: 1, watchers: Some(watchers) };
        }
    };
    if !lists || !info.name.is_empty() {
        return Work::ONE;
    }
    let objects = &cache.snapshot().objects;
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let count = objects.len().min(limit.unwrap_or(usize::MAX));
    let measured = objects.len().min(MEASURED);
    let sample: usize = objects.values().take(measured).map(|entry| entry.object.raw().len()).sum();
    let bytes = (count * (sample / measured.max(1))).min(LIST_BYTES);
    Work { width: u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX).max(1), watchers: None }
}

impl Standing {
    /// The answer to a request that was shed; None if it has its seat.
    pub fn refusal(&self) -> Option<Response<Body>> {
        self.seat.is_err().then(|| {
            let mut response = respond::text(429, "Too many requests, please try again later.\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
            response
        })
    }

    /// Says in the response which objects decided.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let put = |headers: &mut HeaderMap, name: HeaderName, uid: &HeaderValue| {
            if !uid.is_empty() {
                headers.insert(name, uid.clone());
            }
        };
        put(headers, FLOW, &self.flow.uid);
        put(headers, LEVEL, &self.flow.level_uid);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.seat.is_ok() {
            self.flow.meter.executed(self.watch, self.since.elapsed());
        }
    }
}
