//! Claims, classes and slices of devices, as far as allocation looks at them.
//!
//! Invariant: what is decoded here is all that is kept of an object; what goes into an allocation as it stands is kept as it
//! stands. Answers to the types of `resource.k8s.io/v1`.

use crate::node::Node;
use gifee_base::{NodeSelector, Object, Quantity};
use gifee_reconcile::pod::Toleration;
use gifee_schema::cel::device::Named;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Amounts by name.
pub type Counters = BTreeMap<Box<str>, Quantity>;
/// Driver and name of a pool.
pub type PoolKey = (Arc<str>, Arc<str>);
/// No node is selected by more than this many alternatives of a request.
pub const ALTERNATIVES_MAXIMUM: usize = 8;

/// A device among all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// Name of the driver.
    pub driver: Arc<str>,
    /// Name of the pool.
    pub pool: Arc<str>,
    /// Name within the pool.
    pub device: Arc<str>,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

/// On which nodes something can be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Nodes {
    /// On this one.
    One(Arc<str>),
    /// On those that a selector selects, and the selector.
    Selected(NodeSelector, Value),
    /// On all.
    All,
    /// Each device says so itself.
    PerDevice,
    /// Nothing understood is said.
    None,
}

impl Nodes {
    fn decode(tree: &Value) -> Result<Self, serde_json::Error> {
        if let Some(name) = tree["nodeName"].as_str().filter(|name| !name.is_empty()) {
            return Ok(Self::One(name.into()));
        }
        if tree["allNodes"] == true {
            return Ok(Self::All);
        }
        let selector = &tree["nodeSelector"];
        if !selector.is_null() {
            return Ok(Self::Selected(NodeSelector::deserialize(selector)?, selector.clone()));
        }
        Ok(if tree["perDeviceNodeSelection"] == true { Self::PerDevice } else { Self::None })
    }

    /// Whether a node is one of them.
    pub fn admit(&self, node: &Node) -> bool {
        match self {
            Self::One(name) => *name == node.name,
            Self::Selected(selector, _) => node.is_selected(selector),
            Self::All => true,
            Self::PerDevice | Self::None => false,
        }
    }
}

/// A taint of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: Box<str>,
    /// Value.
    pub value: Box<str>,
    /// `NoSchedule`, `NoExecute` or `None`.
    pub effect: Box<str>,
}

impl Taint {
    /// Out of its tree.
    pub fn decode(tree: &Value) -> Self {
        Self { key: text(&tree["key"]), value: text(&tree["value"]), effect: text(&tree["effect"]) }
    }
}

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Which it is.
    pub id: Id,
    /// Differs for each state of each device.
    pub number: u64,
    /// `attributes`
    pub attributes: Named,
    /// `capacity`
    pub capacity: Named,
    /// What it takes of counters of its pool, by set.
    pub consumes: Vec<(Box<str>, Counters)>,
    /// Where it can be used, if its slice leaves that to it.
    pub nodes: Nodes,
    /// Taints: its own, and those of rules.
    pub taints: Vec<Taint>,
    /// How many are its own.
    pub own_taints: usize,
    /// Whether several can have a share of it.
    pub multiple: bool,
    /// Whether it can be used only on the node that it was allocated for.
    pub binds: bool,
    /// Conditions that must come true before a pod is bound.
    pub conditions: Vec<String>,
    /// Conditions that say that they never will.
    pub failures: Vec<String>,
}

impl Device {
    /// An attribute by its full name.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name).or_else(|| {
            let (domain, name) = name.split_once('/')?;
            self.attributes.get(name).filter(|_| domain == &*self.id.driver)
        })
    }
}

/// A ResourceSlice.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Name.
    pub name: Box<str>,
    /// The pool that it is a part of.
    pub pool: PoolKey,
    /// Of the pool.
    pub generation: i64,
    /// How many slices the pool has.
    pub count: usize,
    /// Where its devices can be used.
    pub nodes: Nodes,
    /// The devices.
    pub devices: Vec<Device>,
    /// Counters that devices of the pool share, by set.
    pub counters: Vec<(Box<str>, Counters)>,
}

impl Slice {
    /// Decodes a slice, whose devices get numbers from one on.
    ///
    /// # Errors
    /// If the bytes are no slice.
    pub fn decode(object: &Object, first: u64) -> Result<Self, serde_json::Error> {
        let tree: Value = serde_json::from_slice(object.raw())?;
        let spec = &tree["spec"];
        let pool: PoolKey = (text(&spec["driver"]).into(), text(&spec["pool"]["name"]).into());
        let devices = list(&spec["devices"]).zip(first..).map(|(one, number)| device(one, &pool, number));
        Ok(Self {
            name: object.name().into(),
            generation: spec["pool"]["generation"].as_i64().unwrap_or_default(),
            count: spec["pool"]["resourceSliceCount"].as_u64().map_or(0, size),
            nodes: Nodes::decode(spec)?,
            devices: devices.collect::<Result<_, _>>()?,
            counters: list(&spec["sharedCounters"])
                .map(|one| (text(&one["name"]), counters(&one["counters"])))
                .collect(),
            pool,
        })
    }

    /// Whether a device of it can be used on a node.
    pub fn admits(&self, node: &Node) -> bool {
        match &self.nodes {
            Nodes::PerDevice => self.devices.iter().any(|device| device.nodes.admit(node)),
            nodes => nodes.admit(node),
        }
    }
}

fn device(tree: &Value, pool: &PoolKey, number: u64) -> Result<Device, serde_json::Error> {
    let named = |field: &str| tree[field].as_object().cloned().unwrap_or_default();
    let consumes = list(&tree["consumesCounters"]);
    Ok(Device {
        id: Id { driver: pool.0.clone(), pool: pool.1.clone(), device: text(&tree["name"]).into() },
        number,
        attributes: named("attributes"),
        capacity: named("capacity"),
        consumes: consumes.map(|one| (text(&one["counterSet"]), counters(&one["counters"]))).collect(),
        nodes: Nodes::decode(tree)?,
        taints: list(&tree["taints"]).map(Taint::decode).collect(),
        own_taints: list(&tree["taints"]).count(),
        multiple: tree["allowMultipleAllocations"] == true,
        binds: tree["bindsToNode"] == true,
        conditions: texts(&tree["bindingConditions"]),
        failures: texts(&tree["bindingFailureConditions"]),
    })
}

/// A DeviceClass.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Expressions that all select its devices.
    pub selectors: Vec<Arc<str>>,
    /// Configurations that go with its devices.
    pub config: Vec<Value>,
}

impl Class {
    /// Decodes a class.
    ///
    /// # Errors
    /// If the bytes are no class.
    pub fn decode(object: &Object) -> Result<Self, serde_json::Error> {
        let tree: Value = serde_json::from_slice(object.raw())?;
        let spec = &tree["spec"];
        Ok(Self { selectors: selectors(spec), config: list(&spec["config"]).cloned().collect() })
    }
}

/// One way to satisfy a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// The request's name, and behind a slash that of the alternative, if there are several.
    pub name: Box<str>,
    /// Name of the class.
    pub class: Box<str>,
    /// Expressions that all select the devices.
    pub selectors: Vec<Arc<str>>,
    /// How many devices; none: all there are.
    pub count: Option<usize>,
    /// Whether the devices may be in use, and remain so.
    pub admin: bool,
    /// Taints that are borne.
    pub tolerations: Vec<Toleration>,
    /// The same as it stands.
    pub tolerations_tree: Value,
    /// What is wanted of capacities.
    pub capacity: Counters,
}

/// A request for devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Name.
    pub name: Box<str>,
    /// The ways to satisfy it, the best first; at least one.
    pub alternatives: Vec<Alternative>,
    /// Whether the alternatives have names.
    pub ranked: bool,
}

/// What the devices of a claim must have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// Names of the requests that it is about; none: of all.
    pub requests: Vec<Box<str>>,
    /// Full name of the attribute; none: not understood.
    pub attribute: Option<Box<str>>,
    /// Whether all must differ in it, and not agree.
    pub distinct: bool,
}

impl Constraint {
    /// Whether it is about devices for an alternative.
    pub fn concerns(&self, name: &str) -> bool {
        let parent = name.split('/').next().unwrap_or_default();
        self.requests.is_empty() || self.requests.iter().any(|one| **one == *name || **one == *parent)
    }
}

/// A device that a claim has.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Which.
    pub id: Id,
    /// Whether others may have it all the same.
    pub admin: bool,
    /// Whether it is only a share.
    pub shared: bool,
    /// How much of its capacities.
    pub consumed: Counters,
}

/// The devices that a claim has.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// On which nodes they can be used; none: on all.
    pub nodes: Option<NodeSelector>,
    /// The devices.
    pub taken: Vec<Taken>,
    /// As it stands, or is to be written.
    pub tree: Value,
}

impl Allocation {
    /// Whether pods wait for conditions of its devices.
    pub fn is_conditional(&self) -> bool {
        list(&self.tree["devices"]["results"]).any(|one| !one["bindingConditions"].is_null())
    }

    /// Out of its tree.
    ///
    /// # Errors
    /// If the tree is none.
    pub fn decode(tree: Value) -> Result<Self, serde_json::Error> {
        let selector = &tree["nodeSelector"];
        let nodes = match selector.is_null() {
            true => None,
            false => Some(NodeSelector::deserialize(selector)?),
        };
        let taken = list(&tree["devices"]["results"]).map(|one| Taken {
            id: Id {
                driver: text(&one["driver"]).into(),
                pool: text(&one["pool"]).into(),
                device: text(&one["device"]).into(),
            },
            admin: one["adminAccess"] == true,
            shared: one["shareID"].is_string(),
            consumed: amounts(&one["consumedCapacity"]),
        });
        Ok(Self { nodes, taken: taken.collect(), tree })
    }
}

/// A ResourceClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// `metadata.uid`
    pub uid: Box<str>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// UID of the pod that it was made for, if it was.
    pub owner: Option<Box<str>>,
    /// `metadata.finalizers`
    pub finalizers: Vec<String>,
    /// What is asked for.
    pub requests: Vec<Request>,
    /// What the devices must have in common.
    pub constraints: Vec<Constraint>,
    /// Configurations that go with the devices.
    pub config: Vec<Value>,
    /// The devices that it has.
    pub allocation: Option<Arc<Allocation>>,
    /// Who uses it.
    pub reserved: Vec<Value>,
    /// Conditions of its devices.
    pub devices: Value,
    /// Resource version.
    pub revision: u64,
}

impl Claim {
    /// Decodes a claim.
    ///
    /// # Errors
    /// If the bytes are no claim.
    pub fn decode(object: &Object) -> Result<Self, serde_json::Error> {
        let mut tree: Value = serde_json::from_slice(object.raw())?;
        let allocation = match tree["status"]["allocation"].take() {
            Value::Null => None,
            allocation => Some(Arc::new(Allocation::decode(allocation)?)),
        };
        let (devices, status) = (&tree["spec"]["devices"], &tree["status"]);
        Ok(Self {
            uid: object.uid().into(),
            deleting: object.deleting(),
            owner: object.controller().filter(|one| one.kind == "Pod").map(|one| one.uid.into()),
            finalizers: texts(&tree["metadata"]["finalizers"]),
            requests: list(&devices["requests"]).map(request).collect(),
            constraints: list(&devices["constraints"]).map(constraint).collect(),
            config: list(&devices["config"]).cloned().collect(),
            allocation,
            reserved: list(&status["reservedFor"]).cloned().collect(),
            devices: status["devices"].clone(),
            revision: object.revision(),
        })
    }

    /// Whether a pod is among those that use it.
    pub fn is_reserved_for(&self, uid: &str) -> bool {
        self.reserved.iter().any(|one| one["uid"] == uid)
    }
}

fn request(tree: &Value) -> Request {
    let name = text(&tree["name"]);
    let ranked = list(&tree["firstAvailable"]).next().is_some();
    let alternatives = match ranked {
        true => list(&tree["firstAvailable"])
            .take(ALTERNATIVES_MAXIMUM)
            .map(|one| alternative(one, format!("{name}/{}", text(&one["name"]))))
            .collect(),
        false => vec![alternative(&tree["exactly"], name.to_string())],
    };
    Request { name, alternatives, ranked }
}

fn alternative(tree: &Value, name: String) -> Alternative {
    let tolerations_tree = tree["tolerations"].clone();
    Alternative {
        name: name.into(),
        class: text(&tree["deviceClassName"]),
        selectors: selectors(tree),
        count: (tree["allocationMode"] != "All").then(|| tree["count"].as_u64().map_or(1, size)),
        admin: tree["adminAccess"] == true,
        tolerations: serde_json::from_value(tolerations_tree.clone()).unwrap_or_default(),
        tolerations_tree,
        capacity: amounts(&tree["capacity"]["requests"]),
    }
}

fn constraint(tree: &Value) -> Constraint {
    let distinct = tree["distinctAttribute"].is_string();
    let attribute = if distinct { &tree["distinctAttribute"] } else { &tree["matchAttribute"] };
    Constraint {
        requests: list(&tree["requests"]).map(text).collect(),
        attribute: attribute.as_str().map(Into::into),
        distinct,
    }
}

/// Expressions of selectors; one of an unknown kind selects nothing.
fn selectors(tree: &Value) -> Vec<Arc<str>> {
    let expression = |one: &Value| one["cel"]["expression"].as_str().unwrap_or("false").into();
    list(&tree["selectors"]).map(expression).collect()
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn quantity(value: &Value) -> Quantity {
    match value {
        Value::String(text) => text.parse().unwrap_or_default(),
        Value::Number(number) => number.to_string().parse().unwrap_or_default(),
        _ => Quantity::ZERO,
    }
}

fn amounts(tree: &Value) -> Counters {
    let entries = tree.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.as_str().into(), quantity(value))).collect()
}

fn counters(tree: &Value) -> Counters {
    let entries = tree.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.as_str().into(), quantity(&value["value"]))).collect()
}

fn text(value: &Value) -> Box<str> {
    value.as_str().unwrap_or_default().into()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).filter_map(|one| one.as_str().map(Into::into)).collect()
}

/// The items of a list; none if it is none.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
