//! The authorizers of a server in the order that a file gives, servers elsewhere among them.
//!
//! Invariant: the privileged group comes first, whatever the file says; what caches can decide costs no future. Answers
//! to apiserver's `union` and `webhook` authorizers.

use crate::delegate::{Delegate, Key, Memory};
use crate::seam::{Answer, Authorizer};
use arc_swap::ArcSwap;
use gifee_policy::authorize::configuration::{Step, Webhook};
use gifee_policy::authorize::{Decision, PRIVILEGED_GROUP, Rules, node, rbac::Rbac, review};
use gifee_policy::{Attributes, Lookup, User};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Answers of one webhook that are remembered; upstream's figure.
const REMEMBERED: usize = 8_192;
/// Bytes that a client controls in what is remembered; more is not remembered; upstream's figure.
const REMEMBERED_BYTES: usize = 10_000;

/// A server that is asked.
pub struct Asked {
    config: Webhook,
    delegate: Delegate,
    memory: Memory<Decision>,
}

/// One authorizer.
enum Part {
    Own(Step),
    Elsewhere(Arc<Asked>),
}

/// Authorizers in order.
pub struct Chain {
    parts: ArcSwap<Vec<Part>>,
    rbac: Rbac,
}

/// Makes the connection to a server that is asked.
pub type Connect<'a> = dyn Fn(&Webhook) -> Result<Delegate, String> + 'a;

impl Chain {
    /// By a configuration.
    ///
    /// # Errors
    /// If a server cannot be reached by what is known of it.
    pub fn new(steps: Vec<Step>, connect: &Connect<'_>) -> Result<Self, String> {
        let parts = ArcSwap::from_pointee(parts(steps, connect)?);
        Ok(Self { parts, rbac: Rbac::default() })
    }

    /// Takes another configuration from now on.
    ///
    /// # Errors
    /// As [`Chain::new`]; then the one before stays.
    pub fn configure(&self, steps: Vec<Step>, connect: &Connect<'_>) -> Result<(), String> {
        self.parts.store(Arc::new(parts(steps, connect)?));
        Ok(())
    }

    fn own(&self, step: &Step, attributes: &Attributes, lookup: &dyn Lookup) -> Decision {
        match step {
            Step::Node => node::authorize(attributes, lookup),
            Step::Rbac => self.rbac.authorize(attributes, lookup),
            Step::AlwaysAllow => Decision::Allow(Arc::default()),
            Step::AlwaysDeny | Step::Webhook(_) => Decision::NoOpinion("Everything is forbidden.".into()),
        }
    }

    /// Goes through the authorizers from a place on.
    async fn rest(
        &self,
        parts: Arc<Vec<Part>>,
        from: usize,
        mut reasons: Vec<Arc<str>>,
        attributes: &Attributes,
        lookup: &dyn Lookup,
    ) -> Decision {
        for part in &parts[from..] {
            let decision = match part {
                Part::Own(step) => self.own(step, attributes, lookup),
                Part::Elsewhere(asked) => asked.decide(attributes).await,
            };
            match decision {
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        none(&reasons)
    }
}

fn parts(steps: Vec<Step>, connect: &Connect<'_>) -> Result<Vec<Part>, String> {
    let part = |step| {
        Ok(match step {
            Step::Webhook(config) => {
                let delegate = connect(&config)?;
                Part::Elsewhere(Arc::new(Asked { config, delegate, memory: Memory::new(REMEMBERED) }))
            }
            step => Part::Own(step),
        })
    };
    steps.into_iter().map(part).collect()
}

fn none(reasons: &[Arc<str>]) -> Decision {
    let said: Vec<&str> =
        reasons.iter().map(|reason| &**reason).filter(|reason| !reason.is_empty()).collect();
    match said.as_slice() {
        [] => Decision::NoOpinion(Arc::default()),
        said => Decision::NoOpinion(said.join("\n").into()),
    }
}

impl Asked {
    /// What the server says of a request, or what is remembered of it.
    async fn decide(&self, attributes: &Attributes) -> Decision {
        let spec = review::spec(attributes);
        match self.config.concerns(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion(Arc::default()),
            Err(error) => return self.failed(&error),
        }
        let key: Key = Sha256::digest(spec.to_string()).into();
        if let Some(decision) = self.memory.get(&key) {
            return decision;
        }
        let asked = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.config.version), "kind": "SubjectAccessReview",
            "metadata": {}, "spec": self.spec(spec), "status": { "allowed": false },
        });
        let answer = match self.delegate.ask(&asked).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error),
        };
        let status = &answer["status"];
        let reason: Arc<str> = status["reason"].as_str().unwrap_or_default().into();
        let (allowed, denied) = (status["allowed"] == true, status["denied"] == true);
        let decision = match (allowed, denied) {
            (_, true) => Decision::Deny(reason),
            (true, false) => Decision::Allow(reason),
            (false, false) => Decision::NoOpinion(reason),
        };
        if controlled(attributes) < REMEMBERED_BYTES {
            let life = if allowed { self.config.authorized } else { self.config.unauthorized };
            self.memory.put(key, decision.clone(), life);
        }
        decision
    }

    /// The spec as the server's version of the review has it.
    fn spec(&self, mut spec: Value) -> Value {
        if self.config.version == "v1beta1"
            && let Some(groups) = spec.as_object_mut().and_then(|spec| spec.remove("groups"))
        {
            spec["group"] = groups;
        }
        spec
    }

    fn failed(&self, error: &str) -> Decision {
        tracing::warn!(authorizer = %self.config.name, %error, "an authorization webhook failed");
        if self.config.fails_closed {
            Decision::Deny(Arc::default())
        } else {
            Decision::NoOpinion(Arc::default())
        }
    }
}

fn controlled(attributes: &Attributes) -> usize {
    [
        &attributes.namespace,
        &attributes.verb,
        &attributes.group,
        &attributes.version,
        &attributes.resource,
        &attributes.subresource,
        &attributes.name,
        &attributes.path,
    ]
    .iter()
    .map(|text| text.len())
    .sum()
}

impl Authorizer for Chain {
    fn authorize<'a>(&'a self, attributes: &'a Attributes, lookup: &'a dyn Lookup) -> Answer<'a, Decision> {
        if attributes.user.groups.iter().any(|group| group == PRIVILEGED_GROUP) {
            return Answer::Now(Decision::Allow(Arc::default()));
        }
        let parts = self.parts.load();
        let mut reasons = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Own(step) => match self.own(step, attributes, lookup) {
                    Decision::NoOpinion(reason) => reasons.push(reason),
                    decided => return Answer::Now(decided),
                },
                Part::Elsewhere(_) => {
                    let parts = parts.clone();
                    return Answer::Later(Box::pin(self.rest(parts, index, reasons, attributes, lookup)));
                }
            }
        }
        Answer::Now(none(&reasons))
    }

    fn rules(&self, user: &User, namespace: &str, lookup: &dyn Lookup) -> Rules {
        if user.groups.iter().any(|group| group == PRIVILEGED_GROUP) {
            return Rules::everything();
        }
        let mut all = Rules::default();
        let mut incomplete = Vec::new();
        for part in self.parts.load().iter() {
            match part {
                Part::Own(Step::Rbac) => all.rules.extend(self.rbac.rules(user, namespace, lookup)),
                Part::Own(Step::AlwaysAllow) => all.rules.extend(Rules::everything().rules),
                Part::Own(Step::Node) if node::node_of(&user.name, &user.groups).is_some() => {
                    incomplete.push("node authorizer does not support user rule resolution");
                }
                Part::Own(_) => {}
                Part::Elsewhere(_) => {
                    incomplete.push("webhook authorizer does not support user rule resolution")
                }
            }
        }
        all.incomplete = incomplete.join(", ");
        all
    }
}
