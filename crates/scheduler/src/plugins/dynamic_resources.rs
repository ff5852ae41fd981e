//! A pod's claims must have their devices, or be able to get them, where it runs.
//!
//! Answers to DynamicResources; what it writes is in `prebind.rs`.

use super::{Event, Plugin, Scale, Scoring, Verdict};
use crate::devices::Change;

/// DynamicResources
pub const PLUGIN: Plugin = Plugin {
    hold: |pod, cluster| {
        if pod.template.devices.is_empty() {
            return None;
        }
        cluster.devices.missing(pod)
    },
    refuse: |pod, view| {
        if pod.template.devices.is_empty() {
            return None;
        }
        view.cluster.devices.refusal(pod)
    },
    filter: |pod, view| {
        if pod.template.devices.is_empty() {
            return None;
        }
        let search = view.cluster.devices.search(&pod.template);
        Some(Box::new(move |index| match search.check(view.node(index)) {
            Ok(()) => Verdict::Fits,
            Err(why) => Verdict::rejects(why, false),
        }))
    },
    score: Some(Scoring {
        weight: 2,
        scale: Scale::Highest,
        prepare: |pod, view, _| {
            if pod.template.devices.is_empty() {
                return None;
            }
            let search = view.cluster.devices.search(&pod.template);
            search
                .is_ranked()
                .then(|| -> super::Score<'_> { Box::new(move |index| search.score(view.node(index))) })
        },
    }),
    fingerprint: |template, cluster| if template.devices.is_empty() { 0 } else { cluster.devices.version() },
    hint: |pod, event, cluster| match event {
        Event::Node(old, index) => old.as_ref().is_none_or(|old| old.labels != cluster.node(*index).labels),
        Event::Devices(Change::Claim(key)) => pod.device_claims().any(|own| own == *key),
        Event::Devices(Change::Freed | Change::Supply) => true,
        _ => false,
    },
    ..Plugin::named("DynamicResources")
};
