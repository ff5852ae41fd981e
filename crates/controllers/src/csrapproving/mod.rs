//! Approves requests of node agents for their own certificates, if they may.
//!
//! Client certificates are approved as upstream does. Serving certificates are approved by the same road for who may
//! create `certificatesigningrequests/selfnodeserver`, which by default is nobody, and only for names and addresses
//! that the Node has. Answers to upstream's `csrapproving` controller.

#[cfg(test)]
pub(crate) mod tests;

use crate::Config;
use crate::certificate::{self, KUBELET_CLIENT, KUBELET_SERVING, Parsed, Request, requests};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "certificatesigningrequest-approving-controller";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let requests = context.caches.scope(Scope::all(requests()));
        let nodes = context.caches.scope(Scope::all(Gvr::core("nodes")));
        requests.synced().await;
        nodes.synced().await;
        let sink = queue.clone();
        requests.subscribe(move |change| sink.add(change.object().key()));
        let controller = Arc::new(Approver { context: context.clone(), requests, nodes });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Approver {
    context: Context,
    requests: Arc<Cache>,
    nodes: Arc<Cache>,
}

/// A way to be approved: what one must be allowed to create, and what is said then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    part: &'static str,
    message: &'static str,
}

const SELF_CLIENT: Way = Way {
    part: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const CLIENT: Way = Way {
    part: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};
const SELF_SERVING: Way = Way {
    part: "selfnodeserver",
    message: "Auto approving self kubelet server certificate after SubjectAccessReview.",
};

/// Whether a Node has all names and addresses that a certificate asks for.
fn known(node: Option<&Object>, parsed: &Parsed) -> bool {
    let Some(node) = node.and_then(|node| node.to_value().ok()) else { return false };
    let own = parsed.node();
    let has = |wanted: &String| {
        wanted == own
            || node["status"]["addresses"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["address"] == *wanted)
    };
    parsed.dns.iter().chain(&parsed.addresses).all(has)
}

/// The ways that are open to a request, if nobody has decided about it.
fn plan(request: &Request, parsed: &Parsed, node: Option<&Object>) -> Vec<Way> {
    if !request.status.certificate.is_empty()
        || request.status.conditions.iter().any(|one| matches!(one.kind.as_str(), "Approved" | "Denied"))
    {
        return Vec::new();
    }
    let own = request.spec.username == parsed.common_name;
    match request.spec.signer_name.as_str() {
        KUBELET_CLIENT if parsed.kubelet_client(&request.spec.usages).is_ok() => {
            if own {
                vec![SELF_CLIENT, CLIENT]
            } else {
                vec![CLIENT]
            }
        }
        KUBELET_SERVING
            if own && parsed.kubelet_serving(&request.spec.usages).is_ok() && known(node, parsed) =>
        {
            vec![SELF_SERVING]
        }
        _ => Vec::new(),
    }
}

impl Approver {
    async fn allowed(&self, request: &Request, way: Way) -> Result<bool> {
        let spec = &request.spec;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
                "resourceAttributes": { "group": "certificates.k8s.io", "resource": "certificatesigningrequests",
                    "verb": "create", "subresource": way.part } },
        });
        let reviews = Gvr::new("authorization.k8s.io", "v1", "subjectaccessreviews");
        let answer = self.context.client.create(&reviews, "", review).await?;
        let answer = answer.to_value().map_err(|error| Error::invalid("SubjectAccessReview", error))?;
        Ok(answer["status"]["allowed"] == true)
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Approver {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let request = Request::read(&object);
        if !matches!(request.spec.signer_name.as_str(), KUBELET_CLIENT | KUBELET_SERVING) {
            return Ok(Outcome::Done);
        }
        let parsed = match request.parse() {
            Ok(parsed) => parsed,
            Err(why) => {
                tracing::warn!(request = %key, %why, "a certificate request cannot be read");
                return Ok(Outcome::Done);
            }
        };
        let node = self.nodes.get(&ObjectKey::cluster(parsed.node()));
        for way in plan(&request, &parsed, node.as_deref()) {
            if !self.allowed(&request, way).await? {
                continue;
            }
            let mut value = object.to_value().map_err(|error| Error::invalid(key, error))?;
            let condition = json!({ "type": "Approved", "status": "True", "reason": "AutoApproved", "message": way.message });
            match &mut value["status"]["conditions"] {
                Value::Array(list) => list.push(condition),
                none => *none = json!([condition]),
            }
            let client = &self.context.client;
            match client.update_subresource(&certificate::requests(), key, "approval", value).await {
                Err(error) if error.is_not_found() => {}
                other => drop(other?),
            }
            return Ok(Outcome::Done);
        }
        Ok(Outcome::Done)
    }
}
