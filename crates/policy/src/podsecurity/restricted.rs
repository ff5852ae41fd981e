//! What level restricted asks besides level baseline, in the order of the checks' names.

use super::baseline::{proc_mount, seccomp};
use super::{
    Check, Finding, containers, finding, name_of, named, own_users, plural, quoted, setters, windows,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// The table.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "allowPrivilegeEscalation",
        versions: &[(8, escalation), (25, escalation_25)],
        overrides: "",
    },
    Check {
        id: "capabilities_restricted",
        versions: &[(22, capabilities), (25, capabilities_25)],
        overrides: "capabilities_baseline",
    },
    Check { id: "procMount_restricted", versions: &[(35, proc_mount)], overrides: "procMount" },
    Check { id: "restrictedVolumes", versions: &[(0, volumes)], overrides: "hostPathVolumes" },
    Check { id: "runAsNonRoot", versions: &[(0, non_root), (35, non_root_35)], overrides: "" },
    Check { id: "runAsUser", versions: &[(23, user), (35, user_35)], overrides: "" },
    Check {
        id: "seccompProfile_restricted",
        versions: &[(19, seccomp_needed), (25, seccomp_needed_25)],
        overrides: "seccompProfile_baseline",
    },
];

fn escalation(_: &Value, spec: &Value) -> Option<Finding> {
    let names: Vec<&str> = containers(spec)
        .filter(|container| container["securityContext"]["allowPrivilegeEscalation"] != false)
        .map(name_of)
        .collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&names));
    finding("allowPrivilegeEscalation != false", detail)
}

fn escalation_25(metadata: &Value, spec: &Value) -> Option<Finding> {
    if windows(spec) { None } else { escalation(metadata, spec) }
}

fn capabilities(_: &Value, spec: &Value) -> Option<Finding> {
    let (mut keeping, mut adding, mut added) = (Vec::new(), Vec::new(), BTreeSet::new());
    for container in containers(spec) {
        let capabilities = &container["securityContext"]["capabilities"];
        let list = |field: &str| capabilities[field].as_array().map_or(&[] as &[Value], Vec::as_slice);
        if !list("drop").iter().any(|one| one == "ALL") {
            keeping.push(name_of(container));
        }
        let more: Vec<&str> =
            list("add").iter().filter_map(Value::as_str).filter(|one| *one != "NET_BIND_SERVICE").collect();
        if !more.is_empty() {
            adding.push(name_of(container));
            added.extend(more);
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeping)));
    }
    if !adding.is_empty() {
        let added: Vec<&str> = added.into_iter().collect();
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named(&adding),
            quoted(&added)
        ));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

fn capabilities_25(metadata: &Value, spec: &Value) -> Option<Finding> {
    if windows(spec) { None } else { capabilities(metadata, spec) }
}

fn volumes(_: &Value, spec: &Value) -> Option<Finding> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    const RESTRICTED: [&str; 21] = [
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
        "storageos",
    ];
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let is = |source: &&&str| volume[**source].is_object();
        if ALLOWED.iter().find(is).is_some() {
            continue;
        }
        names.push(name_of(volume));
        kinds.insert(RESTRICTED.iter().find(is).copied().unwrap_or("unknown"));
    }
    if names.is_empty() {
        return None;
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    finding("restricted volume types", detail)
}

fn non_root(_: &Value, spec: &Value) -> Option<Finding> {
    const REASON: &str = "runAsNonRoot != true";
    let of_pod = spec["securityContext"]["runAsNonRoot"].as_bool();
    let said = |container: &Value| container["securityContext"]["runAsNonRoot"].as_bool();
    let wrong: Vec<&str> = containers(spec).filter(|one| said(one) == Some(false)).map(name_of).collect();
    if let Some(who) = setters(of_pod == Some(false), &wrong) {
        return finding(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent: Vec<&str> =
        containers(spec).filter(|one| said(one).is_none() && of_pod != Some(true)).map(name_of).collect();
    if silent.is_empty() {
        return None;
    }
    finding(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&silent)))
}

fn non_root_35(metadata: &Value, spec: &Value) -> Option<Finding> {
    if own_users(spec) { None } else { non_root(metadata, spec) }
}

fn user(_: &Value, spec: &Value) -> Option<Finding> {
    let root = |context: &Value| context["runAsUser"] == 0;
    let names: Vec<&str> =
        containers(spec).filter(|one| root(&one["securityContext"])).map(name_of).collect();
    let who = setters(root(&spec["securityContext"]), &names)?;
    finding("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn user_35(metadata: &Value, spec: &Value) -> Option<Finding> {
    if own_users(spec) { None } else { user(metadata, spec) }
}

fn seccomp_needed(metadata: &Value, spec: &Value) -> Option<Finding> {
    let wrong = seccomp(metadata, spec);
    if wrong.is_some() {
        return wrong;
    }
    if spec["securityContext"]["seccompProfile"].is_object() {
        return None;
    }
    let silent = |one: &&Value| !one["securityContext"]["seccompProfile"].is_object();
    let names: Vec<&str> = containers(spec).filter(silent).map(name_of).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&names)
    );
    finding("seccompProfile", detail)
}

fn seccomp_needed_25(metadata: &Value, spec: &Value) -> Option<Finding> {
    if windows(spec) { None } else { seccomp_needed(metadata, spec) }
}
