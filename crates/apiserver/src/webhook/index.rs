//! All webhooks of one kind in the order of their calls, with a table of what they may want.

use super::hook::{Hook, WILDCARD, bit};
use crate::cache::Snapshot;
use crate::seam::Operation;
use std::collections::HashMap;

/// The webhooks at one moment.
#[derive(Default)]
pub struct Index {
    /// Revision of the newest configuration.
    pub revision: u64,
    /// By name of the configuration, then in its order.
    pub hooks: Vec<Hook>,
    /// Operations that some rule wants of any resource.
    anywhere: u8,
    /// Operations that some rule wants, by plural resource, whatever its group and version.
    by_resource: HashMap<Box<str>, u8>,
}

impl Index {
    /// Of all configurations; their names are the keys, so they come sorted. What `before` has compiled stays.
    pub fn new(snapshot: &Snapshot, before: &Index) -> Self {
        let mut index = Self { revision: snapshot.revision, ..Self::default() };
        for entry in snapshot.objects.values() {
            let Ok(configuration) = entry.object.to_value() else { continue };
            for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
                let hook = Hook::new(entry.object.name(), webhook, &before.hooks);
                for rule in &hook.rules {
                    for (resource, _) in &rule.resources {
                        if resource == WILDCARD {
                            index.anywhere |= rule.operations;
                        } else {
                            *index.by_resource.entry(resource.as_str().into()).or_default() |=
                                rule.operations;
                        }
                    }
                }
                index.hooks.push(hook);
            }
        }
        index
    }

    /// Whether a webhook may want an operation; says yes too often rather than too rarely.
    pub fn may_want(&self, resource: &str, operation: Operation) -> bool {
        if self.hooks.is_empty() {
            return false;
        }
        let known = self.by_resource.get(resource).copied().unwrap_or_default();
        (self.anywhere | known) & bit(operation) != 0
    }
}
