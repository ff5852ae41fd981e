//! Brings changed resources into force.
//!
//! Invariant: the pod's control group never allows less than those of its containers while they change. Answers to the
//! kubelet's `doPodResizeAction`.

use gifee_oci::cgroups;
use gifee_oci::spec::Resources;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use std::sync::Arc;

use super::{Done, Worker};
use crate::agent::Agent;
use crate::pod::resize::{changes, describe, overlay};
use crate::pod::{Member, Plan, View, qos};

/// Pause after limits could not be changed.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// What came of a change of limits.
pub(super) struct Resized {
    /// What containers have now.
    changed: Vec<(String, ResourceRequirements)>,
    /// What the pod's control group has now, or why something has not been changed.
    footing: Result<Resources, String>,
}

impl Worker {
    /// Takes a pod from the API, with what the node has given it.
    pub(super) fn take_pod(&mut self, pod: Arc<Pod>) {
        self.pod = overlay(pod, &self.allotment.given);
    }

    /// Looks whether the pod was given something else.
    pub(super) fn take_allotment(&mut self) -> bool {
        let allotment = self.mailbox.allotment();
        if Arc::ptr_eq(&allotment, &self.allotment) {
            return false;
        }
        if allotment.generation != self.allotment.generation {
            self.resizing = allotment.generation;
            self.resize_failure = None;
        }
        self.allotment = allotment;
        true
    }

    /// What a container runs with, if that is not what it was given since.
    pub(super) fn stale(&self, member: &Member) -> Option<ResourceRequirements> {
        self.resizing?;
        let had = self.memories.get(member.name())?.actuated.as_ref()?;
        (!changes(member.container.resources.as_ref(), Some(had)).is_empty()).then(|| had.clone())
    }

    /// Notes that all is in force.
    pub(super) fn settle_resize(&mut self, view: &mut View, plan: &Plan) {
        if plan.resized && self.resizing.is_some() {
            let message = describe("completed", &self.pod, self.resizing, None);
            self.agent.normal(&self.pod, None, "ResizeCompleted", message);
            self.resizing = None;
            self.resize_failure = None;
            view.resizing.generation = None;
            view.resizing.failure = None;
        }
    }

    pub(super) fn resize(&mut self, containers: Vec<(String, String)>, footing: [Resources; 2]) {
        self.changing_limits = true;
        let members = self.members.clone();
        let of = |name: &str| members.iter().find(|member| member.name() == name).cloned();
        let containers: Vec<(Member, String)> =
            containers.into_iter().filter_map(|(name, id)| Some((of(&name)?, id))).collect();
        let path = qos::cgroup(&self.agent.config.cgroup_root, &self.pod);
        let agent = self.agent.clone();
        self.spawn(async move { Done::Resized(change(&agent, path, containers, footing).await) });
    }

    pub(super) fn resized(&mut self, resized: Resized) {
        self.changing_limits = false;
        for (name, resources) in resized.changed {
            self.memories.entry(name).or_default().actuated = Some(resources);
        }
        match resized.footing {
            Ok(footing) => {
                self.footing = Some(footing);
                self.resize_failure = None;
            }
            Err(error) => {
                if self.resize_failure.as_ref().is_none_or(|(old, _)| *old != error) {
                    let message = describe("error", &self.pod, self.resizing, Some(&error));
                    self.agent.warning(&self.pod, None, "ResizeError", message);
                }
                self.resize_failure = Some((error, self.agent.clock.now() + PAUSE));
            }
        }
    }
}

async fn change(
    agent: &Agent,
    path: String,
    containers: Vec<(Member, String)>,
    footing: [Resources; 2],
) -> Resized {
    let mut changed = Vec::new();
    let [before, after] = footing;
    let mut errors = Vec::new();
    errors.extend(limit(path.clone(), before).await.err());
    for (member, id) in containers {
        match change_container(agent, &member, &id).await {
            Ok(()) => {
                let resources = member.container.resources.clone().unwrap_or_default();
                changed.push((member.name().to_owned(), resources));
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        errors.extend(limit(path, after.clone()).await.err());
    }
    let footing = if errors.is_empty() { Ok(after) } else { Err(errors.join("; ")) };
    Resized { changed, footing }
}

async fn limit(path: String, resources: Resources) -> Result<(), String> {
    let wrote = tokio::task::spawn_blocking(move || cgroups::update(&path, &resources)).await;
    wrote.map_err(|error| error.to_string())?.map_err(|error| crate::hooks::chain(&error))
}

async fn change_container(agent: &Agent, member: &Member, id: &str) -> Result<(), String> {
    let resources = qos::container_resources(&member.container);
    if let Some(limit) = resources.memory_limit {
        // The kernel would make room by killing.
        let used = agent.runtime.stats(id).await.map_or(0, |stats| stats.memory_working_set);
        if used > limit.unsigned_abs() {
            let name = member.name();
            return Err(format!(
                "cannot decrease memory limits: attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
            ));
        }
    }
    agent.runtime.update_container(id, &resources).await.map_err(|error| crate::hooks::chain(&error))
}
