//! ValidatingAdmissionPolicies. Answers to apiserver's `policy/validating/dispatcher.go`.

use super::annotate::{Notes, Said};
use super::ask::{self, Asker};
use super::bound::{Binding, Bound};
use super::index::Index;
use super::params;
use crate::kinds::Resource;
use crate::webhook::call::converted;
use crate::webhook::matching::Subject;
use gifee_base::{Cause, Gvk, Reason, Status};
use gifee_policy::policies::{Denial, Verdict, judge, matches};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks the policies that want a write of a kind.
///
/// # Errors
/// The first refusal.
pub async fn validate(subject: &Subject<'_>, index: &Index, object: &Value) -> Result<(), Status> {
    let (asker, notes) = (Asker::new(subject), Notes::default());
    // As upstream, all are asked, and the first denial is told.
    let mut refused = None;
    for bound in &index.bound {
        let (notes, said) = (&notes, Said::default());
        let round = Round { subject, asker: &asker, bound, object, notes, said: &said };
        let denial = round.run().await?;
        said.publish(&bound.policy.name);
        refused = refused.or(denial);
    }
    notes.publish();
    match refused {
        None => Ok(()),
        Some((message, reason)) => Err(refusal(subject, object, message, reason)),
    }
}

fn refusal(subject: &Subject<'_>, object: &Value, message: String, reason: Reason) -> Status {
    let resource = subject.write.resource;
    let base = object["metadata"]["generateName"].as_str().unwrap_or_default();
    let name = if subject.name.is_empty() { base } else { &subject.name };
    let mut status = Status::forbidden(resource.group(), resource.name(), name, &message);
    status.reason = reason;
    status.code = reason.code();
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { message, ..Cause::default() });
    }
    status
}

/// One policy and one request.
struct Round<'a> {
    subject: &'a Subject<'a>,
    asker: &'a Asker<'a>,
    bound: &'a Bound,
    object: &'a Value,
    notes: &'a Notes,
    said: &'a Said,
}

/// What the client is told, and the reason.
type Refusal = (String, Reason);

impl Round<'_> {
    fn denied(&self, binding: Option<&Binding>, message: &str) -> String {
        let policy = &self.bound.policy.name;
        match binding {
            Some(binding) => format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{}' denied request: {message}",
                binding.name
            ),
            None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
        }
    }

    /// A mistake in the configuration, if it counts.
    fn misconfigured(&self, binding: Option<&Binding>, why: &str) -> Option<Refusal> {
        let part = if binding.is_some() { "binding" } else { "policy" };
        let message = self.denied(binding, &format!("failed to configure {part}: {why}"));
        (!self.bound.policy.ignores_failure).then_some((message, Reason::Invalid))
    }

    async fn run(&self) -> Result<Option<Refusal>, Status> {
        let (resource, gvk) = match self.bound.target.matched(self.subject, self.object) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(self.misconfigured(None, &error.message)),
        };
        let params = match params::resource(self.subject.write, &self.bound.policy) {
            Ok(params) => params,
            Err(why) => return Ok(self.misconfigured(None, &why)),
        };
        let mut refused = None;
        for binding in &self.bound.bindings {
            match binding.matches(self.subject, self.object) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    refused = refused.or(self.misconfigured(Some(binding), &error.message));
                    continue;
                }
            }
            match params::collect(self.subject.write, params.as_ref(), binding, &self.subject.namespace) {
                Ok(sets) => {
                    let denial = self.bind(binding, &resource, &gvk, &sets).await?;
                    refused = refused.or(denial);
                }
                Err(why) => refused = refused.or(self.misconfigured(Some(binding), &why)),
            }
        }
        Ok(refused)
    }

    async fn bind(
        &self,
        binding: &Binding,
        resource: &Arc<Resource>,
        gvk: &Gvk,
        sets: &[Value],
    ) -> Result<Option<Refusal>, Status> {
        let subject = self.subject;
        let (own, outbound) = (subject.write.resource, &subject.write.server.outbound);
        let object = converted(outbound, (own, resource), gvk, self.object).await?;
        let old = converted(outbound, (own, resource), gvk, subject.old.unwrap_or(&Value::Null)).await?;
        let namespace = ask::namespace(subject)?;
        let request = ask::request(subject, resource, gvk);
        let policy = &self.bound.policy;
        let mut refused = None;
        for set in sets {
            let started = Instant::now();
            let verdict = self
                .asker
                .asked(|| {
                    let input = self.asker.input((&object, &old), &namespace, &request, set);
                    match matches(policy, &input) {
                        Ok(true) => judge(policy, &input),
                        Ok(false) => Verdict::default(),
                        Err(message) => Verdict {
                            denials: vec![Denial {
                                index: 0,
                                message,
                                reason: Reason::Invalid,
                                failed: true,
                            }],
                            ..Verdict::default()
                        },
                    }
                })
                .await;
            let denial = self.follow(binding, verdict, started.elapsed());
            refused = refused.or(denial);
        }
        Ok(refused)
    }

    /// Does what the binding says about a verdict.
    fn follow(&self, binding: &Binding, verdict: Verdict, took: Duration) -> Option<Refusal> {
        let policy = &self.bound.policy.name;
        let checked = |mistake: Option<&str>, action| {
            let metrics = &self.subject.write.server.metrics.expressions;
            metrics.checked((policy, &binding.name), mistake, action, took);
        };
        verdict.passed_over.iter().for_each(|why| checked(Some(why), "allow"));
        let mut refused = None;
        for denial in verdict.denials {
            let mistake = denial.failed.then_some(denial.message.as_str());
            let actions = &binding.actions;
            for (says, action) in [(actions.deny, "deny"), (actions.audit, "audit"), (actions.warn, "warn")] {
                if says {
                    checked(mistake, action);
                }
            }
            if binding.actions.warn {
                self.subject.write.warnings.lock().push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{}': {}",
                    binding.name, denial.message
                ));
            }
            if binding.actions.audit {
                self.notes.failed(policy, binding, &denial);
            }
            if binding.actions.deny && refused.is_none() {
                refused = Some((self.denied(Some(binding), &denial.message), denial.reason));
            }
        }
        for one in verdict.published {
            self.said.add(one);
        }
        for why in verdict.broken {
            checked(Some(&why), "deny");
            refused = refused.or_else(|| Some((self.denied(Some(binding), &why), Reason::Invalid)));
        }
        refused
    }
}
