//! OPERATIONS: what a step of a workload can be.
//!
//! Invariant: an operation reads its fields before anything is run, and reaches the cluster through its API alone.

mod changes;
mod churn;
mod nodes;
mod objects;
mod pods;
mod rollout;
mod stage;
mod template;

pub use stage::{Outcome, Stage};

use crate::error::Result;
use crate::workload::{Reading, decode};
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One thing that happens.
#[async_trait]
pub trait Step: Send + Sync {
    /// Makes it happen; returns when it has.
    ///
    /// # Errors
    /// If the cluster refuses, or does not do it in time.
    async fn run(&self, stage: &Stage) -> Result<Outcome>;
}

/// A kind of step.
pub struct Operation {
    /// What a workload calls it.
    pub opcode: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Reads its fields.
    pub read: fn(Value, &Reading<'_>) -> Result<Box<dyn Step>>,
}

/// A step whose fields need no more than decoding.
fn plain<S: Step + DeserializeOwned + 'static>(
    fields: Value,
    reading: &Reading<'_>,
) -> Result<Box<dyn Step>> {
    Ok(Box::new(decode::<S>(fields, &reading.path)?))
}

/// Decodes fields of the step itself, which are `own`, and the others apart, so that each error names its field.
fn apart<O: DeserializeOwned, R: DeserializeOwned>(
    mut fields: Value,
    reading: &Reading<'_>,
    own: &[&str],
) -> Result<(O, R)> {
    let mut taken = serde_json::Map::new();
    if let Some(fields) = fields.as_object_mut() {
        for name in own {
            taken.extend(fields.remove_entry(*name));
        }
    }
    Ok((decode(Value::Object(taken), &reading.path)?, decode(fields, &reading.path)?))
}

/// Waits until nothing more is to be expected of any pod.
pub fn settle() -> impl Step {
    pods::Settle::default()
}

// Not extensions: stage, template.
/// All operations.
pub const OPERATIONS: &[Operation] = &[
    Operation { opcode: "createNodes", about: "add simulated nodes", read: nodes::create },
    Operation { opcode: "failNodes", about: "lose nodes, by name, number or zone", read: nodes::fail },
    Operation { opcode: "drain", about: "cordon nodes and evict their pods", read: nodes::drain },
    Operation { opcode: "createNamespaces", about: "add namespaces", read: plain::<objects::Namespaces> },
    Operation {
        opcode: "createPods",
        about: "add pods and wait until they are scheduled",
        read: pods::create,
    },
    Operation { opcode: "createAny", about: "add objects of any kind", read: objects::create },
    Operation { opcode: "apply", about: "apply objects or a manifest", read: objects::apply },
    Operation { opcode: "patch", about: "change objects", read: objects::patch },
    Operation { opcode: "scale", about: "set replicas", read: objects::scale },
    Operation {
        opcode: "delete",
        about: "delete objects and wait until they are gone",
        read: objects::delete,
    },
    Operation { opcode: "churn", about: "create and delete objects at a rate meanwhile", read: churn::read },
    Operation {
        opcode: "changes",
        about: "change Deployments at a rate, and time their controller",
        read: plain::<changes::Changes>,
    },
    Operation {
        opcode: "rollout",
        about: "wait until Deployments are complete",
        read: plain::<rollout::Rollout>,
    },
    Operation {
        opcode: "barrier",
        about: "wait until pods are scheduled or ready",
        read: plain::<pods::Barrier>,
    },
    Operation {
        opcode: "settle",
        about: "wait until pods are ready or have no place",
        read: plain::<pods::Settle>,
    },
    Operation { opcode: "sleep", about: "let time pass", read: plain::<pods::Sleep> },
];
