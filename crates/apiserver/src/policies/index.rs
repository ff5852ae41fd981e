//! All policies of one sort that have a binding, by name, with a table of what they may want.

use super::bound::{Binding, Bound, Target};
use crate::cache::Snapshot;
use crate::seam::Operation;
use crate::webhook::hook::{WILDCARD, bit};
use gifee_policy::policies::Policy;
use std::collections::HashMap;
use std::sync::Arc;

/// The policies at one moment.
#[derive(Default)]
pub struct Index {
    /// Revisions of the newest policy and the newest binding.
    pub revisions: (u64, u64),
    /// By name.
    pub bound: Vec<Bound>,
    /// Operations that some policy wants of any resource.
    anywhere: u8,
    /// Operations that some policy wants, by plural resource, whatever its group and version.
    by_resource: HashMap<Box<str>, u8>,
}

impl Index {
    /// Of all policies and bindings; a policy that `before` has at the same revision is not compiled again.
    pub fn new(policies: &Snapshot, bindings: &Snapshot, before: &Index) -> Self {
        let mut by_policy: HashMap<String, Vec<Binding>> = HashMap::new();
        for entry in bindings.objects.values() {
            let Ok(object) = entry.object.to_value() else { continue };
            let policy = object["spec"]["policyName"].as_str().unwrap_or_default();
            by_policy.entry(policy.to_owned()).or_default().push(Binding::new(&object));
        }
        let mut index = Self { revisions: (policies.revision, bindings.revision), ..Self::default() };
        for entry in policies.objects.values() {
            let Some(bindings) = by_policy.remove(entry.object.name()) else { continue };
            let Ok(object) = entry.object.to_value() else { continue };
            let revision = entry.object.revision();
            let known = before.bound.iter().find(|one| one.policy.name == entry.object.name());
            let policy = match known {
                Some(known) if known.revision == revision => known.policy.clone(),
                _ => Arc::new(Policy::new(&object)),
            };
            let target = Target::new(&object["spec"]["matchConstraints"]);
            index.note(&target);
            index.bound.push(Bound { policy, revision, target, bindings });
        }
        index
    }

    fn note(&mut self, target: &Target) {
        for rule in &target.rules {
            for (resource, _) in &rule.resources {
                if resource == WILDCARD {
                    self.anywhere |= rule.operations;
                } else {
                    *self.by_resource.entry(resource.as_str().into()).or_default() |= rule.operations;
                }
            }
        }
        if target.rules.is_empty() {
            self.anywhere = u8::MAX;
        }
    }

    /// Whether a policy may want an operation; says yes too often rather than too rarely.
    pub fn may_want(&self, resource: &str, operation: Operation) -> bool {
        if self.bound.is_empty() {
            return false;
        }
        let known = self.by_resource.get(resource).copied().unwrap_or_default();
        (self.anywhere | known) & bit(operation) != 0
    }
}
