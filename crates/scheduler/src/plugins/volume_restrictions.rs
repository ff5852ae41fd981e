//! A claim that only one pod may use is used by one.
//!
//! Answers to VolumeRestrictions.

use super::{Event, Plugin, Verdict};

const IN_USE: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";

/// VolumeRestrictions
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let of_one = |key: &gifee_base::ObjectKey| {
            view.cluster.storage.claim(key).is_some_and(crate::storage::Claim::is_of_one_pod)
        };
        let claims: Vec<_> = pod.claims().into_iter().filter(of_one).collect();
        if claims.is_empty() {
            return None;
        }
        Some(Box::new(move |index| {
            let used = |key: &gifee_base::ObjectKey| {
                let there = |one: &&gifee_base::ObjectKey| *one == key;
                let real = view.cluster.load(index).claims.iter().filter(there).count();
                let supposed = view.load(index).claims.iter().filter(there).count();
                view.cluster.uses(key) + supposed > real
            };
            match claims.iter().any(used) {
                true => Verdict::rejects(IN_USE, true),
                false => Verdict::Fits,
            }
        }))
    },
    hint: |pod, event, _| match event {
        Event::Node(..) | Event::Storage(_) => true,
        Event::Freed(freed, _) => {
            let same = |(name, _): &(Box<str>, bool)| pod.claims.iter().any(|(one, _)| one == name);
            freed.namespace == pod.namespace && freed.claims.iter().any(same)
        }
        _ => false,
    },
    ..Plugin::named("VolumeRestrictions")
};
