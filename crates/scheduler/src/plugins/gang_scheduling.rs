//! Pods of a group wait until as many of them are there as must start together.
//!
//! That they find places together is the scheduler's own work. Answers to GangScheduling.

use super::{Event, Plugin};

/// GangScheduling
pub const PLUGIN: Plugin = Plugin {
    refuse: |pod, view| {
        let group = pod.template.group_key()?;
        let groups = &view.cluster.groups;
        let Some(least) = groups.least(&group) else {
            return Some(format!("waiting for pod group {:?} to be created", group.name).into());
        };
        (groups.members(&group).count() < least)
            .then_some("waiting for minCount pods from a gang to appear in scheduling queue".into())
    },
    hint: |pod, event, _| matches!(event, Event::Group(group) if pod.group_key().as_ref() == Some(group)),
    ..Plugin::named("GangScheduling")
};
