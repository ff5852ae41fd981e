//! A pod, as far as placement looks at it.
//!
//! Invariant: what pods of one template have in common is kept once, however many there are; none of a
//! pod's bytes is kept.

use crate::resources::Resources;
use crate::terms::Terms;
use gifee_base::ObjectKey;
use gifee_base::nodes::{NodeSelector, Preference};
use gifee_reconcile::pod::Toleration;
use std::collections::HashSet;
use std::sync::Arc;

/// What placement depends on, shared by all pods that agree in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// What it asks of a node.
    pub shape: Arc<Shape>,
    /// What it asks of the pods around it.
    pub terms: Arc<Terms>,
    /// `spec.schedulingGates`
    pub gates: Vec<String>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Labels, sorted by key.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Kind and name of its controller, if that has a selector by which its pods are spread.
    pub owner: Option<(Owner, Box<str>)>,
    /// Names of the claims of its volumes, and whether they are made for this pod alone.
    pub claims: Vec<(Box<str>, bool)>,
    /// Its claims of devices.
    pub devices: Vec<DeviceClaim>,
    /// `spec.schedulingGroup.podGroupName`
    pub group: Option<Box<str>>,
}

impl Template {
    /// The group that it starts with.
    pub fn group_key(&self) -> Option<ObjectKey> {
        self.group.as_ref().map(|name| ObjectKey::new(&self.namespace, name))
    }

    /// Its claims of devices that are known by name.
    pub fn device_claims(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.devices.iter().filter_map(|one| match &one.claim {
            Meant::Named(name) | Meant::Made(name) => Some(ObjectKey::new(&self.namespace, name)),
            Meant::Nothing | Meant::NotYet => None,
        })
    }

    /// The claims of its volumes.
    pub fn claim_keys(&self) -> Vec<ObjectKey> {
        self.claims.iter().map(|(name, _)| ObjectKey::new(&self.namespace, name)).collect()
    }
}

/// Which claim of devices a pod means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Meant {
    /// This one, which anybody made.
    Named(Box<str>),
    /// This one, which was made for the pod.
    Made(Box<str>),
    /// None: it was found that it needs none.
    Nothing,
    /// One that is yet to be made.
    NotYet,
}

/// A claim of devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceClaim {
    /// The pod's name for it.
    pub name: Box<str>,
    /// Which it is.
    pub claim: Meant,
}

/// A kind of controller whose pods are spread by its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// ReplicaSet
    ReplicaSet,
    /// ReplicationController
    ReplicationController,
    /// StatefulSet
    StatefulSet,
}

impl std::ops::Deref for Template {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.shape
    }
}

/// What a pod asks of a node, whatever runs around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// What the pod takes from its node.
    pub requests: Resources,
    /// The same for scores: thousandths of a CPU, bytes of memory, with a share for containers that ask for nothing.
    pub weight: (i64, i64),
    /// `spec.priority`
    pub priority: i32,
    /// Whether it may push out pods of lower priority: `spec.preemptionPolicy` is not `Never`.
    pub preempts: bool,
    /// Ports on the node's own addresses.
    pub ports: Vec<HostPort>,
    /// `spec.nodeSelector`
    pub node_selector: Vec<(String, String)>,
    /// What its node affinity requires.
    pub required: Option<NodeSelector>,
    /// What its node affinity prefers.
    pub preferred: Vec<Preference>,
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// Images of its containers, with tag.
    pub images: Vec<String>,
    /// Features that its node's agent must declare.
    pub features: Vec<&'static str>,
}

/// What features of agents are inferred from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Whether an exit of one of its containers restarts all.
    pub restarts_all: bool,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// Whether it has a user namespace: `spec.hostUsers` is false.
    pub own_users: bool,
}

impl Template {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.binary_search_by(|(one, _)| (**one).cmp(key));
        found.ok().map(|at| &*self.labels[at].1)
    }
}

/// A port on the node's own addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Address; `0.0.0.0` is all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be bound on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let all = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || all(&self.ip) || all(&other.ip))
    }
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: Arc<str>,
    /// What placement depends on.
    pub template: Arc<Template>,
    /// `spec.nodeName`
    pub node: Option<Arc<str>>,
    /// `spec.schedulerName`
    pub scheduler: Arc<str>,
    /// Whether it has ended.
    pub ended: bool,
    /// How far its life has come.
    pub life: Life,
    /// `status.nominatedNodeName`
    pub nominated: Option<Arc<str>>,
    /// Resource version.
    pub revision: u64,
    /// `metadata.generation`
    pub generation: i64,
    /// Its PodScheduled condition.
    pub condition: Option<Box<Condition>>,
}

impl Pod {
    /// The claims of its volumes.
    pub fn claims(&self) -> Vec<ObjectKey> {
        self.template.claim_keys()
    }
}

/// How far a pod's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// `status.startTime` in seconds; one that has not started is later than all that have.
    pub started: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it is being deleted to make room for another pod.
    pub preempted: bool,
}

/// A PodScheduled condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: String,
    /// Such as `Unschedulable`.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// `metadata.generation` of the pod that it is about.
    pub observed_generation: i64,
}

/// Templates in use. At most twice as many as pods have, plus a few.
#[derive(Debug, Default)]
pub struct Templates {
    known: HashSet<Arc<Template>>,
    shapes: HashSet<Arc<Shape>>,
    terms: HashSet<Arc<Terms>>,
    purge_at: usize,
}

const PURGE_MINIMUM: usize = 256;

impl Templates {
    /// The one copy of a template.
    pub fn share(&mut self, mut template: Template) -> Arc<Template> {
        if let Some(known) = self.known.get(&template) {
            return known.clone();
        }
        if self.known.len() >= self.purge_at {
            self.known.retain(|template| Arc::strong_count(template) > 1);
            self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
            self.terms.retain(|terms| Arc::strong_count(terms) > 1);
            self.purge_at = (self.known.len() * 2).max(PURGE_MINIMUM);
        }
        template.shape = shared(&mut self.shapes, template.shape);
        template.terms = shared(&mut self.terms, template.terms);
        let template = Arc::new(template);
        self.known.insert(template.clone());
        template
    }
}

fn shared<T: Eq + std::hash::Hash>(known: &mut HashSet<Arc<T>>, one: Arc<T>) -> Arc<T> {
    if let Some(known) = known.get(&one) {
        return known.clone();
    }
    known.insert(one.clone());
    one
}
