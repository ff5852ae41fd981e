//! What clients are warned of in pods and their templates: fields that are old, do nothing, or mean something else
//! than they seem to.
//!
//! Answers to upstream's `pkg/api/pod/warnings.go`; texts and order are upstream's. Only creations and changes of
//! what is wanted are looked at.

use super::overlap;
use crate::rule::address::ip_form;
use crate::rule::resource::quantity;
use crate::value::{entries, int, is_empty, items, text};
use gifee_base::{Path, name};
use serde_json::Value;
use std::collections::HashSet;

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
/// Annotations that do nothing any more.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
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
    let annotations = &template["metadata"]["annotations"];
    pod(warnings, annotations, &template["spec"], &path.child("spec"), &metadata.child("annotations"));
    app_armor(warnings, annotations, &template["spec"], &metadata.child("annotations"));
}

/// Of the annotations and the spec of a pod or template.
pub(crate) fn pod(
    warnings: &mut Warnings,
    annotations: &Value,
    spec: &Value,
    path: &Path<'_>,
    annotations_path: &Path<'_>,
) {
    let at = path.child("nodeSelector");
    for (key, _) in entries(&spec["nodeSelector"]) {
        if let Some(since) = old_label(key) {
            warnings.push(format!("{}: {since}", at.key(key)));
        }
    }
    node_affinity(warnings, &spec["affinity"]["nodeAffinity"], &path.child("affinity").child("nodeAffinity"));
    spread(warnings, &spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"));
    for (key, why) in OLD_ANNOTATIONS {
        if !annotations[key].is_null() {
            warnings.push(format!("{}: {why}", annotations_path.key(key)));
        }
    }
    volumes(warnings, &spec["volumes"], &path.child("volumes"));
    overlap::volumes(warnings, &spec["volumes"]);
    doubles(warnings, spec, path);
    let overhead = path.child("overhead");
    for name in ["memory", "ephemeral-storage"] {
        fraction(warnings, &spec["overhead"], name, &overhead);
    }
    containers(warnings, annotations, spec, path, annotations_path);
    ports(warnings, spec, path);
    if int(&spec["terminationGracePeriodSeconds"]) < 0 {
        let at = path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    let at = path.child("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(warnings, &spec["affinity"][kind], &at.child(kind));
    }
    let at = path.child("dnsConfig");
    let at = at.child("nameservers");
    for (index, server) in items(&spec["dnsConfig"]["nameservers"]).iter().enumerate() {
        ip_form(warnings, server, &at.index(index));
    }
    let at = path.child("hostAliases");
    for (index, alias) in items(&spec["hostAliases"]).iter().enumerate() {
        ip_form(warnings, &alias["ip"], &at.index(index).child("ip"));
    }
}

fn volumes(warnings: &mut Warnings, list: &Value, path: &Path<'_>) {
    for (index, volume) in items(list).iter().enumerate() {
        let at = path.index(index);
        for (kind, since) in OLD_VOLUMES {
            if volume[kind].is_object() {
                let shown = if kind == "storageos" { "storageOS" } else { kind };
                warnings.push(format!("{}: {since}", at.child(shown)));
            }
        }
        let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        if claim.is_object() {
            let at = at.child("ephemeral");
            let at = at.child("volumeClaimTemplate");
            claim_spec(warnings, claim, &at.child("spec"));
        }
    }
}

/// Of the spec of a claim.
pub(crate) fn claim_spec(warnings: &mut Warnings, spec: &Value, path: &Path<'_>) {
    let at = path.child("resources");
    for list in ["requests", "limits"] {
        fraction(warnings, &spec["resources"][list], "storage", &at.child(list));
    }
}

/// Of a term that selects nodes: old labels and, if nothing refuses them, values that no label can have.
pub(crate) fn selector_term(warnings: &mut Warnings, term: &Value, values_too: bool, path: &Path<'_>) {
    let at = path.child("matchExpressions");
    for (index, one) in items(&term["matchExpressions"]).iter().enumerate() {
        let at = at.index(index);
        if let Some(since) = old_label(text(&one["key"])) {
            warnings.push(format!("{}: {} is {since}", at.child("key"), text(&one["key"])));
        }
        let values = at.child("values");
        for (index, value) in items(&one["values"]).iter().enumerate().filter(|_| values_too) {
            for why in name::label_value(text(value)) {
                warnings.push(format!("{}: {} is invalid, {why}", values.index(index), text(value)));
            }
        }
    }
}

fn node_affinity(warnings: &mut Warnings, affinity: &Value, path: &Path<'_>) {
    let at = path.child(REQUIRED);
    let at = at.child("nodeSelectorTerms");
    for (index, term) in items(&affinity[REQUIRED]["nodeSelectorTerms"]).iter().enumerate() {
        selector_term(warnings, term, false, &at.index(index));
    }
    let at = path.child(PREFERRED);
    for (index, one) in items(&affinity[PREFERRED]).iter().enumerate() {
        selector_term(warnings, &one["preference"], true, &at.index(index).child("preference"));
    }
}

fn pod_affinity(warnings: &mut Warnings, affinity: &Value, path: &Path<'_>) {
    let at = path.child(REQUIRED);
    for (index, term) in items(&affinity[REQUIRED]).iter().enumerate() {
        no_selector(warnings, term, &at.index(index));
    }
    let at = path.child(PREFERRED);
    for (index, one) in items(&affinity[PREFERRED]).iter().enumerate() {
        no_selector(warnings, &one["podAffinityTerm"], &at.index(index).child("podAffinityTerm"));
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

/// Annotations of a template that say what a field says now; those of pods become the field.
fn app_armor(warnings: &mut Warnings, annotations: &Value, spec: &Value, path: &Path<'_>) {
    let set = |context: &Value| context["appArmorProfile"].is_object();
    if is_empty(annotations) || set(&spec["securityContext"]) {
        return;
    }
    super::each_container(spec, path, |container, _| {
        let key = format!("{APP_ARMOR}{}", text(&container["name"]));
        if !annotations[&key].is_null() && !set(&container["securityContext"]) {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            warnings.push(format!("{}: {why}", path.key(&key)));
        }
    });
}

fn seccomp(warnings: &mut Warnings, annotations: &Value, key: &str, context: &Value, path: &Path<'_>) {
    if !annotations[key].is_null() && context["seccompProfile"].is_null() {
        let why = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        warnings.push(format!("{}: {why}", path.key(key)));
    }
}

/// Names that come twice where only one of them counts.
fn doubles(warnings: &mut Warnings, spec: &Value, path: &Path<'_>) {
    let mut repeated = |list: &str, field: &str, shown: &str| {
        let at = path.child(list);
        let list = items(&spec[list]);
        for (index, one) in list.iter().enumerate() {
            let own = text(&one[field]);
            if list[..index].iter().any(|before| text(&before[field]) == own) {
                warnings.push(format!("{}: duplicate {shown} {own:?}", at.index(index).child(field)));
            }
        }
    };
    repeated("hostAliases", "ip", "ip");
    repeated("imagePullSecrets", "name", "name");
    let at = path.child("imagePullSecrets");
    for (index, one) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        if is_empty(&one["name"]) {
            warnings.push(format!("{}: invalid empty name \"\"", at.index(index).child("name")));
        }
    }
}

fn containers(
    warnings: &mut Warnings,
    annotations: &Value,
    spec: &Value,
    path: &Path<'_>,
    annotations_path: &Path<'_>,
) {
    let annotated = !is_empty(annotations);
    if annotated {
        seccomp(warnings, annotations, SECCOMP, &spec["securityContext"], annotations_path);
    }
    super::each_container(spec, path, |container, at| {
        if annotated {
            let key = format!("{SECCOMP_OF_CONTAINER}{}", text(&container["name"]));
            seccomp(warnings, annotations, &key, &container["securityContext"], annotations_path);
        }
        let resources = at.child("resources");
        for name in ["memory", "ephemeral-storage"] {
            for amounts in ["limits", "requests"] {
                fraction(warnings, &container["resources"][amounts], name, &resources.child(amounts));
            }
        }
        variables(warnings, &container["env"], &at.child("env"));
    });
}

/// Ports that are said more than once, in whatever container.
fn ports(warnings: &mut Warnings, spec: &Value, path: &Path<'_>) {
    let mut all: Vec<(&Value, String)> = Vec::new();
    super::each_container(spec, path, |container, at| {
        let at = at.child("ports");
        for (index, port) in items(&container["ports"]).iter().enumerate() {
            let at = at.index(index).to_string();
            let (address, own) = (text(&port["hostIP"]), int(&port["hostPort"]));
            let (number, protocol) = (int(&port["containerPort"]), text(&port["protocol"]));
            if !address.is_empty() && own == 0 {
                let name = text(&port["name"]);
                warnings.push(format!(
                    "{at}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{address}}}"
                ));
            }
            let same = |other: &Value| {
                int(&other["containerPort"]) == number && other["protocol"] == port["protocol"]
            };
            for (other, before) in all.iter().filter(|(other, _)| same(other)) {
                let (other_address, other_own) = (text(&other["hostIP"]), int(&other["hostPort"]));
                let why = if address == other_address && own == other_own {
                    "duplicate"
                } else if own == 0 || other_own == 0 {
                    "overlapping"
                } else if own == other_own && address.is_empty() != other_address.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{at}: {why} port definition with {before}"));
            }
            all.push((port, at));
        }
    });
}

/// A variable that is set again loses what it was, unless the later value is built upon it.
fn variables(warnings: &mut Warnings, list: &Value, path: &Path<'_>) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, one) in items(list).iter().enumerate() {
        let own = text(&one["name"]);
        if seen.insert(own) {
            continue;
        }
        let (value, before) = (text(&one["value"]), format!("$({own})"));
        if one["valueFrom"].is_object() || value == before || !value.contains(&before) {
            warnings.push(format!(
                "{}: hides previous definition of {own:?}, which may be dropped when using apply",
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
