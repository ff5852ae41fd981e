//! KINDS: a row per built-in kind, the hooks of the few kinds that need them, an example object of each.
//!
//! Invariant: a kind is data. The API server holds one engine that is driven by these rows; a
//! CustomResourceDefinition makes the same row at run time.

mod admissionregistration;
pub mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
pub mod kind;
mod metrics;
mod networking;
mod node;
mod podspec;
mod policy;
mod rbac;
pub mod reset;
mod resource;
pub mod row;
mod rule;
pub mod rules;
mod scheduling;
mod storage;
mod storagemigration;
pub mod table;
mod value;

pub use kind::Kind;

/// What rows depend on besides facts of their kinds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ranges that cluster addresses of Services come from, one per IP family; the first one's family is the default.
    pub service_cidrs: Vec<String>,
    /// First and last port that node ports come from.
    pub node_ports: (u16, u16),
}

impl Default for Settings {
    fn default() -> Self {
        Self { service_cidrs: vec!["10.96.0.0/12".into()], node_ports: (30000, 32767) }
    }
}

/// All built-in kinds, groups in the order of discovery, the preferred version of a group first.
pub fn kinds(settings: &Settings) -> Vec<Kind> {
    let mut all = core::rows(settings);
    let groups = [
        apiregistration::rows,
        apps::rows,
        events::rows,
        authentication::rows,
        authorization::rows,
        autoscaling::rows,
        batch::rows,
        certificates::rows,
        networking::rows,
        policy::rows,
        rbac::rows,
        storage::rows,
        admissionregistration::rows,
        apiextensions::rows,
        scheduling::rows,
        coordination::rows,
        node::rows,
        discovery::rows,
        resource::rows,
        flowcontrol::rows,
        storagemigration::rows,
        metrics::rows,
    ];
    all.extend(groups.into_iter().flat_map(|rows| rows()));
    all
}
