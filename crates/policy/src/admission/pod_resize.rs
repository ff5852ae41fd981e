//! A running pod gets other resources only if its node could hold it so, and if its node does what that takes.
//!
//! Answers to upstream's `PodResizeValidator` and `NodeDeclaredFeatureValidator`, with the features of
//! component-helpers' `nodedeclaredfeatures` that changes of pods take.

use super::{Operation, Request, Rule, decoded};
use crate::Lookup;
use crate::resources::{Counting, quantity, requests};
use gifee_base::{Cause, ObjectKey, Quantity, Status};
use serde_json::Value;

const SYSTEM: &str = "kubernetes.io/os";

/// The rule about what the node has.
pub struct PodResizeValidator;

/// The rule about what the node can do.
pub struct NodeDeclaredFeatureValidator;

/// The node of a pod that is changed in what is wanted of it.
fn node_of(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<Value, Status> {
    let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = decoded(lookup.get("", "nodes", &ObjectKey::cluster(name)));
    node.ok_or_else(|| request.forbidden(&format!("node {name:?} not found")))
}

/// Whether a pod that has a node is changed in what is wanted of it, by one of these parts of it.
fn concerns(request: &Request<'_>, pod: &Value, parts: &[&str]) -> bool {
    let generation = |pod: &Value| pod["metadata"]["generation"].as_i64().unwrap_or_default();
    request.operation == Operation::Update
        && request.resource == "pods"
        && request.gvk.group.is_empty()
        && parts.contains(&request.subresource)
        && pod["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty())
        && request.old.is_some_and(|old| generation(old) != generation(pod))
}

fn because(mut refusal: Status, reason: &'static str) -> Status {
    if let Some(details) = &mut refusal.details {
        details.causes.push(Cause { reason: reason.into(), ..Cause::default() });
    }
    refusal
}

impl Rule for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validate(&self, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !concerns(request, pod, &["resize"]) {
            return Ok(());
        }
        let node = node_of(request, pod, lookup)?;
        let asked = requests(pod, Counting { overhead: true, ..Counting::default() });
        let mut lacks = Vec::new();
        for (name, of) in [("cpu", Quantity::milli as fn(&Quantity) -> _), ("memory", Quantity::value)] {
            let asked = asked.get(name).map_or(0, of);
            let has = quantity(&node["status"]["allocatable"][name]).map_or(0, |has| of(&has));
            if asked > has {
                lacks.push(format!("{name}, requested: {asked}, allocatable: {has}"));
            }
        }
        if !lacks.is_empty() {
            let why = format!("Node didn't have enough allocatable resources: {}", lacks.join("; "));
            return Err(because(request.forbidden(&why), "NodeCapacity"));
        }
        let system = node["metadata"]["labels"][SYSTEM].as_str().unwrap_or_default();
        if system == "linux" {
            return Ok(());
        }
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        Err(because(request.forbidden(&why), "UnsupportedPlatform"))
    }
}

/// What a change of a pod takes, by the names that nodes declare it under.
fn features(old: &Value, new: &Value) -> Vec<&'static str> {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let differ = |one: &Value, other: &Value| one != other && !(empty(one) && empty(other));
    let mut all = Vec::new();
    let whole = [old, new].map(|pod| &pod["spec"]["resources"]);
    if ["requests", "limits"].iter().any(|side| differ(&whole[0][*side], &whole[1][*side])) {
        all.push("InPlacePodLevelResourcesVerticalScaling");
    }
    let [before, after] =
        [old, new].map(|pod| pod["spec"]["initContainers"].as_array().map_or(&[][..], Vec::as_slice));
    let changed = before
        .iter()
        .zip(after)
        .any(|(old, new)| old["restartPolicy"] != "Always" && differ(&old["resources"], &new["resources"]));
    if changed {
        all.push("InPlacePodVerticalScalingInitContainers");
    }
    all
}

impl Rule for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn validate(&self, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let Some(old) = request.old.filter(|_| concerns(request, pod, &["", "resize"])) else {
            return Ok(());
        };
        let mut lacks = features(old, pod);
        if lacks.is_empty() {
            return Ok(());
        }
        let node = node_of(request, pod, lookup)?;
        let declared = node["status"]["declaredFeatures"].as_array().map_or(&[][..], Vec::as_slice);
        lacks.retain(|name| !declared.iter().any(|one| one == name));
        if lacks.is_empty() {
            return Ok(());
        }
        let (lacks, name) = (lacks.join(", "), node["metadata"]["name"].as_str().unwrap_or_default());
        let why = format!("pod update requires features {lacks} which are not available on node {name:?}");
        Err(request.forbidden(&why))
    }
}
