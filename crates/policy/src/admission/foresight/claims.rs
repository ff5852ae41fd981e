//! Claims that nothing can provide, and claims that several pods on several nodes cannot share.

use crate::Lookup;
use crate::resources::quantity;
use gifee_base::{Object, ObjectKey};
use serde_json::Value;

const CLASSES: (&str, &str) = ("storage.k8s.io", "storageclasses");
/// The provisioner of classes whose volumes people make.
const NONE: &str = "kubernetes.io/no-provisioner";
/// No more volumes than this are looked at; where none of so many suits, nothing is said.
const VOLUMES: usize = 1_000;

/// Why a claim will find no volume; its spec stands at `field`.
pub fn unprovided(claim: &Value, field: &str, lookup: &dyn Lookup) -> Option<String> {
    let spec = &claim["spec"];
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    // Somebody has made a choice that only the binder can judge.
    if text(&spec["volumeName"]) || spec["selector"].is_object() {
        return None;
    }
    let class = spec["storageClassName"].as_str();
    if class.is_none() {
        let default = |one: &Object| {
            one.text_at(&["metadata", "annotations", "storageclass.kubernetes.io/is-default-class"])
                .as_deref()
                == Some("true")
        };
        if lookup.any(CLASSES.0, CLASSES.1, "", &mut |one| default(one)) {
            return None;
        }
    }
    let class = class.unwrap_or_default();
    let found = lookup.get(CLASSES.0, CLASSES.1, &ObjectKey::cluster(class));
    if found.as_ref().is_some_and(|found| found.text_at(&["provisioner"]).as_deref() != Some(NONE)) {
        return None;
    }
    let mut seen = 0;
    let suited = lookup.any("", "persistentvolumes", "", &mut |volume| {
        seen += 1;
        seen > VOLUMES || suits(volume, spec, class)
    });
    if suited {
        return None;
    }
    let why = match (class, found) {
        ("", _) if spec["storageClassName"].is_null() => {
            "names no StorageClass, none is the default, and no free PersistentVolume without a class suits it".to_owned()
        }
        ("", _) => "asks for a PersistentVolume without a class, and no free one suits it".to_owned(),
        (class, Some(_)) => {
            format!("StorageClass \"{class}\" makes no volumes, and no free PersistentVolume of it suits it")
        }
        (class, None) => {
            format!("there is no StorageClass \"{class}\", and no free PersistentVolume of that class suits it")
        }
    };
    Some(format!("{field}.storageClassName: {why}; the claim stays Pending until there is one"))
}

/// Whether a volume is free, of the class, large enough and can be used as asked.
fn suits(volume: &Object, spec: &Value, class: &str) -> bool {
    let Ok(volume) = volume.to_value() else { return false };
    let own = volume["spec"]["storageClassName"].as_str().unwrap_or_default();
    let phase = volume["status"]["phase"].as_str().unwrap_or("Available");
    let modes = |value: &Value| value["accessModes"].as_array().cloned().unwrap_or_default();
    let offered = modes(&volume["spec"]);
    let large = match (
        quantity(&volume["spec"]["capacity"]["storage"]),
        quantity(&spec["resources"]["requests"]["storage"]),
    ) {
        (Some(has), Some(wants)) => has >= wants,
        _ => true,
    };
    own == class
        && matches!(phase, "Available" | "Pending" | "")
        && large
        && modes(spec).iter().all(|mode| offered.contains(mode))
}

/// Why pods of several replicas cannot all run: a claim of one node, or of one pod, that all of them use.
pub fn shared(object: &Value, namespace: &str, lookup: &dyn Lookup) -> Option<String> {
    if object["spec"]["replicas"].as_i64().unwrap_or(1) < 2 {
        return None;
    }
    let volumes = object["spec"]["template"]["spec"]["volumes"].as_array()?;
    let mut nodes = 0;
    let several = lookup.any("", "nodes", "", &mut |_| {
        nodes += 1;
        nodes > 1
    });
    volumes.iter().enumerate().find_map(|(index, volume)| {
        let name = volume["persistentVolumeClaim"]["claimName"].as_str()?;
        let claim = lookup.get("", "persistentvolumeclaims", &ObjectKey::new(namespace, name))?;
        let claim = claim.to_value().ok()?;
        let modes = claim["spec"]["accessModes"].as_array()?;
        let only = |mode: &str| modes.iter().all(|one| one == mode);
        let who = match () {
            () if only("ReadWriteOncePod") => "one pod at a time",
            () if only("ReadWriteOnce") && several => "the pods of one node at a time",
            () => return None,
        };
        let mode = modes.first()?.as_str()?;
        Some(format!(
            "spec.template.spec.volumes[{index}]: claim \"{name}\" is {mode}, for {who}: of {} replicas the others cannot start",
            object["spec"]["replicas"]
        ))
    })
}
