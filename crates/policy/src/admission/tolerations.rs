//! Taints and tolerations that everything has: a new node is not ready, a pod stays 300 seconds on a lost one.
//!
//! Answers to upstream's `TaintNodesByCondition` and `DefaultTolerationSeconds`.

use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const SECONDS: i64 = 300;

/// A new Node carries the not-ready taint until its controller has seen it ready.
pub struct TaintNodesByCondition;

impl Rule for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, node: &mut Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "nodes") || request.operation != Operation::Create {
            return Ok(());
        }
        push_unless(
            &mut node["spec"]["taints"],
            || json!({ "key": NOT_READY, "effect": "NoSchedule" }),
            |taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule",
        );
        Ok(())
    }
}

/// A pod tolerates a lost node for five minutes unless it says otherwise.
pub struct DefaultTolerationSeconds;

impl Rule for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, pod: &mut Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        let write = matches!(request.operation, Operation::Create | Operation::Update);
        if !request.is("", "pods") || !write {
            return Ok(());
        }
        for key in [NOT_READY, UNREACHABLE] {
            let toleration = || json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS });
            push_unless(&mut pod["spec"]["tolerations"], toleration, |one| {
                let of_key = one["key"].as_str().unwrap_or_default();
                let effect = one["effect"].as_str().unwrap_or_default();
                (of_key == key || of_key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
            });
        }
        Ok(())
    }
}

fn push_unless(list: &mut Value, item: impl FnOnce() -> Value, there: impl Fn(&Value) -> bool) {
    match list.as_array_mut() {
        Some(items) if items.iter().any(there) => {}
        Some(items) => items.push(item()),
        None => *list = Value::Array(vec![item()]),
    }
}
