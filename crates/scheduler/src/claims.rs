//! What the scheduler does about claims of devices: pods wait for theirs, get devices, and give them up again.
//!
//! Invariant: a pod that waits for a claim comes back when the claim does. Answers to the parts of upstream's
//! DynamicResources beside its filter.

use crate::devices::{self, Change, ELSEWHERE, Reservation};
use crate::placement::Diagnosis;
use crate::plugins::{self, Event, PLUGINS};
use crate::pod::Pod;
use crate::profile::Profile;
use crate::queue::Pending;
use crate::scheduler::{Nominate, Report, Scheduler, Step};
use gifee_base::{Object, ObjectKey};
use tokio::time::Instant;

/// The reason for a pod that no claim could be taken from.
const NONE_TO_FREE: &str = "no new claims to deallocate";

impl Scheduler {
    /// A claim, a class, a slice or a rule is new or changed.
    ///
    /// # Errors
    /// If the bytes are no such object.
    pub fn device_put(
        &mut self,
        kind: devices::Kind,
        object: &Object,
        now: Instant,
    ) -> Result<(), serde_json::Error> {
        let change = self.cluster.devices.put(kind, object)?;
        self.device_changed(change, now);
        Ok(())
    }

    /// A claim, a class, a slice or a rule is gone.
    pub fn device_removed(&mut self, kind: devices::Kind, key: &ObjectKey, now: Instant) {
        let change = self.cluster.devices.remove(kind, key);
        self.device_changed(change, now);
    }

    /// All objects of a kind are known now.
    pub fn devices_known(&mut self, kind: devices::Kind, now: Instant) {
        self.cluster.devices.unknown &= !(1 << kind as u8);
        self.device_changed(Change::Supply, now);
    }

    pub(crate) fn device_changed(&mut self, change: Change, now: Instant) {
        if change == Change::None {
            return;
        }
        self.release_held(now);
        self.wake(&Event::Devices(change), now);
    }

    /// Pods that wait for what is there now come back.
    pub(crate) fn release_held(&mut self, now: Instant) {
        let held: Vec<ObjectKey> = self.held.iter().cloned().collect();
        for key in held {
            let why = self.queue.get(&key).map(|pending| plugins::hold(&pending.pod, &self.cluster));
            match why {
                Some(Some(_)) => continue,
                Some(None) => self.queue.release(&key, now),
                None => {}
            }
            self.held.remove(&key);
        }
    }

    /// Reservations will not be written: what they give is free again.
    pub fn forget_devices(&mut self, reservations: &[Reservation], now: Instant) {
        if self.cluster.devices.forget(reservations) {
            self.device_changed(Change::Freed, now);
        }
    }

    /// What is wrong with a pod's claims, if the last decision found something.
    pub(crate) fn wrong_claims(&mut self, pod: &Pod) -> Option<String> {
        if pod.template.devices.is_empty() {
            return None;
        }
        let why = self.cluster.devices.take_failure()?;
        Some(format!("running \"DynamicResources\" filter plugin: {why}"))
    }

    /// A pod that could not be decided on is tried again later.
    pub(crate) fn fail(&mut self, pending: Box<Pending>, message: String, now: Instant) -> Step {
        let pod = pending.pod.clone();
        self.queue.failed(pending, now);
        Step::Report(Report {
            pod,
            reason: "SchedulerError",
            message,
            nominate: Nominate::Keep,
            advice: None,
        })
    }

    /// Has a claim that is of no use give up its devices, if that may help a pod; what is said of it.
    pub(crate) fn deallocate(
        &mut self,
        profile: &Profile,
        pod: &Pod,
        diagnosis: &Diagnosis,
    ) -> Option<&'static str> {
        let takes_part =
            |(plugin, part): (&plugins::Plugin, &(bool, i64))| plugin.name == "DynamicResources" && part.0;
        if !PLUGINS.iter().zip(&profile.plugins).any(takes_part) {
            return None;
        }
        if pod.template.devices.is_empty() || diagnosis.refused.is_some() {
            return Some(NONE_TO_FREE);
        }
        let elsewhere = diagnosis.reasons.contains_key(ELSEWHERE);
        match self.cluster.devices.idle(pod, &self.cluster).filter(|_| elsewhere) {
            None => Some("still not schedulable"),
            Some(claim) => {
                self.steps.push_back(Step::Deallocate(claim));
                Some("deallocation of ResourceClaim completed")
            }
        }
    }
}
