//! The checks of level baseline, in the order of their names.

use super::{Check, Finding, containers, finding, name_of, named, own_users, plural, quoted, setters};
use serde_json::Value;
use std::collections::BTreeSet;

/// The table.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "appArmorProfile", versions: &[(0, app_armor)], overrides: "" },
    Check { id: "capabilities_baseline", versions: &[(0, capabilities)], overrides: "" },
    Check { id: "hostNamespaces", versions: &[(0, host_namespaces)], overrides: "" },
    Check { id: "hostPathVolumes", versions: &[(0, host_paths)], overrides: "" },
    Check { id: "hostPorts", versions: &[(0, host_ports)], overrides: "" },
    Check { id: "hostProbesAndHostLifecycle", versions: &[(34, hosts)], overrides: "" },
    Check { id: "privileged", versions: &[(0, privileged)], overrides: "" },
    Check { id: "procMount", versions: &[(0, proc_mount), (35, proc_mount_of_hosts_users)], overrides: "" },
    Check { id: "seLinuxOptions", versions: &[(0, se_linux), (31, se_linux_31)], overrides: "" },
    Check {
        id: "seccompProfile_baseline",
        versions: &[(0, seccomp_annotations), (19, seccomp)],
        overrides: "",
    },
    Check {
        id: "sysctls",
        versions: &[(0, sysctls_0), (27, sysctls_27), (29, sysctls_29), (32, sysctls_32), (37, sysctls_37)],
        overrides: "",
    },
    Check { id: "windowsHostProcess", versions: &[(0, windows_host_process)], overrides: "" },
];

/// Names of containers that something holds for.
fn where_containers(spec: &Value, holds: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(spec).filter(|container| holds(container)).map(name_of).collect()
}

/// Values at a place of the security contexts that are there and not allowed, with who set them.
fn set_badly(spec: &Value, field: &str, allowed: &[&str]) -> (bool, Vec<String>, BTreeSet<String>) {
    let mut values = BTreeSet::new();
    let mut bad = |context: &Value| {
        let profile = &context[field];
        if !profile.is_object() {
            return false;
        }
        let kind = profile["type"].as_str().unwrap_or_default();
        let bad = !allowed.contains(&kind);
        if bad {
            values.insert(kind.to_owned());
        }
        bad
    };
    let pod = bad(&spec["securityContext"]);
    let names =
        containers(spec).filter(|one| bad(&one["securityContext"])).map(|one| name_of(one).to_owned());
    let names = names.collect();
    (pod, names, values)
}

fn app_armor(metadata: &Value, spec: &Value) -> Option<Finding> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let (pod, names, values) = set_badly(spec, "appArmorProfile", &["RuntimeDefault", "Localhost"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut values: Vec<String> = values.into_iter().collect();
    let mut who: Vec<String> = Vec::new();
    who.extend(pod.then(|| "pod".to_owned()));
    who.extend((!names.is_empty()).then(|| named(&names)));
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let mut annotated: Vec<String> = annotations
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| {
            let allowed = value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(ANNOTATION) && !allowed
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !annotated.is_empty() {
        annotated.sort();
        who.push(plural("annotation", "annotations", annotated.len()).to_owned());
        values.extend(annotated);
    }
    if who.is_empty() {
        return None;
    }
    let detail = format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
    finding(plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len()), detail)
}

fn capabilities(_: &Value, spec: &Value) -> Option<Finding> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    fn more(container: &Value) -> impl Iterator<Item = &str> {
        let added = container["securityContext"]["capabilities"]["add"].as_array().into_iter().flatten();
        added.filter_map(Value::as_str).filter(|one| !ALLOWED.contains(one))
    }
    let names = where_containers(spec, |container| more(container).next().is_some());
    let values: BTreeSet<&str> = containers(spec).flat_map(more).collect();
    if names.is_empty() {
        return None;
    }
    let values: Vec<&str> = values.into_iter().collect();
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", named(&names), quoted(&values));
    finding("non-default capabilities", detail)
}

fn host_namespaces(_: &Value, spec: &Value) -> Option<Finding> {
    let set = ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|field| spec[**field] == true);
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    if set.is_empty() { None } else { finding("host namespaces", set.join(", ")) }
}

fn host_paths(_: &Value, spec: &Value) -> Option<Finding> {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes.filter(|volume| volume["hostPath"].is_object()).map(name_of).collect();
    if names.is_empty() {
        return None;
    }
    finding("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names)))
}

fn host_ports(_: &Value, spec: &Value) -> Option<Finding> {
    fn ports(container: &Value) -> impl Iterator<Item = String> {
        let all = container["ports"].as_array().into_iter().flatten();
        all.filter_map(|port| port["hostPort"].as_i64())
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
    }
    let names = where_containers(spec, |container| ports(container).next().is_some());
    if names.is_empty() {
        return None;
    }
    let values: BTreeSet<String> = containers(spec).flat_map(ports).collect();
    let detail = format!(
        "{} {} {} {}",
        named(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", values.len()),
        values.into_iter().collect::<Vec<_>>().join(", ")
    );
    finding("hostPort", detail)
}

fn hosts(_: &Value, spec: &Value) -> Option<Finding> {
    fn named_hosts(container: &Value) -> impl Iterator<Item = &str> {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        let hosts = handlers.into_iter().flat_map(|one| [&one["httpGet"]["host"], &one["tcpSocket"]["host"]]);
        hosts.filter_map(Value::as_str).filter(|host| !host.is_empty())
    }
    let names: BTreeSet<&str> =
        where_containers(spec, |container| named_hosts(container).next().is_some()).into_iter().collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let values: BTreeSet<&str> = containers(spec).flat_map(named_hosts).collect();
    let values: Vec<&str> = values.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        named(&names),
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", values.len()),
        quoted(&values)
    );
    finding("probe or lifecycle host", detail)
}

fn privileged(_: &Value, spec: &Value) -> Option<Finding> {
    let names = where_containers(spec, |one| one["securityContext"]["privileged"] == true);
    if names.is_empty() {
        return None;
    }
    finding("privileged", format!("{} must not set securityContext.privileged=true", named(&names)))
}

/// Also a check of level restricted.
pub(super) fn proc_mount(_: &Value, spec: &Value) -> Option<Finding> {
    fn mount(container: &Value) -> Option<&str> {
        container["securityContext"]["procMount"].as_str().filter(|mount| *mount != "Default")
    }
    let names = where_containers(spec, |container| mount(container).is_some());
    if names.is_empty() {
        return None;
    }
    let values: BTreeSet<&str> = containers(spec).filter_map(mount).collect();
    let values: Vec<&str> = values.into_iter().collect();
    let detail = format!("{} must not set securityContext.procMount to {}", named(&names), quoted(&values));
    finding("procMount", detail)
}

fn proc_mount_of_hosts_users(metadata: &Value, spec: &Value) -> Option<Finding> {
    if own_users(spec) { None } else { proc_mount(metadata, spec) }
}

fn se_linux(_: &Value, spec: &Value) -> Option<Finding> {
    se_linux_types(spec, &["", "container_t", "container_init_t", "container_kvm_t"])
}

fn se_linux_31(_: &Value, spec: &Value) -> Option<Finding> {
    se_linux_types(spec, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux_types(spec: &Value, allowed: &[&str]) -> Option<Finding> {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let mut bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let text = |field: &str| options[field].as_str().unwrap_or_default().to_owned();
        let kind = text("type");
        let (sets_user, sets_role) = (!text("user").is_empty(), !text("role").is_empty());
        user |= sets_user;
        role |= sets_role;
        let bad_type = !allowed.contains(&kind.as_str());
        if bad_type {
            types.insert(kind);
        }
        bad_type || sets_user || sets_role
    };
    let pod = bad(&spec["securityContext"]);
    let names: Vec<&str> =
        containers(spec).filter(|container| bad(&container["securityContext"])).map(name_of).collect();
    let who = setters(pod, &names)?;
    let mut data = Vec::new();
    if !types.is_empty() {
        let types: Vec<String> = types.into_iter().collect();
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    data.extend(user.then(|| "user may not be set".to_owned()));
    data.extend(role.then(|| "role may not be set".to_owned()));
    finding(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", data.join("; ")),
    )
}

fn seccomp_annotations(metadata: &Value, spec: &Value) -> Option<Finding> {
    let mut forbidden = BTreeSet::new();
    let of_containers = containers(spec)
        .map(|container| format!("container.seccomp.security.alpha.kubernetes.io/{}", name_of(container)));
    for key in std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(of_containers) {
        let Some(value) = metadata["annotations"][&key].as_str() else { continue };
        if !matches!(value, "runtime/default" | "docker/default") && !value.starts_with("localhost/") {
            forbidden.insert(format!("{key}={value:?}"));
        }
    }
    if forbidden.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", forbidden.len());
    let list = forbidden.into_iter().collect::<Vec<_>>().join(", ");
    finding("seccompProfile", format!("forbidden {word} {list}"))
}

/// Also the first half of the check of level restricted.
pub(super) fn seccomp(_: &Value, spec: &Value) -> Option<Finding> {
    let (pod, names, values) = set_badly(spec, "seccompProfile", &["RuntimeDefault", "Localhost"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let who = setters(pod, &names)?;
    let values: Vec<String> = values.into_iter().collect();
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&values));
    finding("seccompProfile", detail)
}

/// Names in the order of the versions that allowed them.
const SYSCTLS: [(u32, &str); 14] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
    (37, "net.ipv4.tcp_slow_start_after_idle"),
    (37, "net.ipv4.tcp_notsent_lowat"),
];

fn sysctls(spec: &Value, minor: u32) -> Option<Finding> {
    let set = spec["securityContext"]["sysctls"].as_array().into_iter().flatten().map(name_of);
    let allowed = |name: &str| SYSCTLS.iter().any(|(from, allowed)| *from <= minor && *allowed == name);
    let forbidden: Vec<&str> = set.filter(|name| !allowed(name)).collect();
    if forbidden.is_empty() { None } else { finding("forbidden sysctls", forbidden.join(", ")) }
}

fn sysctls_0(_: &Value, spec: &Value) -> Option<Finding> {
    sysctls(spec, 0)
}

fn sysctls_27(_: &Value, spec: &Value) -> Option<Finding> {
    sysctls(spec, 27)
}

fn sysctls_29(_: &Value, spec: &Value) -> Option<Finding> {
    sysctls(spec, 29)
}

fn sysctls_32(_: &Value, spec: &Value) -> Option<Finding> {
    sysctls(spec, 32)
}

fn sysctls_37(_: &Value, spec: &Value) -> Option<Finding> {
    sysctls(spec, 37)
}

fn windows_host_process(_: &Value, spec: &Value) -> Option<Finding> {
    let set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let names = where_containers(spec, |container| set(&container["securityContext"]));
    let who = setters(set(&spec["securityContext"]), &names)?;
    finding("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
