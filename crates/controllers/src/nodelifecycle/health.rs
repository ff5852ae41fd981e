//! When each node last gave a sign of life, by this machine's own clock, so that a node's wrong clock
//! does no harm.
//!
//! A sign is a new heartbeat in the Ready condition or a renewal of the node's Lease. Bounded by the
//! number of nodes and of their Leases.

use super::node::Node;
use super::zones::{Shift, Zones};
use gifee_client::Change;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

struct Seen {
    uid: String,
    /// The Ready condition's last heartbeat, as it stands there.
    heartbeat: String,
    since: Instant,
}

struct Renewed {
    /// `spec.renewTime`
    at: Option<jiff::Timestamp>,
    since: Instant,
}

/// What is known of all nodes.
#[derive(Default)]
pub struct Health {
    seen: HashMap<String, Seen>,
    leases: HashMap<String, Renewed>,
    /// How the zones are.
    pub zones: Zones,
}

impl Health {
    /// Notes what a Node says; whether it was not known before.
    pub fn observe(&mut self, node: &Node) -> bool {
        let heartbeat = node.condition("Ready").and_then(|ready| ready["lastHeartbeatTime"].as_str());
        let heartbeat = heartbeat.unwrap_or_default().to_owned();
        let (name, uid) = (node.object.name(), node.object.uid());
        let now = Instant::now();
        match self.seen.get_mut(name) {
            Some(seen) if seen.uid == uid => {
                // The change to Unknown is this controller's own, and brings no heartbeat.
                if seen.heartbeat != heartbeat {
                    *seen = Seen { uid: uid.to_owned(), heartbeat, since: now };
                }
                false
            }
            _ => {
                let seen = Seen { uid: uid.to_owned(), heartbeat, since: now };
                self.seen.insert(name.to_owned(), seen);
                true
            }
        }
    }

    /// Notes a change of a Lease of the name of a node.
    pub fn lease_changed(&mut self, change: &Change<'_>) {
        #[derive(Deserialize)]
        struct Lease {
            spec: Option<Spec>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            renew_time: Option<String>,
        }
        let Some(lease) = change.new else {
            self.leases.remove(change.object().name());
            return;
        };
        let parsed: Option<Lease> = serde_json::from_slice(lease.raw()).ok();
        let at = parsed.and_then(|lease| lease.spec?.renew_time);
        let at = at.and_then(|text| gifee_base::clock::parse_time(&text));
        match self.leases.get_mut(lease.name()) {
            Some(renewed) if renewed.at >= at => {}
            _ => {
                self.leases.insert(lease.name().to_owned(), Renewed { at, since: Instant::now() });
            }
        }
    }

    /// Time since the last sign of life.
    pub fn silent(&self, name: &str) -> Duration {
        let seen = self.seen.get(name).map(|seen| seen.since);
        let renewed = self.leases.get(name).map(|renewed| renewed.since);
        seen.max(renewed).map_or(Duration::ZERO, |last| last.elapsed())
    }

    /// Forgets a node; its UID if it was known.
    pub fn forget(&mut self, name: &str) -> (Option<String>, Shift) {
        (self.seen.remove(name).map(|seen| seen.uid), self.zones.remove(name))
    }

    /// Gives all nodes their whole time again.
    pub fn excuse(&mut self) {
        let now = Instant::now();
        for seen in self.seen.values_mut() {
            seen.since = now;
        }
    }
}
