//! Pods of higher priority come first; among equals, those that have waited longer.

use super::Plugin;

/// PrioritySort
pub const PLUGIN: Plugin =
    Plugin { order: |one, other| other.priority.cmp(&one.priority), ..Plugin::named("PrioritySort") };
