//! Rules for containers of all three sorts.

use super::{Scope, env, probe, security, unique_name, volume};
use crate::rule::{
    Errors, address, named_text, one_of, required, required_name, required_one_of, resource, unique,
};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RULES_MAXIMUM: usize = 20;
const EXIT_CODES_MAXIMUM: usize = 255;
/// What debugging containers may not have, in the order of the type.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// The containers that a pod is for.
pub(super) fn containers(errors: &mut Errors, list: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    if required(errors, list, path) {
        return;
    }
    let mut seen = Vec::new();
    for (index, container) in items(list).iter().enumerate() {
        let at = path.index(index);
        common(errors, container, scope, &at);
        unique_name(errors, &mut seen, container, &at);
        running(errors, container, scope, &at);
        restart_rules(errors, container, &at);
    }
    host_ports(errors, items(list), path);
}

/// The containers that run before them, or beside them.
pub(super) fn init_containers(errors: &mut Errors, spec: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let mut seen: Vec<&str> = items(&spec["containers"]).iter().map(|one| text(&one["name"])).collect();
    for (index, container) in items(&spec["initContainers"]).iter().enumerate() {
        let at = path.index(index);
        common(errors, container, scope, &at);
        restart_rules(errors, container, &at);
        if seen.contains(&text(&container["name"])) {
            errors.push(FieldError::duplicate(&at.child("name"), text(&container["name"])));
        } else if !is_empty(&container["name"]) {
            seen.push(text(&container["name"]));
        }
        host_ports(errors, std::slice::from_ref(container), path);
        if container["restartPolicy"] == "Always" {
            running(errors, container, scope, &at);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if !container[field].is_null() {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(&at.child(field), why));
            }
        }
        let policies = at.child("resizePolicy");
        for (index, policy) in items(&container["resizePolicy"]).iter().enumerate() {
            if policy["restartPolicy"] == "RestartContainer" {
                let at = policies.index(index);
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(FieldError::invalid(&at.child("restartPolicy"), "RestartContainer", why));
            }
        }
    }
}

/// The containers that were added to debug the others.
pub(super) fn ephemeral_containers(errors: &mut Errors, spec: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let list = items(&spec["ephemeralContainers"]);
    if list.is_empty() {
        return;
    }
    let others = ["containers", "initContainers"].into_iter().flat_map(|field| items(&spec[field]));
    let others: Vec<&str> = others.map(|one| text(&one["name"])).collect();
    let mut seen = others.clone();
    for (index, container) in list.iter().enumerate() {
        let at = path.index(index);
        common(errors, container, scope, &at);
        padded_image(errors, container, &at);
        unique_name(errors, &mut seen, container, &at);
        let target = text(&container["targetContainerName"]);
        if !target.is_empty() && !others.contains(&target) {
            errors.push(FieldError::not_found(&at.child("targetContainerName"), target));
        }
        for field in NOT_EPHEMERAL {
            if !is_empty(&container[field]) {
                let why = "cannot be set for an Ephemeral Container";
                errors.push(FieldError::forbidden(&at.child(field), why));
            }
        }
        let mounts = at.child("volumeMounts");
        for (index, mount) in items(&container["volumeMounts"]).iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !is_empty(&mount[field]) {
                    let why = "cannot be set for an Ephemeral Container";
                    errors.push(FieldError::forbidden(&mounts.index(index).child(field), why));
                }
            }
        }
    }
}

/// What holds for containers of every sort.
fn common(errors: &mut Errors, container: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    required_name(errors, &container["name"], &path.child("name"), name::dns_label);
    required(errors, &container["image"], &path.child("image"));
    let policy = "terminationMessagePolicy";
    required_one_of(errors, &container[policy], &path.child(policy), &MESSAGE_POLICIES);
    ports(errors, &container["ports"], &path.child("ports"));
    env::variables(errors, &container["env"], scope, &path.child("env"));
    env::sources(errors, &container["envFrom"], &path.child("envFrom"));
    volume::mounts(errors, container, scope, &path.child("volumeMounts"));
    volume::devices(errors, container, scope, &path.child("volumeDevices"));
    let pull = "imagePullPolicy";
    required_one_of(errors, &container[pull], &path.child(pull), &PULL_POLICIES);
    let resources = &container["resources"];
    if !is_empty(resources) {
        let path = path.child("resources");
        resource::requirements(errors, resources, resource::container_resource_name, &path);
        resource::claims(errors, &resources["claims"], &scope.claims, &path.child("claims"));
    }
    resize(errors, &container["resizePolicy"], scope, &path.child("resizePolicy"));
    security::container(errors, &container["securityContext"], scope, &path.child("securityContext"));
}

/// Life cycle and probes of containers that run as long as the pod.
fn running(errors: &mut Errors, container: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let lifecycle = &container["lifecycle"];
    if !lifecycle.is_null() {
        let path = path.child("lifecycle");
        for field in ["postStart", "preStop"] {
            if !lifecycle[field].is_null() {
                probe::action(errors, &lifecycle[field], scope.grace, true, &path.child(field));
            }
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[field].is_null() {
            probe::probe(errors, &container[field], field, &path.child(field));
        }
    }
}

/// A container's own restart policy and the rules that change it by exit code.
fn restart_rules(errors: &mut Errors, container: &Value, path: &Path<'_>) {
    let (policy, rules) = (&container["restartPolicy"], items(&container["restartPolicyRules"]));
    let own = path.child("restartPolicy");
    if policy.is_null() {
        if rules.is_empty() {
            return;
        }
        errors.push(FieldError::required(&own, "must specify restartPolicy when restart rules are used"));
    } else {
        one_of(errors, policy, &own, &["Always", "Never", "OnFailure"]);
    }
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MAXIMUM {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAXIMUM));
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = path.index(index);
        one_of(errors, &rule["action"], &at.child("action"), &["Restart", "RestartAllContainers"]);
        let codes = &rule["exitCodes"];
        if codes.is_null() {
            errors.push(FieldError::required(&at.child("exitCodes"), "must be specified"));
            continue;
        }
        let at = at.child("exitCodes");
        one_of(errors, &codes["operator"], &at.child("operator"), &["In", "NotIn"]);
        let count = items(&codes["values"]).len();
        if count > EXIT_CODES_MAXIMUM {
            errors.push(FieldError::too_many(&at.child("values"), count, EXIT_CODES_MAXIMUM));
        }
    }
}

fn ports(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let mut seen = Vec::new();
    for (index, port) in items(list).iter().enumerate() {
        let at = path.index(index);
        let one = text(&port["name"]);
        if !one.is_empty() {
            let before = errors.len();
            named_text(errors, one, &at.child("name"), address::port_name);
            if errors.len() == before {
                unique(errors, &mut seen, one, &at.child("name"));
            }
        }
        if int(&port["containerPort"]) == 0 {
            errors.push(FieldError::required(&at.child("containerPort"), ""));
        } else {
            address::port(errors, &port["containerPort"], &at.child("containerPort"));
        }
        if int(&port["hostPort"]) != 0 {
            address::port(errors, &port["hostPort"], &at.child("hostPort"));
        }
        required_one_of(errors, &port["protocol"], &at.child("protocol"), &PROTOCOLS);
    }
}

fn host_ports(errors: &mut Errors, containers: &[Value], path: &Path<'_>) {
    let mut seen: Vec<String> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let at = path.index(index);
        let at = at.child("ports");
        for (index, port) in items(&container["ports"]).iter().enumerate() {
            let host = int(&port["hostPort"]);
            if host == 0 {
                continue;
            }
            let taken = format!("{}/{}/{host}", text(&port["protocol"]), text(&port["hostIP"]));
            if seen.contains(&taken) {
                errors.push(FieldError::duplicate(&at.index(index).child("hostPort"), taken));
            } else {
                seen.push(taken);
            }
        }
    }
}

fn resize(errors: &mut Errors, list: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let mut seen = Vec::new();
    for (index, policy) in items(list).iter().enumerate() {
        let resource = text(&policy["resourceName"]);
        unique(errors, &mut seen, resource, &path.index(index));
        required_one_of(errors, &policy["resourceName"], path, &["cpu", "memory"]);
        let action = &policy["restartPolicy"];
        required_one_of(errors, action, path, &["NotRequired", "RestartContainer"]);
        if scope.restart_policy == "Never" && action != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, text(action), why));
        }
    }
}

fn padded_image(errors: &mut Errors, container: &Value, path: &Path<'_>) {
    let image = text(&container["image"]);
    if image.trim().len() != image.len() {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, why));
    }
}

/// Images of containers: there, and without space around them.
pub(crate) fn images(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, container) in items(list).iter().enumerate() {
        let at = path.index(index);
        required(errors, &container["image"], &at.child("image"));
        padded_image(errors, container, &at);
    }
}

/// What holds for the containers of Pods, but not yet for those of templates.
pub(crate) fn only_for_pods(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, container) in items(list).iter().enumerate() {
        padded_image(errors, container, &path.index(index));
    }
}
