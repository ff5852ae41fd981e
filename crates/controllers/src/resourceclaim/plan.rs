//! Which claims of devices a pod still needs made or reserved, and whether a claim is still in use. Pure.

use gifee_base::Object;
use serde_json::{Value, json};

/// On a claim made for a pod: the name that the pod has for it.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// The finalizer of an allocated claim.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// How many may share a claim.
const RESERVED_MAXIMUM: usize = 256;
/// A generated name leaves room for a hyphen and five more.
const NAME_MAXIMUM: usize = 57;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

/// Whether a pod may name claims of devices; cheap, and true now and then although it names none.
pub fn names_claims(pod: &Object) -> bool {
    let found = |field: &[u8]| memchr::memmem::find(pod.raw(), field).is_some();
    found(b"\"resourceClaims\":") || found(b"\"extendedResourceClaimStatus\":")
}

/// Which claim a pod means by a name of its own.
#[derive(Debug, PartialEq)]
pub enum Meant<'a> {
    /// This one, which anybody made.
    Named(&'a str),
    /// This one, which was made for the pod.
    Made(&'a str),
    /// One that is yet to be made from this template.
    Missing(&'a str),
    /// None: it was found that it needs none.
    None,
}

/// Which claim a pod means by an entry of its `resourceClaims`.
pub fn meant<'a>(pod: &'a Value, entry: &'a Value) -> Meant<'a> {
    if let Some(name) = entry["resourceClaimName"].as_str() {
        return Meant::Named(name);
    }
    let Some(template) = entry["resourceClaimTemplateName"].as_str() else { return Meant::None };
    match list(&pod["status"]["resourceClaimStatuses"]).find(|status| status["name"] == entry["name"]) {
        None => Meant::Missing(template),
        Some(status) => status["resourceClaimName"].as_str().map_or(Meant::None, Meant::Made),
    }
}

/// The names of all claims that a pod means and that are known, that which a scheduler made for its extended resources
/// among them.
pub fn claims(pod: &Value) -> Vec<&str> {
    let names = list(&pod["spec"]["resourceClaims"]).map(|entry| meant(pod, entry));
    names
        .filter_map(|one| if let Meant::Named(name) | Meant::Made(name) = one { Some(name) } else { None })
        .chain(pod["status"]["extendedResourceClaimStatus"]["resourceClaimName"].as_str())
        .collect()
}

/// What the plan for a pod looks at.
pub trait Lookup {
    /// A claim of the pod's namespace.
    fn claim(&self, name: &str) -> Option<Value>;
    /// Claims that the pod controls.
    fn own(&self) -> Vec<Value>;
    /// A template of the pod's namespace.
    fn template(&self, name: &str) -> Option<Value>;
}

/// What to do for a pod.
#[derive(Debug, Default, PartialEq)]
pub struct PodPlan {
    /// Claims to make, by the pod's names for them.
    pub create: Vec<(String, Value)>,
    /// Claims that are there and that the pod's status does not say: the pod's names, and theirs.
    pub found: Vec<(String, String)>,
    /// Claims to be reserved for the pod.
    pub reserve: Vec<Value>,
    /// Why a claim cannot be made.
    pub failure: Option<String>,
}

fn is_owned(claim: &Value, pod: &Value) -> bool {
    let uid = &pod["metadata"]["uid"];
    list(&claim["metadata"]["ownerReferences"])
        .any(|owner| owner["uid"] == *uid && owner["controller"] == true)
}

/// Plans for a pod that is not being deleted.
pub fn pod(pod: &Value, lookup: &dyn Lookup) -> PodPlan {
    let mut plan = PodPlan::default();
    for entry in list(&pod["spec"]["resourceClaims"]) {
        let name = text(&entry["name"]);
        match meant(pod, entry) {
            Meant::None | Meant::Named(_) => continue,
            Meant::Made(claim) if lookup.claim(claim).is_some_and(|claim| is_owned(&claim, pod)) => continue,
            Meant::Made(_) | Meant::Missing(_) => {}
        }
        // One that was made, and whose name did not come into the status.
        let lost = lookup.own().into_iter().find(|claim| claim["metadata"]["annotations"][POD_CLAIM] == name);
        if let Some(claim) = lost {
            plan.found.push((name.to_owned(), text(&claim["metadata"]["name"]).to_owned()));
            continue;
        }
        let template = text(&entry["resourceClaimTemplateName"]);
        match lookup.template(template) {
            Some(template) => plan.create.push((name.to_owned(), made(pod, name, &template))),
            None => {
                plan.failure = Some(format!(
                    "PodResourceClaim {name}: resource claim template {template:?}: \
                     resourceclaimtemplate.resource.k8s.io {template:?} not found"
                ));
                return plan;
            }
        }
    }
    if plan.create.is_empty() && plan.found.is_empty() && !text(&pod["spec"]["nodeName"]).is_empty() {
        plan.reserve = reserve(pod, lookup);
    }
    plan
}

/// Claims of a pod that has a node although the scheduler reserved nothing for it.
fn reserve(pod: &Value, lookup: &dyn Lookup) -> Vec<Value> {
    let unreserved = |claim: &Value| {
        let reserved = list(&claim["status"]["reservedFor"]);
        claim["status"]["allocation"].is_object()
            && reserved.clone().count() < RESERVED_MAXIMUM
            && !reserved.into_iter().any(|one| one["uid"] == pod["metadata"]["uid"])
    };
    list(&pod["spec"]["resourceClaims"])
        .filter_map(|entry| match meant(pod, entry) {
            Meant::Named(name) => lookup.claim(name),
            Meant::Made(name) => lookup.claim(name).filter(|claim| is_owned(claim, pod)),
            Meant::Missing(_) | Meant::None => None,
        })
        .filter(unreserved)
        .collect()
}

/// The status that reserves a claim for a pod.
pub fn reserved(claim: &Value, pod: &Value) -> Value {
    let mut all: Vec<Value> = list(&claim["status"]["reservedFor"]).cloned().collect();
    let metadata = &pod["metadata"];
    all.push(json!({ "resource": "pods", "name": metadata["name"], "uid": metadata["uid"] }));
    json!({ "reservedFor": all })
}

/// A claim for a pod out of a template.
fn made(pod: &Value, name: &str, template: &Value) -> Value {
    let metadata = &pod["metadata"];
    let own = &template["spec"]["metadata"];
    let mut annotations = own["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), name.into());
    let mut claim = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {
            "generateName": prefix(text(&metadata["name"]), name), "namespace": metadata["namespace"],
            "annotations": annotations,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": metadata["name"],
                "uid": metadata["uid"], "controller": true, "blockOwnerDeletion": true }],
        },
        "spec": template["spec"]["spec"],
    });
    if own["labels"].is_object() {
        claim["metadata"]["labels"] = own["labels"].clone();
    }
    claim
}

/// `POD-NAME-`, both cut in proportion if that is too long.
fn prefix(pod: &str, name: &str) -> String {
    let whole = format!("{pod}-{name}-");
    if whole.len() <= NAME_MAXIMUM {
        return whole;
    }
    let cut = |part: &str| part.chars().take(part.len() * NAME_MAXIMUM / whole.len()).collect::<String>();
    format!("{}-{}", cut(pod), cut(name))
}

/// The pod status's list of claims with some that are new, by the pod's names.
pub fn statuses(pod: &Value, new: &[(String, String)]) -> Vec<Value> {
    let known = list(&pod["status"]["resourceClaimStatuses"]);
    let mut all: Vec<Value> = known
        .filter(|status| !new.iter().any(|(name, _)| status["name"] == name.as_str()))
        .cloned()
        .collect();
    all.extend(new.iter().map(|(name, claim)| json!({ "name": name, "resourceClaimName": claim })));
    all
}

/// What is known of a pod that a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// It may run.
    Lives,
    /// It has ended, was replaced, or is gone.
    Done,
    /// No cache shows it.
    Unseen,
}

/// What to do about a claim.
#[derive(Debug, Default, PartialEq)]
pub struct ClaimPlan {
    /// What is to change in its status.
    pub status: Option<Value>,
    /// The finalizers that it is to have.
    pub finalizers: Option<Vec<Value>>,
    /// Whether it is to be deleted.
    pub delete: bool,
}

/// Plans for a claim. `consumers` are the entries of its `reservedFor`, in order; `owner` is the pod that it was made
/// for, if it was.
pub fn claim(claim: &Value, consumers: &[Consumer], owner: Option<Consumer>) -> ClaimPlan {
    let mut plan = ClaimPlan::default();
    let reserved: Vec<&Value> = list(&claim["status"]["reservedFor"]).collect();
    let entries = reserved.iter().zip(consumers);
    let valid: Vec<Value> = entries
        .filter(|(_, consumer)| **consumer != Consumer::Done)
        .map(|(entry, _)| (*entry).clone())
        .collect();
    let mut finalizers: Vec<Value> = list(&claim["metadata"]["finalizers"]).cloned().collect();
    let kept = finalizers.iter().any(|one| one == FINALIZER);
    let deleting = !claim["metadata"]["deletionTimestamp"].is_null();
    let allocated = !claim["status"]["allocation"].is_null();
    let mut change = json!({});
    if valid.len() < reserved.len() {
        change["reservedFor"] = if valid.is_empty() { Value::Null } else { valid.clone().into() };
    }
    // Whoever was last gives the devices back; where nobody was, only the deletion does.
    let last = valid.is_empty() && kept && (valid.len() < reserved.len() || deleting);
    if last {
        if allocated {
            change["allocation"] = Value::Null;
        }
        finalizers.retain(|one| one != FINALIZER);
        plan.finalizers = Some(finalizers);
    }
    plan.status = (change != json!({})).then_some(change);
    plan.delete = valid.is_empty() && !deleting && owner == Some(Consumer::Done);
    plan
}
