//! What is written of a solution: the allocation of a claim.
//!
//! Answers to `AllocationResult` as upstream's structured allocator fills it.

use super::Devices;
use super::allocate::Chosen;
use super::object::{Claim, Device, Nodes, list};
use crate::node::Node;
use serde_json::{Value, json};

/// The allocation of a claim to what was chosen for it on a node.
pub fn tree(devices: &Devices, claim: &Claim, chosen: &[Chosen<'_>], node: &Node) -> Value {
    let results: Vec<Value> = chosen.iter().map(|one| result(claim, one)).collect();
    let mut tree = json!({ "devices": { "results": results } });
    let config = configurations(devices, claim, chosen);
    if !config.is_empty() {
        tree["devices"]["config"] = config.into();
    }
    if let Some(selector) = selector(devices, chosen, node) {
        tree["nodeSelector"] = selector;
    }
    tree
}

fn result(claim: &Claim, one: &Chosen<'_>) -> Value {
    let (alternative, device) = (&claim.requests[one.request].alternatives[one.alternative], one.device);
    let mut tree = json!({
        "request": &*alternative.name, "driver": &*device.id.driver, "pool": &*device.id.pool,
        "device": &*device.id.device,
    });
    if alternative.admin {
        tree["adminAccess"] = true.into();
    }
    if !alternative.tolerations.is_empty() {
        tree["tolerations"] = alternative.tolerations_tree.clone();
    }
    if !device.conditions.is_empty() {
        tree["bindingConditions"] = device.conditions.clone().into();
    }
    if !device.failures.is_empty() {
        tree["bindingFailureConditions"] = device.failures.clone().into();
    }
    if let Some(consumed) = &one.consumed {
        tree["shareID"] = uuid::Uuid::new_v4().to_string().into();
        for (name, amount) in consumed {
            tree["consumedCapacity"][&**name] = amount.to_string().into();
        }
    }
    tree
}

/// Configurations of the classes, each once for all requests with the class, and those of the claim.
fn configurations(devices: &Devices, claim: &Claim, chosen: &[Chosen<'_>]) -> Vec<Value> {
    let used = |request: usize| {
        let number = chosen.iter().find(|one| one.request == request)?.alternative;
        claim.requests[request].alternatives.get(number)
    };
    let used: Vec<_> = (0..claim.requests.len()).filter_map(used).collect();
    let mut classes: Vec<(&str, Vec<Value>)> = Vec::new();
    for one in &used {
        match classes.iter_mut().find(|(class, _)| **class == *one.class) {
            Some((_, requests)) => requests.push((*one.name).into()),
            None => classes.push((&one.class, vec![(*one.name).into()])),
        }
    }
    let mut all = Vec::new();
    for (class, requests) in classes {
        for config in devices.classes.get(class).into_iter().flat_map(|class| &class.config) {
            all.push(with(config, "FromClass", Some(requests.clone())));
        }
    }
    for config in &claim.config {
        let named: Vec<&str> = list(&config["requests"]).filter_map(Value::as_str).collect();
        let concerns = |name: &str| {
            let parent = name.split('/').next().unwrap_or_default();
            named.is_empty() || named.contains(&name) || named.contains(&parent)
        };
        if named.is_empty() || used.iter().any(|one| concerns(&one.name)) {
            all.push(with(config, "FromClaim", None));
        }
    }
    all
}

fn with(config: &Value, source: &str, requests: Option<Vec<Value>>) -> Value {
    let mut config = config.clone();
    config["source"] = source.into();
    if let Some(requests) = requests {
        config["requests"] = requests.into();
    }
    config
}

/// The nodes where all that was chosen can be used; none: all.
fn selector(devices: &Devices, chosen: &[Chosen<'_>], node: &Node) -> Option<Value> {
    let (mut fields, mut expressions): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for one in chosen {
        let nodes = nodes(devices, one.device);
        if one.device.binds || matches!(nodes, Some(Nodes::One(_))) {
            let name = json!({ "key": "metadata.name", "operator": "In", "values": [&*node.name] });
            return Some(json!({ "nodeSelectorTerms": [{ "matchFields": [name] }] }));
        }
        let Some(Nodes::Selected(_, tree)) = nodes else { continue };
        let term = &tree["nodeSelectorTerms"][0];
        for (all, more) in
            [(&mut fields, &term["matchFields"]), (&mut expressions, &term["matchExpressions"])]
        {
            let new: Vec<Value> = list(more).filter(|one| !all.contains(one)).cloned().collect();
            all.extend(new);
        }
    }
    let mut term = json!({});
    for (name, all) in [("matchFields", fields), ("matchExpressions", expressions)] {
        if !all.is_empty() {
            term[name] = all.into();
        }
    }
    (term != json!({})).then(|| json!({ "nodeSelectorTerms": [term] }))
}

fn nodes<'a>(devices: &'a Devices, device: &'a Device) -> Option<&'a Nodes> {
    let of_pool = |slice: &&super::object::Slice| {
        *slice.pool.0 == *device.id.driver && *slice.pool.1 == *device.id.pool
    };
    let holds = |slice: &&super::object::Slice| slice.devices.iter().any(|one| one.number == device.number);
    let slice = devices.slices.all().filter(of_pool).find(holds)?;
    Some(if slice.nodes == Nodes::PerDevice { &device.nodes } else { &slice.nodes })
}
