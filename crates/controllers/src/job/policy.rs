//! What a Job's policies say of a failed pod, and of the indexes that have succeeded. Pure.

use super::indexes::Indexes;
use gifee_reconcile::pod::{Brief, ContainerStatus};
use serde::Deserialize;

/// `spec.podFailurePolicy`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FailurePolicy {
    rules: Vec<FailureRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FailureRule {
    action: String,
    on_exit_codes: Option<ExitCodes>,
    on_pod_conditions: Option<Vec<PodCondition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExitCodes {
    container_name: Option<String>,
    operator: String,
    values: Vec<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodCondition {
    r#type: String,
    status: String,
}

/// What follows from a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the limits.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

impl FailurePolicy {
    /// What the first rule that fits a failed pod says; without one it counts.
    pub fn judge(&self, pod: &Brief) -> Verdict {
        for (position, rule) in self.rules.iter().enumerate() {
            let Some(what) = rule.fits(pod) else { continue };
            match rule.action.as_str() {
                "Ignore" => return Verdict::Ignore,
                "FailIndex" => return Verdict::FailIndex,
                "Count" => return Verdict::Count,
                "FailJob" => {
                    return Verdict::FailJob(format!("{what} matching FailJob rule at index {position}"));
                }
                _ => {}
            }
        }
        Verdict::Count
    }
}

impl FailureRule {
    fn fits(&self, pod: &Brief) -> Option<String> {
        let (namespace, name) = (pod.object.namespace(), pod.object.name());
        if let Some(codes) = &self.on_exit_codes {
            let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
            let (container, code) = all.filter_map(|one| codes.fits(one)).next()?;
            return Some(format!(
                "Container {container} for pod {namespace}/{name} failed with exit code {code}"
            ));
        }
        let patterns = self.on_pod_conditions.as_ref()?;
        let found = pod.status.conditions.iter().find(|condition| {
            patterns.iter().any(|one| one.r#type == condition.r#type && one.status == condition.status)
        })?;
        Some(format!("Pod {namespace}/{name} has condition {}", found.r#type))
    }
}

impl ExitCodes {
    fn fits<'a>(&self, container: &'a ContainerStatus) -> Option<(&'a str, i32)> {
        let code = container.state.terminated.as_ref()?.exit_code;
        let named = self.container_name.as_ref().is_none_or(|name| *name == container.name);
        let matching = match self.operator.as_str() {
            "In" => self.values.contains(&code),
            "NotIn" => !self.values.contains(&code),
            _ => false,
        };
        (named && code != 0 && matching).then_some((&container.name, code))
    }
}

/// `spec.successPolicy`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    rules: Vec<SuccessRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SuccessRule {
    succeeded_indexes: Option<String>,
    succeeded_count: Option<u32>,
}

impl SuccessPolicy {
    /// Why what has succeeded is enough, if it is.
    pub fn met(&self, completions: u32, succeeded: &Indexes) -> Option<String> {
        if succeeded.is_empty() {
            return None;
        }
        let position = self.rules.iter().position(|rule| rule.met(completions, succeeded))?;
        Some(format!("Matched rules at index {position}"))
    }
}

impl SuccessRule {
    fn met(&self, completions: u32, succeeded: &Indexes) -> bool {
        let Some(text) = &self.succeeded_indexes else {
            return self.succeeded_count.is_some_and(|count| succeeded.total() >= count);
        };
        let required = Indexes::parse(text, completions);
        let shared = required.shared(succeeded);
        !required.is_empty()
            && (shared == required.total() || self.succeeded_count.is_some_and(|count| shared >= count))
    }
}
