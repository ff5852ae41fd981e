//! Keeps pods with scheduling gates out of the queue.

use super::Plugin;

/// SchedulingGates
pub const PLUGIN: Plugin = Plugin {
    gate: |template| {
        (!template.gates.is_empty())
            .then_some("Scheduling is blocked due to non-empty scheduling gates".into())
    },
    ..Plugin::named("SchedulingGates")
};
