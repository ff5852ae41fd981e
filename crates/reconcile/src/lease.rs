//! Leader election by a Lease.
//!
//! Invariant: a leader that could not renew within the renew deadline has ended before another may take
//! over, since the deadline is shorter than the lease; other clocks are never compared, only the time
//! since a lease was last seen to change. Answers to client-go's `tools/leaderelection`.

use crate::codec::gvr;
use crate::events::{Recorder, Reference, Severity};
use gifee_base::{Clock, Object, ObjectKey, clock};
use gifee_client::{Client, Result};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A lease that did not change for this long is free.
    pub lease: Duration,
    /// A leader that could not renew for this long gives up.
    pub renew: Duration,
    /// Time between tries.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// One candidate.
pub struct Election {
    /// Calls the API.
    pub client: Client,
    /// The wall clock, for the times in the Lease.
    pub clock: Arc<dyn Clock>,
    /// Namespace and name of the Lease.
    pub lease: ObjectKey,
    /// Name of this candidate, unique among all.
    pub identity: String,
    /// How long things take.
    pub timing: Timing,
}

/// The Lease as last seen, and when it was first seen so.
struct Seen {
    object: Object,
    since: Instant,
}

impl Election {
    /// Leads whenever it can until the shutdown: `lead` runs with a token that is cancelled when the
    /// leadership ends, and must then end soon.
    pub async fn run<F: Future<Output = ()>>(
        &self,
        shutdown: CancellationToken,
        lead: impl Fn(CancellationToken) -> F,
    ) {
        let mut seen = None;
        while !shutdown.is_cancelled() {
            match self.try_acquire(&mut seen).await {
                Ok(true) => {
                    tracing::info!(lease = %self.lease, identity = self.identity, "leading");
                    let term = shutdown.child_token();
                    tokio::join!(self.within(lead(term.clone()), &term), self.hold(&mut seen, &term));
                    if shutdown.is_cancelled() {
                        self.release(&seen).await;
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = %self.lease, %error, "cannot acquire the lease"),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(self.timing.retry) => {}
            }
        }
    }

    /// Leads, and stops short whoever has not ended by when the lease runs out and another may lead.
    async fn within(&self, lead: impl Future<Output = ()>, term: &CancellationToken) {
        let rest = self.timing.lease.saturating_sub(self.timing.renew);
        let late = async {
            term.cancelled().await;
            tokio::time::sleep(rest).await;
        };
        tokio::select! {
            () = lead => {}
            () = late => tracing::error!(lease = %self.lease, "what was led did not end in time, and is stopped"),
        }
        term.cancel();
    }

    /// Renews until the term ends, and ends it when renewing fails for too long.
    async fn hold(&self, seen: &mut Option<Seen>, term: &CancellationToken) {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = term.cancelled() => return,
                () = tokio::time::sleep(self.timing.retry) => {}
            }
            let left = self.timing.renew.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_acquire(seen)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => break,
                Ok(Err(error)) if renewed.elapsed() < self.timing.renew => {
                    tracing::debug!(lease = %self.lease, %error, "cannot renew the lease");
                }
                Ok(Err(_)) | Err(_) => break,
            }
        }
        tracing::warn!(lease = %self.lease, identity = self.identity, "no longer leading");
        term.cancel();
    }

    /// Acquires or renews; false while another holds the Lease.
    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<bool> {
        let gvr = gvr::<Lease>();
        if let Some(own) = seen.as_ref().and_then(|seen| self.own(&seen.object)) {
            // Nobody else is to have written it, so it is not read first.
            match self.client.update(&gvr, &self.lease, self.record(Some(&own))).await {
                Ok(object) => {
                    *seen = Some(Seen { object, since: Instant::now() });
                    return Ok(true);
                }
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let object = match self.client.get(&gvr, &self.lease).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                let object = self.client.create(&gvr, &self.lease.namespace, self.record(None)).await?;
                *seen = Some(Seen { object, since: Instant::now() });
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let current = object.to_value().unwrap_or_default();
        let since = match &*seen {
            Some(seen) if seen.object.revision() == object.revision() => seen.since,
            _ => Instant::now(),
        };
        *seen = Some(Seen { object, since });
        let holder = current["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let seconds = current["spec"]["leaseDurationSeconds"].as_u64();
        let duration = seconds.map_or(self.timing.lease, Duration::from_secs);
        if !holder.is_empty() && holder != self.identity && since.elapsed() < duration {
            return Ok(false);
        }
        match self.client.update(&gvr, &self.lease, self.record(Some(&current))).await {
            Ok(object) => {
                *seen = Some(Seen { object, since: Instant::now() });
                Ok(true)
            }
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The Lease as a tree, if it is this candidate's.
    fn own(&self, object: &Object) -> Option<Value> {
        let lease = object.to_value().ok()?;
        (lease["spec"]["holderIdentity"] == self.identity.as_str()).then_some(lease)
    }

    /// The Lease with this candidate as its holder.
    fn record(&self, current: Option<&Value>) -> Value {
        let now = clock::format_micro_time(self.clock.now());
        let mut lease = current.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "namespace": &*self.lease.namespace, "name": &*self.lease.name },
                "spec": {},
            })
        });
        let spec = &mut lease["spec"];
        if spec["holderIdentity"] != self.identity.as_str() {
            let transitions = spec["leaseTransitions"].as_i64().map_or(0, |count| count + 1);
            spec["holderIdentity"] = self.identity.as_str().into();
            spec["acquireTime"] = now.as_str().into();
            spec["leaseTransitions"] = transitions.into();
        }
        spec["leaseDurationSeconds"] = self.timing.lease.as_secs().max(1).into();
        spec["renewTime"] = now.into();
        lease
    }

    /// Lets the next candidate in at once.
    async fn release(&self, seen: &Option<Seen>) {
        let Some(mut lease) = seen.as_ref().and_then(|seen| self.own(&seen.object)) else { return };
        let now = clock::format_micro_time(self.clock.now());
        let spec = &mut lease["spec"];
        spec["holderIdentity"] = "".into();
        spec["leaseDurationSeconds"] = 1.into();
        spec["renewTime"] = now.as_str().into();
        spec["acquireTime"] = now.into();
        if let Err(error) = self.client.update(&gvr::<Lease>(), &self.lease, lease).await {
            tracing::debug!(lease = %self.lease, %error, "cannot release the lease");
        }
    }

    /// Tells in an event who leads; `action` is what the newer of the two APIs of events asks for besides the reason.
    pub fn announce(&self, events: &Recorder, action: &str) {
        let regarding = Reference {
            api_version: "coordination.k8s.io/v1".into(),
            kind: "Lease".into(),
            namespace: self.lease.namespace.to_string(),
            name: self.lease.name.to_string(),
            ..Reference::default()
        };
        let message = format!("{} became leader", self.identity);
        events.record(regarding, None, Severity::Normal, "LeaderElection", action, message);
    }
}
