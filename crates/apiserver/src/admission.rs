//! The built-in half of admission: the RULES of `policy`, asked about what the pipeline has before it.
//!
//! Invariant: what a rule asks of the user's further rights goes through all authorizers of the server, those elsewhere
//! too: then the rules are asked once more when the answer is there. Answers to upstream's chain of compiled-in
//! admission plugins.

use crate::audit;
use crate::seam::{Admission, Answer, Authorizer, Review};
use gifee_base::{ObjectKey, Status};
use gifee_policy::admission::{Chain, Charge, Notes, Permits, Request};
use gifee_policy::authorize::Decision;
use gifee_policy::{Attributes, Lookup};
use parking_lot::Mutex;
use serde_json::Value;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// Questions about one write that authorizers elsewhere answer; what is asked beyond is refused.
const ASKED_MAXIMUM: usize = 16;

/// Admission by RULES.
pub struct Rules {
    chain: Chain,
    authorizer: Arc<dyn Authorizer>,
}

type Verdict = Result<(), String>;

fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(reason.to_string()),
    }
}

/// The rights of who writes, as far as they are known.
struct Rights<'a> {
    authorizer: &'a dyn Authorizer,
    known: &'a [(Attributes, Verdict)],
    /// The first question that somebody elsewhere has to answer.
    open: Mutex<Option<Attributes>>,
}

impl Permits for Rights<'_> {
    fn permits(&self, attributes: &Attributes, lookup: &dyn Lookup) -> Verdict {
        if let Some((_, verdict)) = self.known.iter().find(|(known, _)| known == attributes) {
            return verdict.clone();
        }
        match self.authorizer.authorize(attributes, lookup) {
            Answer::Now(decision) => verdict(decision),
            Answer::Later(_) => {
                self.open.lock().get_or_insert_with(|| attributes.clone());
                Err(String::new())
            }
        }
    }
}

impl Rules {
    /// With the rules that are on by default; some of them ask for further rights of the user.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { chain: Chain::default(), authorizer }
    }

    /// What the rules say, and the question that is open: if there is one, what they say does not count.
    fn ask<T>(
        &self,
        review: &mut Review<'_>,
        known: &[(Attributes, Verdict)],
        mutating: bool,
        ask: impl FnOnce(&Request<'_>, &mut Value) -> Result<T, Status>,
    ) -> (Result<T, Status>, Option<Attributes>) {
        let attributes = review.attributes;
        let notes = Notes::default();
        let since = Cell::new(Instant::now());
        let (metrics, operation) = (review.metrics, review.operation);
        let asked = |place, refused| {
            let now = Instant::now();
            metrics.rule(place, mutating, operation, refused, now - since.replace(now));
        };
        let rights = Rights { authorizer: &*self.authorizer, known, open: Mutex::new(None) };
        let request = Request {
            operation: review.operation,
            gvk: review.gvk,
            resource: &attributes.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            user: &attributes.user,
            old: review.old,
            dry_run: review.dry_run,
            options: review.options,
            permits: &rights,
            notes: &notes,
            asked: &asked,
        };
        let outcome = ask(&request, review.object);
        let open = rights.open.into_inner().filter(|_| known.len() < ASKED_MAXIMUM);
        if open.is_none() {
            review.warnings.extend(notes.warnings.into_inner());
            for (key, value) in notes.annotations.into_inner() {
                audit::annotate(&key, &value);
            }
        }
        (outcome, open)
    }
}

#[async_trait::async_trait]
impl Admission for Rules {
    async fn mutate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        // What changes an object asks for no rights: it could not be asked twice.
        self.ask(review, &[], true, |request, object| self.chain.mutate(request, object, lookup)).0
    }

    async fn validate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        let mut known = Vec::new();
        loop {
            let (outcome, open) = self
                .ask(review, &known, false, |request, object| self.chain.validate(request, object, lookup));
            let Some(open) = open else { return outcome };
            let decision = self.authorizer.authorize(&open, lookup).settle().await;
            known.push((open, verdict(decision)));
        }
    }

    fn charge(
        &self,
        review: &mut Review<'_>,
        lookup: &dyn Lookup,
        only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        self.ask(review, &[], false, |request, object| self.chain.charge(request, object, lookup, only)).0
    }
}
