//! The Pod Security Standards: which pods a level of a version allows.
//!
//! Invariant: pure; each check is a row with the versions from which it holds, so that a namespace that pins a
//! version is judged as that version did. Answers to the module `pod-security-admission`.

mod baseline;
mod level;
mod restricted;
#[cfg(test)]
mod tests;

pub use level::{Level, LevelVersion, Policy};

use serde_json::Value;

/// Why a check refuses a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In few words.
    pub reason: String,
    /// Which containers and which values.
    pub detail: String,
}

/// Refuses a pod's metadata and spec, or not.
type Judge = fn(&Value, &Value) -> Option<Finding>;

/// One check: its versions, in ascending order.
struct Check {
    /// Upstream's name, by which checks are ordered and overridden.
    id: &'static str,
    /// From which minor version 1.x which function holds.
    versions: &'static [(u32, Judge)],
    /// The baseline check that it takes the place of.
    overrides: &'static str,
}

impl Check {
    fn at(&self, minor: u32) -> Option<Judge> {
        self.versions.iter().rev().find(|(from, _)| *from <= minor).map(|(_, judge)| *judge)
    }
}

/// What a level of a version finds wrong with a pod.
pub fn evaluate(policy: LevelVersion, metadata: &Value, spec: &Value) -> Vec<Finding> {
    let minor = policy.version.0;
    let restricted = policy.level == Level::Restricted;
    let overridden = |id: &str| {
        restricted
            && restricted::CHECKS.iter().any(|check| check.overrides == id && check.at(minor).is_some())
    };
    let baseline = baseline::CHECKS.iter().filter(|check| !overridden(check.id));
    let more: &[Check] = if restricted { restricted::CHECKS } else { &[] };
    if policy.level == Level::Privileged {
        return Vec::new();
    }
    let judges = baseline.chain(more).filter_map(|check| check.at(minor));
    judges.filter_map(|judge| judge(metadata, spec)).collect()
}

/// All reasons, with their details.
pub fn details(findings: &[Finding]) -> String {
    let texts = findings.iter().map(|finding| match finding.detail.as_str() {
        "" => finding.reason.clone(),
        detail => format!("{} ({detail})", finding.reason),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// All reasons.
pub fn reasons(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn finding(reason: &str, detail: String) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail })
}

/// All containers, in the order in which upstream names them.
fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().flat_map(|list| spec[list].as_array().into_iter().flatten())
}

fn name_of(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`
fn named<T: AsRef<str>>(names: &[T]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Who set something: the pod, some of its containers, or both.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let containers = (!names.is_empty()).then(|| named(names));
    match (pod, containers) {
        (true, Some(containers)) => Some(format!("pod and {containers}")),
        (true, None) => Some("pod".into()),
        (false, containers) => containers,
    }
}

fn windows(spec: &Value) -> bool {
    spec["os"]["name"] == "windows"
}

fn own_users(spec: &Value) -> bool {
    spec["hostUsers"] == false
}
