//! One call of one webhook: its refusal in dry runs, its question, its answer, and what a failure means.

use super::annotate;
use super::matching::{Invocation, Subject};
use super::review::{self, Decision};
use crate::kinds::Resource;
use crate::metrics::Outcome;
use crate::outbound::{Error, Outbound};
use crate::render::present;
use crate::write::stored_form;
use gifee_base::{Gvk, Reason, Status};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Instant;
use uuid::Uuid;

/// Why a webhook did not let a request pass.
pub enum Failure {
    /// It could not be asked, or gave no answer that counts: its failure policy decides.
    Calling(String),
    /// It said no, or cannot be asked in a dry run: that counts whatever its policy.
    Refused(Status),
}

impl Failure {
    /// What the client gets, if the failure counts.
    pub fn status(self, hook: &str) -> Status {
        match self {
            Self::Calling(why) => Status::internal(format!("failed calling webhook {hook:?}: {why}")),
            Self::Refused(status) => status,
        }
    }
}

/// An object in the version that a webhook wants. Objects of other kinds than the resource's stay as they are.
///
/// # Errors
/// 500 if there is no such form.
pub async fn converted<'a>(
    outbound: &Outbound,
    (from, to): (&Resource, &Resource),
    gvk: &Gvk,
    object: &'a Value,
) -> Result<Cow<'a, Value>, Status> {
    let is_own = object["kind"] == *from.kind.gvk.kind && object["apiVersion"] == from.api_version;
    if object.is_null() || !is_own || std::ptr::eq(from, to) {
        return Ok(Cow::Borrowed(object));
    }
    if let Some(converter) = &from.converter {
        let all = converter.trees(outbound, vec![object.clone()], &to.api_version).await?;
        return Ok(all.into_iter().next().map_or(Cow::Borrowed(object), Cow::Owned));
    }
    let version = object["metadata"]["resourceVersion"].clone();
    let mut new = present(to, stored_form(from, object.clone()));
    if !new.is_object() {
        return Err(Status::internal(format!("unable to convert to {}: unknown kind", to.api_version)));
    }
    new["apiVersion"] = to.api_version.as_str().into();
    new["kind"] = (&*gvk.kind).into();
    if version.is_string() {
        new["metadata"]["resourceVersion"] = version;
    }
    Ok(Cow::Owned(new))
}

/// Asks a webhook.
///
/// # Errors
/// [`Failure`]; a decision that does not allow is one.
pub async fn call(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
    mutating: bool,
    object: &Value,
    old: &Value,
) -> Result<Decision, Failure> {
    let (hook, started) = (invocation.hook, Instant::now());
    let decision = ask(subject, invocation, mutating, object, old).await;
    let outcome = match &decision {
        Ok(_) => Outcome::Allowed,
        Err(Failure::Refused(status)) => Outcome::Refused(status.code),
        Err(Failure::Calling(_)) => Outcome::Failed { passed_over: hook.ignores_failure },
    };
    let metrics = &subject.write.server.metrics.admission;
    metrics.webhook(&hook.name, mutating, subject.operation, outcome, started.elapsed());
    decision
}

async fn ask(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
    mutating: bool,
    object: &Value,
    old: &Value,
) -> Result<Decision, Failure> {
    let (hook, write) = (invocation.hook, subject.write);
    if write.dry_run && !hook.dry_run {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failure::Refused(Status::bad_request(why)));
    }
    let Some(version) = hook.version else {
        let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failure::Calling(why.to_owned()));
    };
    let unreachable = |why: &str| Failure::Calling(format!("could not get REST client: {why}"));
    let endpoint = hook.endpoint.as_ref().map_err(|why| unreachable(why))?;
    let uid = Uuid::new_v4().to_string();
    let question = review::question(subject, invocation, version, &uid, object, old);
    let answer = write.server.outbound.post_json(endpoint, question.into(), hook.timeout).await;
    let answer = answer.map_err(|error| match error {
        Error::Config(why) => unreachable(&why),
        other => Failure::Calling(format!("failed to call webhook: {other}")),
    })?;
    let decision = review::decide(version, &uid, mutating, &answer).map_err(Failure::Calling)?;
    annotate::own(hook, &decision.annotations);
    if !decision.warnings.is_empty() {
        write.warnings.lock().extend(decision.warnings.iter().cloned());
    }
    if decision.allowed {
        return Ok(decision);
    }
    Err(Failure::Refused(refusal(&hook.name, &decision.result)))
}

/// A refusal: the webhook's own status, which says who refused and never looks like a success.
fn refusal(hook: &str, result: &Value) -> Status {
    let text = |field: &str| result[field].as_str().unwrap_or_default();
    let denied = format!("admission webhook {hook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let reason = text("reason");
    let known = Reason::parse(reason);
    let mut status = Status::new(known, message);
    status.code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    if known == Reason::Unknown && !reason.is_empty() {
        status.other_reason = Some(reason.into());
    }
    status.details = serde_json::from_value(result["details"].clone()).ok().map(Box::new);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_read_as_upstreams() {
        let check = |result: Value, expect: (u16, &str, &str)| {
            let status = refusal("w", &result).to_value();
            let reason = status["reason"].as_str().unwrap_or_default();
            assert_eq!((status["code"].as_u64(), reason), (Some(u64::from(expect.0)), expect.1), "{result}");
            assert_eq!(status["message"], format!("admission webhook \"w\" denied the request{}", expect.2));
        };
        check(Value::Null, (400, "", " without explanation"));
        check(json!({ "message": "no" }), (400, "", ": no"));
        check(json!({ "reason": "Because" }), (400, "Because", ": Because"));
        check(json!({ "message": "no", "reason": "Forbidden", "code": 403 }), (403, "Forbidden", ": no"));
        check(json!({ "message": "no", "code": 200, "status": "Success" }), (400, "", ": no"));
    }
}
