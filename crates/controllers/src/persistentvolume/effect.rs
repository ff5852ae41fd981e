//! What a plan of the binder consists of, and the writes that binding and unbinding are made of. Pure.

use super::object::{BIND_COMPLETED, BOUND_BY_CONTROLLER, Claim, Volume};
use gifee_reconcile::events::Severity;
use gifee_reconcile::patch::difference;
use serde_json::{Value, json};

/// Which of the two objects of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The claim.
    Claim,
    /// The volume.
    Volume,
}

/// One step; steps are taken in order, and none after one that failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A merge patch.
    Patch {
        /// Of what.
        of: Of,
        /// Whether of its status.
        status: bool,
        /// The change.
        change: Value,
    },
    /// An event.
    Event {
        /// About what.
        of: Of,
        /// How bad.
        severity: Severity,
        /// Why, one word.
        reason: &'static str,
        /// For a person.
        message: String,
        /// Whether it tells of a state that lasts, so that it need not be told at every look.
        lasting: bool,
    },
    /// A pod that empties the volume is to run.
    Scrub(Value),
    /// The pod that emptied the volume is to go.
    Swept,
}

/// Effects in the making: what the objects look like once those so far are taken.
#[derive(Debug, Default)]
pub struct Draft {
    /// The claim.
    pub claim: Claim,
    /// The volume.
    pub volume: Volume,
    /// What is to be done so far.
    pub effects: Vec<Effect>,
    /// Why it is to be tried again, although everything was done.
    pub failure: Option<String>,
}

impl Draft {
    /// Reports.
    pub fn event(&mut self, of: Of, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.effects.push(Effect::Event { of, severity, reason, message: message.into(), lasting: false });
    }

    /// Reports a state that lasts.
    pub fn state(&mut self, severity: Severity, reason: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.effects.push(Effect::Event { of: Of::Claim, severity, reason, message, lasting: true });
    }

    /// Gives an object another form, if it is another.
    pub fn turn(&mut self, of: Of, status: bool, new: Value) {
        let old = match of {
            Of::Claim => &mut self.claim.tree,
            Of::Volume => &mut self.volume.tree,
        };
        if let Some(change) = difference(old, &new) {
            *old = new;
            self.effects.push(Effect::Patch { of, status, change });
        }
    }

    /// Sets the volume's phase; whether it was another.
    pub fn volume_phase(&mut self, phase: &str, message: &str) -> bool {
        if self.volume.phase() == phase {
            return false;
        }
        let mut tree = self.volume.tree.clone();
        tree["status"]["phase"] = phase.into();
        tree["status"]["message"] = if message.is_empty() { Value::Null } else { message.into() };
        self.turn(Of::Volume, true, tree);
        true
    }

    /// Sets the volume's phase, and reports it if it was another.
    pub fn volume_fails(&mut self, reason: &'static str, message: &str) {
        if self.volume_phase("Failed", message) {
            self.event(Of::Volume, Severity::Warning, reason, message);
        }
    }

    /// Sets the claim's phase, and with it what the status says of its volume, which is ours if there is one.
    pub fn claim_phase(&mut self, phase: &str, bound: bool) -> bool {
        let changed = self.claim.phase() != phase;
        let mut tree = self.claim.tree.clone();
        let (status, spec) = (&mut tree["status"], &self.volume.tree["spec"]);
        status["phase"] = phase.into();
        if bound {
            status["accessModes"] = spec["accessModes"].clone();
            // Of a claim that is Bound already, a difference means that its file system has yet to grow.
            if changed {
                status["capacity"] = spec["capacity"].clone();
                status["currentVolumeAttributesClassName"] = spec["volumeAttributesClassName"].clone();
            }
        } else {
            for field in ["accessModes", "capacity", "currentVolumeAttributesClassName"] {
                status[field] = Value::Null;
            }
        }
        if let Some(status) = status.as_object_mut() {
            status.retain(|_, value| !value.is_null());
        }
        self.turn(Of::Claim, true, tree);
        changed
    }

    /// The claim's volume is gone for good.
    pub fn claim_lost(&mut self, reason: &'static str, message: &str) {
        if self.claim.phase() != "Lost" {
            self.claim_phase("Lost", false);
            self.event(Of::Claim, Severity::Warning, reason, message);
        }
    }

    /// Binds the two to one another: first the volume, then the claim, so that a claim that says it is bound is.
    pub fn bind(&mut self) {
        let meant = self.volume.is_for(&self.claim);
        let mut volume = self.volume.tree.clone();
        if volume["spec"]["claimRef"]["uid"] != self.claim.uid() || !meant {
            let metadata = &self.claim.tree["metadata"];
            volume["spec"]["claimRef"] = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": metadata["namespace"],
                "name": metadata["name"], "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            });
        }
        if !meant {
            volume["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
        self.turn(Of::Volume, false, volume);
        self.volume_phase("Bound", "");
        let mut claim = self.claim.tree.clone();
        if claim["spec"]["volumeName"] != self.volume.name() {
            claim["spec"]["volumeName"] = self.volume.name().into();
            claim["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
        claim["metadata"]["annotations"][BIND_COMPLETED] = "yes".into();
        self.turn(Of::Claim, false, claim);
        self.claim_phase("Bound", true);
    }

    /// Takes a volume back: wholly if this controller had bound it, else it stays meant for the claim.
    pub fn unbind(&mut self) {
        let mut volume = self.volume.tree.clone();
        if self.volume.annotation(BOUND_BY_CONTROLLER).is_some() {
            if let Some(spec) = volume["spec"].as_object_mut() {
                spec.remove("claimRef");
            }
            if let Some(annotations) = volume["metadata"]["annotations"].as_object_mut() {
                annotations.remove(BOUND_BY_CONTROLLER);
            }
        } else if let Some(claim) = volume["spec"]["claimRef"].as_object_mut() {
            claim.remove("uid");
        }
        self.turn(Of::Volume, false, volume);
        self.volume_phase("Available", "");
    }
}
