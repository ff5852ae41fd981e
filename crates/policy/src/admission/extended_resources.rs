//! A pod that asks for an extended resource tolerates the taint of that name. Off by default.
//!
//! Answers to upstream's `ExtendedResourceToleration`.

use super::{Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rule.
pub struct ExtendedResourceToleration;

impl Rule for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, pod: &mut Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "pods") || !request.writes() {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let asked = container["resources"]["requests"].as_object().into_iter().flatten();
                names.extend(asked.map(|(name, _)| name.clone()).filter(|name| extended(name)));
            }
        }
        for name in names {
            let toleration = json!({ "key": name, "operator": "Exists", "effect": "NoSchedule" });
            let tolerations = &mut pod["spec"]["tolerations"];
            match tolerations.as_array_mut() {
                Some(list) if list.contains(&toleration) => {}
                Some(list) => list.push(toleration),
                None => *tolerations = json!([toleration]),
            }
        }
        Ok(())
    }

    fn on(&self) -> bool {
        false
    }
}

fn extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}
