//! Rules for pod specs, alone in Pods and in the templates of everything that makes Pods.
//!
//! Answers to `ValidatePodSpec` and `ValidatePodTemplateSpec` of upstream's core validation.

mod container;
mod default;
mod env;
mod probe;
mod scheduling;
mod security;
mod storage;
pub(crate) mod volume;
pub(crate) mod warning;

use crate::rule::{Errors, address, identity, in_range, label, named, named_text, optional_name, required};
use crate::rule::{required_one_of, resource, unique};
use crate::value::{entries, int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

pub(crate) use container::only_for_pods as containers_only_for_pods;
pub(crate) use default::{default_requests, default_spec};
pub(crate) use scheduling::{node_selector, taint_effect, tolerations};
pub(crate) use storage::{access_modes, claim_spec};

/// What rules about one part of a spec need of its others.
pub(crate) struct Scope<'a> {
    /// Names of volumes that are right, and their sources.
    pub volumes: Vec<(&'a str, &'a Value)>,
    /// Names of resource claims.
    pub claims: Vec<&'a str>,
    /// Grace period of the pod.
    pub grace: Option<i64>,
    /// Restart policy of the pod.
    pub restart_policy: &'a str,
    /// Whether containers share the machine's users.
    pub host_users: bool,
}

const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const NAMESERVERS_MAXIMUM: usize = 3;
const SEARCHES_MAXIMUM: usize = 32;
const SEARCH_LENGTH_MAXIMUM: usize = 2048;

/// A pod spec. `pod` is the name of the Pod, empty if it is a template's; `is_pod` tells them apart.
pub(crate) fn spec(errors: &mut Errors, spec: &Value, pod: &str, is_pod: bool, path: &Path<'_>) {
    if spec["terminationGracePeriodSeconds"].is_null() {
        errors.push(FieldError::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let volumes = volume::volumes(errors, &spec["volumes"], pod, &path.child("volumes"));
    let claims = claims(errors, &spec["resourceClaims"], &path.child("resourceClaims"));
    let scope = Scope {
        volumes,
        claims,
        grace: spec["terminationGracePeriodSeconds"].as_i64(),
        restart_policy: text(&spec["restartPolicy"]),
        host_users: spec["hostUsers"] != false,
    };
    container::containers(errors, &spec["containers"], &scope, &path.child("containers"));
    container::init_containers(errors, spec, &scope, &path.child("initContainers"));
    container::ephemeral_containers(errors, spec, &scope, &path.child("ephemeralContainers"));
    host_network(errors, spec, is_pod, path);
    let policies = ["Always", "OnFailure", "Never"];
    required_one_of(errors, &spec["restartPolicy"], &path.child("restartPolicy"), &policies);
    required_one_of(errors, &spec["dnsPolicy"], &path.child("dnsPolicy"), &DNS_POLICIES);
    label::labels(errors, &spec["nodeSelector"], &path.child("nodeSelector"));
    security::pod(errors, spec, path);
    scheduling::affinity(errors, &spec["affinity"], &path.child("affinity"));
    dns(errors, spec, &path.child("dnsConfig"));
    scheduling::gates(errors, spec, path);
    scheduling::spread(errors, &spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"));
    host_users(errors, spec, path);
    names(errors, spec, path);
    scheduling::tolerations(errors, &spec["tolerations"], &path.child("tolerations"));
    host_aliases(errors, &spec["hostAliases"], &path.child("hostAliases"));
    rest(errors, spec, path);
    security::operating_system(errors, spec, path);
}

fn names(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    optional_name(
        errors,
        &spec["serviceAccountName"],
        &path.child("serviceAccountName"),
        name::dns_subdomain,
    );
    optional_name(errors, &spec["nodeName"], &path.child("nodeName"), name::dns_subdomain);
    in_range(
        errors,
        &spec["activeDeadlineSeconds"],
        &path.child("activeDeadlineSeconds"),
        1,
        i64::from(i32::MAX),
    );
    optional_name(errors, &spec["hostname"], &path.child("hostname"), name::dns_label);
    optional_name(errors, &spec["subdomain"], &path.child("subdomain"), name::dns_label);
}

fn rest(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    optional_name(errors, &spec["priorityClassName"], &path.child("priorityClassName"), name::dns_subdomain);
    if !spec["runtimeClassName"].is_null() {
        named(errors, &spec["runtimeClassName"], &path.child("runtimeClassName"), name::dns_subdomain);
    }
    if !spec["preemptionPolicy"].is_null() {
        let policies = ["PreemptLowerPriority", "Never"];
        required_one_of(errors, &spec["preemptionPolicy"], &path.child("preemptionPolicy"), &policies);
    }
    let overhead = path.child("overhead");
    let overhead = overhead.child("limits");
    for (one, value) in entries(&spec["overhead"]) {
        resource::container_resource_name(errors, one, &overhead.key(one));
        resource::amount(errors, one, value, &overhead.key(one));
    }
    let total = &spec["resources"];
    if !is_empty(total) {
        resource::requirements(errors, total, &path.child("resources"));
    }
}

fn claims<'a>(errors: &mut Errors, list: &'a Value, path: &Path<'_>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (index, claim) in items(list).iter().enumerate() {
        let at = path.index(index);
        if !required(errors, &claim["name"], &at.child("name")) {
            let one = text(&claim["name"]);
            if names.contains(&one) {
                errors.push(FieldError::duplicate(&at.child("name"), one));
            } else {
                named_text(errors, one, &at.child("name"), name::dns_label);
                names.push(one);
            }
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|source| !claim[**source].is_null()).count() {
            0 => errors.push(FieldError::invalid(
                &at,
                claim.clone(),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            )),
            1 => {}
            _ => errors.push(FieldError::invalid(
                &at,
                claim.clone(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            )),
        }
        for source in sources {
            optional_name(errors, &claim[source], &at.child(source), name::dns_subdomain);
        }
    }
    names
}

fn host_network(errors: &mut Errors, spec: &Value, is_pod: bool, path: &Path<'_>) {
    if spec["hostNetwork"] != true {
        return;
    }
    let path = path.child("containers");
    for (index, container) in items(&spec["containers"]).iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in items(&container["ports"]).iter().enumerate() {
            let (host, own) = (int(&port["hostPort"]), int(&port["containerPort"]));
            if (is_pod || host != 0) && host != own {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path.index(index).child("hostPort"), host, why));
            }
        }
    }
}

fn host_users(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    if spec["hostUsers"] != false {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec[field] == true {
            errors.push(FieldError::forbidden(&path.child(shown), "when `pod.Spec.HostUsers` is false"));
        }
    }
}

fn dns(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let config = &spec["dnsConfig"];
    let servers = &config["nameservers"];
    if spec["dnsPolicy"] == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.push(FieldError::required(path, why));
        }
        if is_empty(servers) {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(FieldError::required(&path.child("nameservers"), why));
        }
    }
    if config.is_null() {
        return;
    }
    let at = path.child("nameservers");
    if items(servers).len() > NAMESERVERS_MAXIMUM {
        let why = format!("must not have more than {NAMESERVERS_MAXIMUM} nameservers");
        errors.push(FieldError::invalid(&at, servers.clone(), &why));
    }
    for (index, server) in items(servers).iter().enumerate() {
        address::ip(errors, server, &at.index(index));
    }
    searches(errors, &config["searches"], &path.child("searches"));
    let at = path.child("options");
    for (index, option) in items(&config["options"]).iter().enumerate() {
        if is_empty(&option["name"]) {
            errors.push(FieldError::required(&at.index(index), "must not be empty"));
        }
    }
}

fn search_name(search: &str) -> Vec<String> {
    // A lone dot stands for no search at all; underscores are common in search paths.
    if search == "." {
        return Vec::new();
    }
    name::dns_subdomain(&search.strip_suffix('.').unwrap_or(search).replace('_', "x"))
}

fn searches(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let searches = items(list);
    if searches.len() > SEARCHES_MAXIMUM {
        let why = format!("must not have more than {SEARCHES_MAXIMUM} search paths");
        errors.push(FieldError::invalid(path, list.clone(), &why));
    }
    let length = searches.iter().map(|one| text(one).len() + 1).sum::<usize>();
    if length > SEARCH_LENGTH_MAXIMUM + 1 {
        let why = format!(
            "must not have more than {SEARCH_LENGTH_MAXIMUM} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(path, list.clone(), &why));
    }
    for (index, search) in searches.iter().enumerate() {
        named(errors, search, &path.index(index), search_name);
    }
}

fn host_aliases(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, alias) in items(list).iter().enumerate() {
        let at = path.index(index);
        address::ip(errors, &alias["ip"], &at.child("ip"));
        let at = at.child("hostnames");
        for (index, host) in items(&alias["hostnames"]).iter().enumerate() {
            named(errors, host, &at.index(index), name::dns_subdomain);
        }
    }
}

/// The annotations of a Pod or template that mean something to Kubernetes.
pub(crate) fn annotations(errors: &mut Errors, annotations: &Value, spec: &Value, path: &Path<'_>) {
    if is_empty(annotations) {
        return;
    }
    let mirror = &annotations["kubernetes.io/config.mirror"];
    if !mirror.is_null() && is_empty(&spec["nodeName"]) {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key("kubernetes.io/config.mirror"), mirror.clone(), why));
    }
    let cost = &annotations["controller.kubernetes.io/pod-deletion-cost"];
    if !cost.is_null() && text(cost).parse::<i32>().is_err() || text(cost).starts_with('+') {
        let key = path.key("controller.kubernetes.io/pod-deletion-cost");
        errors.push(FieldError::invalid(&key, cost.clone(), "must be a 32bit integer"));
    }
}

/// A pod template: labels, annotations, spec.
pub(crate) fn template(errors: &mut Errors, template: &Value, path: &Path<'_>) {
    let metadata = &template["metadata"];
    label::labels(errors, &metadata["labels"], &path.child("labels"));
    label::annotations(errors, &metadata["annotations"], &path.child("annotations"));
    annotations(errors, &metadata["annotations"], &template["spec"], &path.child("annotations"));
    let at = path.child("spec");
    spec(errors, &template["spec"], "", false, &at);
    if !is_empty(&template["spec"]["ephemeralContainers"]) {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&at.child("ephemeralContainers"), why));
    }
}

/// IDs of users and groups of a security context.
fn identities(errors: &mut Errors, context: &Value, path: &Path<'_>) {
    for field in ["runAsUser", "runAsGroup"] {
        identity(errors, &context[field], &path.child(field));
    }
}

/// Reports a second volume or container of one name.
fn unique_name<'a>(errors: &mut Errors, seen: &mut Vec<&'a str>, one: &'a Value, path: &Path<'_>) {
    unique(errors, seen, text(&one["name"]), &path.child("name"));
}
