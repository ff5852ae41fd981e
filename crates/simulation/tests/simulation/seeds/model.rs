//! What the store holds, commit by commit, and what must be true of it.

use super::bounds;
use super::work::{self, Work};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Kind, namespace, name.
pub type Key = (String, String, String);

/// An object as it was committed.
pub struct Held {
    /// The object.
    pub value: Value,
}

/// What the store holds.
#[derive(Default)]
pub struct Model {
    /// All objects that are Kubernetes' own.
    pub objects: BTreeMap<Key, Held>,
    /// All keys of the store, with their bytes.
    pub raw: BTreeMap<Bytes, Bytes>,
    /// What was broken.
    pub broken: Vec<String>,
    /// Commits, and what they were, in one number.
    pub commits: u64,
    digest: DefaultHasher,
    revision: u64,
    /// Commits since somebody began to count, without those of leases.
    pub writes: Vec<String>,
    /// Every commit as a text.
    pub told: Vec<String>,
    /// Whether the last commit has raised the replicas of what there was before.
    pub raised: bool,
    /// What of each Job has really been done, by its UID.
    pub work: BTreeMap<String, Work>,
}

/// When something must be true.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After every commit; the object that was written is given.
    Always,
    /// Once faults have ended and time has passed.
    AtRest,
}

/// Something that must be true.
pub struct Invariant {
    /// What it says.
    pub says: &'static str,
    /// When.
    pub when: When,
    /// What is wrong; nothing if it holds.
    pub check: fn(&Model, &Key) -> Option<String>,
}

/// All invariants.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { says: "no node holds more than it can", when: When::Always, check: over_commit },
    Invariant { says: "at rest no pod is on a node that is not there", when: When::AtRest, check: lost_pods },
    Invariant { says: "at rest every node is ready and open", when: When::AtRest, check: nodes },
    Invariant { says: "at rest every owner is there", when: When::AtRest, check: orphans },
    Invariant { says: "at rest nothing is in a namespace that is gone", when: When::AtRest, check: strays },
    Invariant { says: "at rest nothing is still being deleted", when: When::AtRest, check: deleting },
    Invariant {
        says: "at rest Deployments are complete, or their pods have no place",
        when: When::AtRest,
        check: deployments,
    },
    Invariant { says: "at rest every pod is ready or has no place", when: When::AtRest, check: pods },
    Invariant {
        says: "no completion is counted that was not, or twice",
        when: When::Always,
        check: work::counted,
    },
    Invariant {
        says: "at rest Jobs have ended with all that was done counted, or their pods have no place",
        when: When::AtRest,
        check: work::jobs,
    },
    Invariant {
        says: "at rest StatefulSets are complete, or their pods have no place",
        when: When::AtRest,
        check: work::sets,
    },
    Invariant { says: "at rest every node has its daemons", when: When::AtRest, check: work::daemons },
    Invariant {
        says: "no rollout has more replicas than the Deployment allows",
        when: When::Always,
        check: bounds::surge,
    },
    Invariant { says: "no time of a CronJob has two Jobs", when: When::Always, check: bounds::twice },
    Invariant { says: "at rest CronJobs know their Jobs", when: When::AtRest, check: bounds::schedules },
    Invariant { says: "at rest budgets know their pods", when: When::AtRest, check: bounds::budgets },
    Invariant { says: "at rest autoscalers have their way", when: When::AtRest, check: bounds::autoscalers },
];

impl Model {
    /// Takes in a commit, and checks what must always be true.
    pub fn commit(&mut self, key: &Bytes, value: Option<&Bytes>, revision: u64) {
        self.commits += 1;
        let text = value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        self.told.push(format!("{} {text}", String::from_utf8_lossy(key)));
        (key, value, revision).hash(&mut self.digest);
        if revision <= self.revision {
            self.broken.push(format!("revision {revision} after {}", self.revision));
        }
        self.revision = revision;
        match value {
            Some(value) => drop(self.raw.insert(key.clone(), value.clone())),
            None => drop(self.raw.remove(key)),
        }
        let Some(name) = parts(key) else { return };
        let new = value.and_then(|bytes| {
            let value: Value = serde_json::from_slice(bytes).ok()?;
            Some(Held { value })
        });
        if name.0 != "leases" {
            self.writes.push(format!("{} {}/{}", name.0, name.1, name.2));
        }
        let old = self.objects.remove(&name);
        let replicas =
            |one: &Option<Held>| one.as_ref().and_then(|one| one.value["spec"]["replicas"].as_u64());
        self.raised = replicas(&new) > replicas(&old);
        if let (Some(old), Some(new)) = (&old, &new) {
            self.keeps(&name, &old.value, &new.value);
        }
        if let Some(new) = new {
            work::note(self, &name, &new.value);
            self.objects.insert(name.clone(), new);
        }
        self.check(When::Always, &name);
    }

    /// What an update may not change.
    fn keeps(&mut self, key: &Key, old: &Value, new: &Value) {
        let node = old["spec"]["nodeName"].as_str().unwrap_or_default();
        if key.0 == "pods" && !node.is_empty() && new["spec"]["nodeName"] != old["spec"]["nodeName"] {
            self.broken.push(format!("pod {}/{} left node {node} alive", key.1, key.2));
        }
        if key.0 == "jobs"
            && let Some(wrong) = work::keeps(old, new)
        {
            self.broken.push(format!("Job {}/{} {wrong}", key.1, key.2));
        }
        if old["metadata"]["uid"] != new["metadata"]["uid"] {
            self.broken.push(format!("{key:?} changed its UID"));
        }
    }

    /// Checks what must be true now.
    pub fn check(&mut self, when: When, key: &Key) {
        for invariant in INVARIANTS.iter().filter(|one| one.when == when) {
            if let Some(wrong) = (invariant.check)(self, key) {
                self.broken.push(format!("{} (commit {}): {wrong}", invariant.says, self.commits));
            }
        }
    }

    /// All commits in one number.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// The objects of a resource.
    pub fn of<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let all = self.objects.iter().filter(move |(key, _)| key.0 == resource);
        all.map(|(key, held)| (key, &held.value))
    }
}

/// `/registry/[group/]resource/[namespace/]name`
fn parts(key: &Bytes) -> Option<Key> {
    let text = std::str::from_utf8(key).ok()?;
    let parts: Vec<&str> = text.strip_prefix("/registry/")?.split('/').collect();
    let from = usize::from(
        parts.len() > 2
            && (parts[0].contains('.')
                || matches!(parts[0], "apps" | "batch" | "policy" | "autoscaling" | "core")),
    );
    match &parts[from..] {
        [resource, name] => Some(((*resource).into(), String::new(), (*name).into())),
        [resource, namespace, name] => Some(((*resource).into(), (*namespace).into(), (*name).into())),
        _ => None,
    }
}

fn amount(value: &Value) -> f64 {
    let text = value.as_str().unwrap_or("0");
    text.parse::<gifee_base::Quantity>().map(|quantity| quantity.milli() as f64 / 1e3).unwrap_or_default()
}

pub(super) fn ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn over_commit(model: &Model, key: &Key) -> Option<String> {
    if key.0 != "pods" {
        return None;
    }
    let name = model.objects.get(key)?.value["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())?;
    let node = &model.objects.get(&("nodes".into(), String::new(), name.into()))?.value;
    let here = model.of("pods").filter(|(_, pod)| pod["spec"]["nodeName"] == name && !ended(pod));
    let containers = |pod: &Value| pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let asked = |pod: &Value| -> f64 {
        containers(pod).iter().map(|one| amount(&one["resources"]["requests"]["cpu"])).sum()
    };
    let used: f64 = here.map(|(_, pod)| asked(pod)).sum();
    let room = amount(&node["status"]["allocatable"]["cpu"]);
    (used > room + 1e-9).then(|| format!("node {name} has {room} CPUs and pods for {used}"))
}

fn nodes(model: &Model, _: &Key) -> Option<String> {
    let well = |node: &Value| {
        condition(node, "Ready").is_some_and(|one| one["status"] == "True")
            && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    };
    let wrong = model.of("nodes").filter(|(_, node)| !well(node));
    let found: Vec<String> =
        wrong.map(|(key, node)| format!("{} {}", key.2, node["spec"]["taints"])).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

fn lost_pods(model: &Model, _: &Key) -> Option<String> {
    let nodes: BTreeSet<&str> = model.of("nodes").map(|(key, _)| key.2.as_str()).collect();
    let lost = |pod: &Value| {
        pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty() && !nodes.contains(node))
    };
    let found: Vec<_> = model.of("pods").filter(|(_, pod)| lost(pod)).map(|(key, _)| key).collect();
    (!found.is_empty()).then(|| format!("{found:?}"))
}

fn orphans(model: &Model, _: &Key) -> Option<String> {
    let uids: BTreeSet<&str> =
        model.objects.values().filter_map(|held| held.value["metadata"]["uid"].as_str()).collect();
    let mut found = Vec::new();
    for (key, held) in &model.objects {
        let owners = held.value["metadata"]["ownerReferences"].as_array();
        let mut owners = owners.into_iter().flatten();
        // Leases of nodes stay until somebody collects them.
        if key.0 != "leases"
            && owners.any(|owner| !owner["uid"].as_str().is_some_and(|uid| uids.contains(uid)))
        {
            found.push(key);
        }
    }
    (!found.is_empty()).then(|| format!("{found:?}"))
}

fn strays(model: &Model, _: &Key) -> Option<String> {
    let namespaces: BTreeSet<&str> = model.of("namespaces").map(|(key, _)| key.2.as_str()).collect();
    let stray = |key: &&Key| !key.1.is_empty() && !namespaces.contains(key.1.as_str());
    let found: Vec<_> = model.objects.keys().filter(stray).collect();
    (!found.is_empty()).then(|| format!("{found:?}"))
}

fn deleting(model: &Model, _: &Key) -> Option<String> {
    let going = |held: &Held| held.value["metadata"]["deletionTimestamp"].is_string();
    let found: Vec<_> = model.objects.iter().filter(|(_, held)| going(held)).map(|(key, _)| key).collect();
    (!found.is_empty()).then(|| format!("{found:?}"))
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

pub(super) fn unplaced(pod: &Value) -> bool {
    condition(pod, "PodScheduled").is_some_and(|one| one["status"] == "False")
}

fn deployments(model: &Model, _: &Key) -> Option<String> {
    let mut found = Vec::new();
    for (key, deployment) in model.of("deployments") {
        let inside = |other: &Key| other.1 == key.1;
        let own = |pod: &Value| pod["metadata"]["labels"]["app"] == deployment["metadata"]["name"];
        let pods: Vec<&Value> = model
            .of("pods")
            .filter(|(other, pod)| inside(other) && own(pod) && !ended(pod))
            .map(|(_, pod)| pod)
            .collect();
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
        let status = |name: &str| deployment["status"][name].as_u64().unwrap_or_default();
        let observed =
            status("observedGeneration") == deployment["metadata"]["generation"].as_u64().unwrap_or_default();
        let complete =
            [status("updatedReplicas"), status("availableReplicas"), pods.len() as u64] == [wanted; 3];
        // A rollout that finds no room goes no further.
        if !observed || !(complete || pods.iter().any(|pod| unplaced(pod))) {
            found.push(format!(
                "{}/{} wants {wanted}, has {} pods: {}",
                key.1,
                key.2,
                pods.len(),
                deployment["status"]
            ));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn pods(model: &Model, _: &Key) -> Option<String> {
    let fine = |pod: &Value| {
        ended(pod) || unplaced(pod) || condition(pod, "Ready").is_some_and(|one| one["status"] == "True")
    };
    let wrong = model.of("pods").filter(|(_, pod)| !fine(pod));
    let found: Vec<String> =
        wrong.map(|(key, pod)| format!("{}/{} {}", key.1, key.2, pod["status"])).collect();
    (!found.is_empty()).then(|| found.join("; "))
}
