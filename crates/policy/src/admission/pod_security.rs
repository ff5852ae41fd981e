//! Pods keep to the security level that the labels of their namespace say.
//!
//! Invariant: what makes pods is only warned of, never refused. Answers to upstream's `PodSecurity`; there are
//! no exemptions, which is upstream's default.

use super::{Operation, Request, Rule, decoded};
use crate::Lookup;
use crate::podsecurity::{Level, LevelVersion, Policy, details, evaluate, reasons};
use gifee_base::{ObjectKey, Status};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Pods of a namespace that are looked at when its level changes; upstream's figure.
const PODS_MAXIMUM: usize = 3000;
/// Parts of pods that do not change what they may do.
const HARMLESS: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// The rule.
pub struct PodSecurity;

impl Rule for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.writes() {
            return Ok(());
        }
        match (&*request.gvk.group, request.resource) {
            ("", "namespaces") if request.subresource.is_empty() => namespace(request, object, lookup),
            ("", "pods") if !HARMLESS.contains(&request.subresource) => pod(request, object, lookup),
            _ if !request.subresource.is_empty() => Ok(()),
            _ => {
                if let Some(template) = template(request, object) {
                    let policy = policy_of(request, lookup);
                    if policy.warn.level != Level::Privileged || policy.audit.level != Level::Privileged {
                        tell(request, policy, template);
                    }
                }
                Ok(())
            }
        }
    }
}

fn policy_of(request: &Request<'_>, lookup: &dyn Lookup) -> Policy {
    let Some(namespace) = lookup.get("", "namespaces", &ObjectKey::cluster(request.namespace)) else {
        return Policy::default();
    };
    // Nearly every namespace has no such label, which costs no decoding to see.
    if !namespace.labels().any(|(key, _)| key.starts_with("pod-security.kubernetes.io/")) {
        return Policy::default();
    }
    let (policy, errors) = Policy::of(&decoded(Some(namespace)).unwrap_or_default()["metadata"]["labels"]);
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        annotate(request, "error", format!("Failed to parse policy: [{}]", texts.join(", ")));
    }
    policy
}

fn annotate(request: &Request<'_>, key: &str, text: String) {
    request.notes.annotations.borrow_mut().insert(format!("pod-security.kubernetes.io/{key}"), text);
}

fn pod(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let policy = policy_of(request, lookup);
    if policy.privileged() || request.old.is_some_and(|old| !significant(pod, old)) {
        return Ok(());
    }
    annotate(request, "enforce-policy", policy.enforce.to_string());
    let findings = evaluate(policy.enforce, &pod["metadata"], &pod["spec"]);
    if !findings.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&findings));
        return Err(request.forbidden(&why));
    }
    tell(request, policy, pod);
    Ok(())
}

/// Notes and warns of what is not at the levels for that.
fn tell(request: &Request<'_>, policy: Policy, template: &Value) {
    let judged = |level: LevelVersion| {
        let findings = evaluate(level, &template["metadata"], &template["spec"]);
        (!findings.is_empty())
            .then(|| format!("would violate PodSecurity \"{level}\": {}", details(&findings)))
    };
    if let Some(text) = judged(policy.audit) {
        annotate(request, "audit-violations", text);
    }
    request.notes.warnings.borrow_mut().extend(judged(policy.warn));
}

/// Whether a change of a pod can change what it may do: other images, other containers.
fn significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    for field in ["containers", "initContainers"] {
        let (new, old) = (list(pod, field), list(old, field));
        if new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"]) {
            return true;
        }
    }
    let before = list(old, "ephemeralContainers");
    list(pod, "ephemeralContainers").iter().any(|new| {
        let old = before.iter().find(|old| old["name"] == new["name"]);
        old.is_none_or(|old| old["image"] != new["image"])
    })
}

/// The template of what makes pods.
fn template<'a>(request: &Request<'_>, object: &'a Value) -> Option<&'a Value> {
    let found = match (&*request.gvk.group, request.resource) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    found.is_object().then_some(found)
}

fn namespace(request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    let (policy, errors) = Policy::of(&object["metadata"]["labels"]);
    let before = request.old.map(|old| Policy::of(&old["metadata"]["labels"]));
    let old_errors = before.as_ref().map(|(_, errors)| errors);
    if !errors.is_empty() && old_errors.is_none_or(|old| *old != errors) {
        return Err(Status::invalid("", "Namespace", request.name, &errors));
    }
    let Some((before, _)) = before.filter(|_| request.operation == Operation::Update) else { return Ok(()) };
    let (new, old) = (policy.enforce, before.enforce);
    let relaxed = new.version == old.version && new.level <= old.level;
    if new == old || new.level == Level::Privileged || relaxed {
        return Ok(());
    }
    let warnings = pods_that_violate(request, lookup, new);
    request.notes.warnings.borrow_mut().extend(warnings);
    Ok(())
}

/// Which pods of a namespace its new level would refuse; pods of one owner are alike, so one of each goes first.
fn pods_that_violate(request: &Request<'_>, lookup: &dyn Lookup, level: LevelVersion) -> Vec<String> {
    let all = lookup.list("", "pods", request.name);
    let mut owners = HashSet::new();
    let (mut first, mut alike) = (Vec::new(), Vec::new());
    for pod in &all {
        match pod.controller() {
            Some(owner) if !owners.insert(owner.uid.to_string()) => alike.push(pod),
            _ => first.push(pod),
        }
    }
    first.extend(alike);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in first.iter().take(PODS_MAXIMUM) {
        let tree = pod.to_value().unwrap_or_default();
        let findings = evaluate(level, &tree["metadata"], &tree["spec"]);
        if !findings.is_empty() {
            found.entry(reasons(&findings)).or_default().push(pod.name().to_owned());
        }
    }
    let mut warnings = Vec::new();
    if all.len() > PODS_MAXIMUM {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAXIMUM} of {} existing pods",
            all.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {:?} violate the new PodSecurity enforce level \"{level}\"",
            request.name
        ));
    }
    let mut texts: Vec<String> = found
        .into_iter()
        .map(|(reason, mut names)| {
            names.sort();
            let others = match names.len() - 1 {
                0 => String::new(),
                1 => " (and 1 other pod)".into(),
                more => format!(" (and {more} other pods)"),
            };
            format!("{}{others}: {reason}", names[0])
        })
        .collect();
    texts.sort();
    warnings.extend(texts);
    warnings
}
