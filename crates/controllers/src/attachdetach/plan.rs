//! Which volumes are to be attached to a node, and what its status is to say of them. Pure.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// On a node: its volumes are attached from here.
pub const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// How long a node that does not answer may say that a volume is in use.
pub const UNMOUNT_MAXIMUM: Duration = Duration::from_secs(360);

/// A volume that a CSI driver attaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Name of the PersistentVolume.
    pub name: String,
    /// The driver.
    pub driver: String,
    /// The driver's own name for it.
    pub handle: String,
    /// Whether it can be on one node only.
    pub exclusive: bool,
}

impl Volume {
    /// Reads a PersistentVolume; none if no driver has it.
    pub fn read(tree: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (spec, driver) = (&tree["spec"], text(&tree["spec"]["csi"]["driver"]));
        let modes = spec["accessModes"].as_array().into_iter().flatten();
        let shared = |mode: &Value| matches!(mode.as_str(), Some("ReadWriteMany" | "ReadOnlyMany"));
        (!driver.is_empty()).then(|| Self {
            name: text(&tree["metadata"]["name"]),
            handle: text(&spec["csi"]["volumeHandle"]),
            exclusive: !modes.clone().any(shared) && modes.count() > 0,
            driver,
        })
    }

    /// The name of its attachment to a node.
    pub fn attachment(&self, node: &str) -> String {
        let digest = Sha256::digest(format!("{}{}{node}", self.handle, self.driver));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("csi-{hex}")
    }

    /// How a node's status names it.
    pub fn unique(&self) -> String {
        format!("kubernetes.io/csi/{}^{}", self.driver, self.handle)
    }
}

/// A VolumeAttachment.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// What it attaches, if that is still known.
    pub volume: Option<Volume>,
    /// Whether the driver says that it is attached.
    pub attached: bool,
    /// Whether it is going.
    pub deleting: bool,
    /// For how long no pod has wanted it.
    pub unwanted: Duration,
}

/// A volume that pods of a node want.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The volume.
    pub volume: Volume,
    /// Why it cannot be attached here: it is attached elsewhere.
    pub elsewhere: Option<String>,
}

/// A node and what concerns its volumes.
#[derive(Debug, Default)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The Node; null if there is none.
    pub node: Value,
    /// What its pods want.
    pub wanted: Vec<Wanted>,
    /// Attachments to it that were made here.
    pub attachments: Vec<Attachment>,
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Attachments to make.
    pub attach: Vec<Value>,
    /// What the node's status is to list, if that is another.
    pub attached: Option<Vec<Value>>,
    /// Volumes that came to be attached: told to the pods that want them.
    pub news: Vec<String>,
    /// Volumes that cannot be attached, and why.
    pub refused: Vec<(String, String)>,
    /// Attachments to delete, once the status does not list them.
    pub detach: Vec<String>,
    /// When to look again.
    pub again: Option<Duration>,
}

fn list<'a>(node: &'a Value, field: &str) -> Vec<&'a Value> {
    node["status"][field].as_array().into_iter().flatten().collect()
}

/// Plans for a node.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::default();
    let mut listed = BTreeMap::new();
    for wanted in &view.wanted {
        let name = wanted.volume.attachment(&view.name);
        match view.attachments.iter().find(|one| one.name == name) {
            // It was to go; it comes again once it is gone.
            Some(one) if one.deleting => {}
            Some(one) if one.attached => {
                listed.insert(wanted.volume.unique(), &wanted.volume);
            }
            Some(_) => {}
            None => match &wanted.elsewhere {
                Some(why) => plan.refused.push((wanted.volume.name.clone(), why.clone())),
                None => plan.attach.push(attachment(&wanted.volume, &view.name, name)),
            },
        }
    }
    for one in view.attachments.iter().filter(|one| !one.deleting) {
        let wanted = view.wanted.iter().any(|wanted| wanted.volume.attachment(&view.name) == one.name);
        if wanted {
            continue;
        }
        match &one.volume {
            Some(volume) if in_use(view, volume) => match UNMOUNT_MAXIMUM.checked_sub(one.unwanted) {
                Some(left) if !left.is_zero() || ready(&view.node) => {
                    listed.insert(volume.unique(), volume);
                    let left = left.max(Duration::from_secs(1));
                    plan.again = Some(plan.again.map_or(left, |again| again.min(left)));
                }
                None if ready(&view.node) => {
                    listed.insert(volume.unique(), volume);
                }
                _ => plan.detach.push(one.name.clone()),
            },
            _ => plan.detach.push(one.name.clone()),
        }
    }
    if !view.node.is_null() {
        report(view, &listed, &mut plan);
    }
    plan
}

/// Compares what the node's status lists with what it should, leaving alone what no driver of CSI has.
fn report(view: &View, listed: &BTreeMap<String, &Volume>, plan: &mut Plan) {
    let now = list(&view.node, "volumesAttached");
    let name = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
    let foreign = |one: &&&Value| !name(one).starts_with("kubernetes.io/csi/");
    let mut wanted: Vec<Value> = now.iter().filter(foreign).map(|one| (*one).clone()).collect();
    for (unique, volume) in listed {
        match now.iter().find(|one| name(one) == *unique) {
            Some(one) => wanted.push((*one).clone()),
            None => {
                plan.news.push(volume.name.clone());
                wanted.push(json!({ "name": unique, "devicePath": "" }));
            }
        }
    }
    let mut sorted: Vec<Value> = now.into_iter().cloned().collect();
    let mut compared = wanted.clone();
    for all in [&mut sorted, &mut compared] {
        all.sort_by_key(name);
    }
    plan.attached = (sorted != compared).then_some(wanted);
}

fn in_use(view: &View, volume: &Volume) -> bool {
    let taints = view.node["spec"]["taints"].as_array().into_iter().flatten();
    let out =
        taints.filter(|taint| taint["effect"] == "NoExecute").any(|taint| taint["key"] == OUT_OF_SERVICE);
    let unique = volume.unique();
    !out && list(&view.node, "volumesInUse").iter().any(|one| **one == unique)
}

fn ready(node: &Value) -> bool {
    list(node, "conditions").iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn attachment(volume: &Volume, node: &str, name: String) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": name },
        "spec": { "attacher": volume.driver, "nodeName": node,
            "source": { "persistentVolumeName": volume.name } },
    })
}
