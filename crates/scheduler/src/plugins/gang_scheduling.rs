//! Pods of a group wait until as many of them are there as must start together.
//!
//! That they find places together is the scheduler's own work. Answers to GangScheduling.

use super::{Event, Plugin};

/// GangScheduling
pub const PLUGIN: Plugin = Plugin {
    hold: |pod, cluster| {
        let group = pod.template.group_key()?;
        let groups = &cluster.groups;
        if groups.get(&group).is_none() {
            let name = &group.name;
            return Some(
                format!("waiting for pod's pod group {name:?} to appear in scheduling queue").into(),
            );
        }
        (!groups.is_complete(&group))
            .then_some("waiting for minCount pods from a gang to appear in scheduling queue".into())
    },
    hint: |pod, event, _| matches!(event, Event::Group(group) if pod.group_key().as_ref() == Some(group)),
    ..Plugin::named("GangScheduling")
};
