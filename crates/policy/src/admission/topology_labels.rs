//! A pod that gets its node gets the labels of where that node is.
//!
//! Answers to upstream's `PodTopologyLabels`.

use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::{ObjectKey, Status};
use serde_json::{Value, json};

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The rule.
pub struct PodTopologyLabels;

impl Rule for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, object: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.gvk.group.is_empty() {
            return Ok(());
        }
        let node = match (request.resource, request.subresource) {
            ("pods", "") => &object["spec"]["nodeName"],
            ("pods", "binding") | ("bindings", "")
                if matches!(object["target"]["kind"].as_str(), None | Some("" | "Node")) =>
            {
                &object["target"]["name"]
            }
            _ => return Ok(()),
        };
        let Some(node) = node.as_str().filter(|node| !node.is_empty()) else { return Ok(()) };
        // A node that is not there (yet) is somebody else's business.
        let Some(node) = lookup.get("", "nodes", &ObjectKey::cluster(node)) else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = node.label(label) {
                let labels = &mut object["metadata"]["labels"];
                if !labels.is_object() {
                    *labels = json!({});
                }
                labels[label] = value.into();
            }
        }
        Ok(())
    }
}
