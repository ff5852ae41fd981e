//! What clients are warned of in pods and their templates: fields that are old, do nothing, or mean something else
//! than they seem to.
//!
//! Answers to upstream's `pkg/api/pod/warnings.go`; texts and order are upstream's. Only creations and changes of
//! what is wanted are looked at.

use crate::rule::resource::quantity;
use crate::value::{entries, int, items, text};
use gifee_base::{Path, name};
use serde_json::Value;
use std::collections::HashMap;

/// Labels of nodes that have another name now, and since when.
const OLD_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

/// Kinds of volumes that are no more, or will not be.
pub(crate) const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const CRITICAL: &str = "scheduler.alpha.kubernetes.io/critical-pod";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What warnings are added to.
pub(crate) type Warnings = Vec<String>;

/// Since when a label of nodes is old, if it is.
pub(crate) fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(label, _)| *label == key).map(|(_, since)| *since)
}

/// Of an object whose pods are named after it: `metadata.name`.
pub(crate) fn pod_names(warnings: &mut Warnings, object: &Value) {
    let wrong = name::dns_label(text(&object["metadata"]["name"]));
    if !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

/// Of the template of an object, if it is new or changed.
pub(crate) fn template(warnings: &mut Warnings, object: &Value, old: Option<&Value>) {
    if old.is_none_or(|old| old["metadata"]["generation"] != object["metadata"]["generation"]) {
        template_at(warnings, &object["spec"]["template"], &Path::root("spec").child("template"));
    }
}

/// Of a template anywhere.
pub(crate) fn template_at(warnings: &mut Warnings, template: &Value, path: &Path<'_>) {
    let metadata = path.child("metadata");
    pod(warnings, &template["metadata"], &template["spec"], &path.child("spec"), &metadata);
}

/// Of the spec and the metadata of a pod or template.
pub(crate) fn pod(
    warnings: &mut Warnings,
    metadata: &Value,
    spec: &Value,
    path: &Path<'_>,
    metadata_path: &Path<'_>,
) {
    let at = path.child("nodeSelector");
    for (key, _) in entries(&spec["nodeSelector"]) {
        if let Some(since) = old_label(key) {
            warnings.push(format!("{}: {since}", at.key(key)));
        }
    }
    affinity(warnings, &spec["affinity"], &path.child("affinity"));
    spread(warnings, &spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"));
    annotations(warnings, &metadata["annotations"], spec, &metadata_path.child("annotations"));
    let at = path.child("volumes");
    for (index, volume) in items(&spec["volumes"]).iter().enumerate() {
        for (kind, since) in OLD_VOLUMES {
            if volume[kind].is_object() {
                warnings.push(format!("{}: {since}", at.index(index).child(kind)));
            }
        }
        let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"];
        let (volume_at, amounts) = (at.index(index), ["limits", "requests"]);
        let ephemeral = volume_at.child("ephemeral");
        let inner = ephemeral.child("volumeClaimTemplate");
        let inner = inner.child("spec");
        let inner = inner.child("resources");
        for list in amounts {
            fraction(warnings, &claim[list], "storage", &inner.child(list));
        }
    }
    doubles(warnings, spec, path);
    containers(warnings, spec, path);
    let overhead = path.child("overhead");
    for name in ["memory", "ephemeral-storage"] {
        fraction(warnings, &spec["overhead"], name, &overhead);
    }
    if int(&spec["terminationGracePeriodSeconds"]) < 0 {
        let at = path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
}

fn selector_term(warnings: &mut Warnings, term: &Value, path: &Path<'_>) {
    let at = path.child("matchExpressions");
    for (index, one) in items(&term["matchExpressions"]).iter().enumerate() {
        if let Some(since) = old_label(text(&one["key"])) {
            warnings.push(format!("{}: {} is {since}", at.index(index).child("key"), text(&one["key"])));
        }
    }
}

fn affinity(warnings: &mut Warnings, affinity: &Value, path: &Path<'_>) {
    let (node, at) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
    let required = at.child(REQUIRED);
    let terms = required.child("nodeSelectorTerms");
    for (index, term) in items(&node[REQUIRED]["nodeSelectorTerms"]).iter().enumerate() {
        selector_term(warnings, term, &terms.index(index));
    }
    let preferred = at.child(PREFERRED);
    for (index, one) in items(&node[PREFERRED]).iter().enumerate() {
        selector_term(warnings, &one["preference"], &preferred.index(index).child("preference"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (own, at) = (&affinity[kind], path.child(kind));
        let required = at.child(REQUIRED);
        for (index, term) in items(&own[REQUIRED]).iter().enumerate() {
            no_selector(warnings, term, &required.index(index));
        }
        let preferred = at.child(PREFERRED);
        for (index, one) in items(&own[PREFERRED]).iter().enumerate() {
            no_selector(warnings, &one["podAffinityTerm"], &preferred.index(index).child("podAffinityTerm"));
        }
    }
}

fn no_selector(warnings: &mut Warnings, term: &Value, path: &Path<'_>) {
    if term["labelSelector"].is_null() {
        let at = path.child("labelSelector");
        warnings.push(format!("{at}: a null labelSelector results in matching no pod"));
    }
}

fn spread(warnings: &mut Warnings, list: &Value, path: &Path<'_>) {
    for (index, one) in items(list).iter().enumerate() {
        let at = path.index(index);
        if let Some(since) = old_label(text(&one["topologyKey"])) {
            warnings.push(format!("{}: {} is {since}", at.child("topologyKey"), text(&one["topologyKey"])));
        }
        no_selector(warnings, one, &at);
    }
}

fn annotations(warnings: &mut Warnings, annotations: &Value, spec: &Value, path: &Path<'_>) {
    for (key, _) in entries(annotations) {
        let why = if key == CRITICAL {
            "non-functional in v1.16+; use the \"priorityClassName\" field instead"
        } else if key == SECCOMP || key.starts_with(SECCOMP_OF_CONTAINER) {
            "non-functional in v1.27+; use the \"seccompProfile\" field instead"
        } else if let Some(container) = key.strip_prefix(APP_ARMOR) {
            let set = |context: &Value| context["appArmorProfile"].is_object();
            let own = ["containers", "initContainers"].iter().flat_map(|list| items(&spec[*list]));
            let mut own = own.filter(|one| one["name"] == container);
            if set(&spec["securityContext"]) || own.any(|one| set(&one["securityContext"])) {
                continue;
            }
            "deprecated since v1.30; use the \"appArmorProfile\" field instead"
        } else {
            continue;
        };
        warnings.push(format!("{}: {why}", path.key(key)));
    }
}

/// Names that come twice where only one of them counts.
fn doubles(warnings: &mut Warnings, spec: &Value, path: &Path<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    let at = path.child("imagePullSecrets");
    for (index, one) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        let own = text(&one["name"]);
        if own.is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", at.index(index)));
        } else if seen.contains(&own) {
            warnings.push(format!("{}: duplicate name {own:?}", at.index(index)));
        } else {
            seen.push(own);
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    let at = path.child("hostAliases");
    for (index, one) in items(&spec["hostAliases"]).iter().enumerate() {
        let own = text(&one["ip"]);
        if seen.contains(&own) {
            warnings.push(format!("{}: duplicate ip {own:?}", at.index(index).child("ip")));
        } else {
            seen.push(own);
        }
    }
}

fn containers(warnings: &mut Warnings, spec: &Value, path: &Path<'_>) {
    let mut ports: HashMap<(i64, String, i64, String), String> = HashMap::new();
    let mut port_names: HashMap<String, String> = HashMap::new();
    for list in ["initContainers", "containers"] {
        let all = path.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let at = all.index(index);
            let resources = at.child("resources");
            for amounts in ["limits", "requests"] {
                for name in ["memory", "ephemeral-storage"] {
                    fraction(warnings, &container["resources"][amounts], name, &resources.child(amounts));
                }
            }
            variables(warnings, &container["env"], &at.child("env"));
            let own = at.child("ports");
            for (index, port) in items(&container["ports"]).iter().enumerate() {
                let at = own.index(index).to_string();
                let protocol = text(&port["protocol"]).to_owned();
                let number = int(&port["containerPort"]);
                let key = (number, protocol, int(&port["hostPort"]), text(&port["hostIP"]).to_owned());
                match ports.get(&key) {
                    Some(before) => warnings.push(format!("{at}: duplicate port definition with {before}")),
                    None => {
                        ports.insert(key, at.clone());
                    }
                }
                let name = text(&port["name"]).to_owned();
                if name.is_empty() {
                    continue;
                }
                match port_names.get(&name) {
                    Some(before) => warnings.push(format!(
                        "{at}: duplicate port name {name:?} with {before}, services and probes that select ports by name will use {before}"
                    )),
                    None => {
                        port_names.insert(name, at);
                    }
                }
            }
        }
    }
}

/// A variable that is set again loses what it was, unless the later value mentions it.
fn variables(warnings: &mut Warnings, list: &Value, path: &Path<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        let own = text(&one["name"]);
        if !seen.contains(&own) {
            seen.push(own);
        } else if !text(&one["value"]).contains(&format!("$({own})")) {
            warnings.push(format!(
                "{}: hides previous definition of {own:?}, which may be unexpected",
                path.index(index)
            ));
        }
    }
}

/// Bytes are counted whole.
pub(crate) fn fraction(warnings: &mut Warnings, amounts: &Value, name: &str, path: &Path<'_>) {
    let Some(value) = amounts.get(name) else { return };
    let amount = quantity(value);
    if amount.milli() % 1000 != 0 {
        let at = path.key(name);
        warnings.push(format!(
            "{at}: fractional byte value {:?} is invalid, must be an integer",
            amount.to_string()
        ));
    }
}
