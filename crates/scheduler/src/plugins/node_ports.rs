//! A port of a node's own is used once for each address and protocol.

use super::{Event, Plugin, Verdict};

/// NodePorts
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let wanted = &pod.template.ports;
        if wanted.is_empty() {
            return None;
        }
        Some(Box::new(|index| {
            let used = &view.load(index).ports;
            if wanted.iter().any(|port| used.iter().any(|one| one.conflicts(port))) {
                return Verdict::rejects("node(s) didn't have free ports for the requested pod ports", true);
            }
            Verdict::Fits
        }))
    },
    hint: |pod, event, _| match event {
        Event::Node(old, _) => old.is_none(),
        Event::Freed(freed, _) => {
            pod.ports.iter().any(|port| freed.ports.iter().any(|one| one.conflicts(port)))
        }
        Event::Placed(..) | Event::Namespace | Event::Storage(_) | Event::Group(_) | Event::Devices(_) => {
            false
        }
    },
    ..Plugin::named("NodePorts")
};
