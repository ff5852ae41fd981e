//! Rules for pod specs, alone in Pods and in the templates of everything that makes Pods.
//!
//! Answers to `ValidatePodSpec` and `ValidatePodTemplateSpec` of upstream's core validation.

mod aggregate;
pub(crate) mod annotation;
pub(crate) mod app_armor;
mod container;
mod default;
mod disabled;
mod env;
mod overlap;
mod probe;
mod projected;
mod scheduling;
mod security;
pub(crate) mod source;
mod storage;
mod volume;
pub(crate) mod warning;
mod windows;

use crate::rule::shown::{self, showing};
use crate::rule::{Errors, address, exactly_one, identity, in_range, label, named, named_text};
use crate::rule::{optional_name, required, required_one_of, resource, unique};
use crate::value::{entries, int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};
use std::cell::Cell;

pub(crate) use annotation::{annotations, match_fields as annotations_match_fields};
pub(crate) use container::{images, only_for_pods as containers_only_for_pods};
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
    /// Whether a variable was found that comes out of a file.
    pub files: Cell<bool>,
}

const HOST_NAME_MAXIMUM: usize = 64;
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const SEARCH_MAXIMUM: usize = 253;
const SEARCH_NAME: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
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
        files: Cell::new(false),
    };
    container::containers(errors, &spec["containers"], &scope, &path.child("containers"));
    container::init_containers(errors, spec, &scope, &path.child("initContainers"));
    container::ephemeral_containers(errors, spec, &scope, &path.child("ephemeralContainers"));
    whole_resources(errors, spec, &path.child("resources"));
    host_network(errors, spec, is_pod, path);
    let policies = ["Always", "OnFailure", "Never"];
    required_one_of(errors, &spec["restartPolicy"], &path.child("restartPolicy"), &policies);
    required_one_of(errors, &spec["dnsPolicy"], &path.child("dnsPolicy"), &DNS_POLICIES);
    label::labels(errors, &spec["nodeSelector"], &path.child("nodeSelector"));
    security::pod(errors, spec, path);
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    scheduling::affinity(errors, &spec["affinity"], &path.child("affinity"));
    dns(errors, spec, &path.child("dnsConfig"));
    scheduling::gates(errors, spec, path);
    scheduling::spread(errors, &spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"));
    windows::host_process(errors, spec, path);
    host_users(errors, spec, path);
    host_name(errors, spec, path);
    names(errors, spec, path);
    scheduling::tolerations(errors, &spec["tolerations"], &path.child("tolerations"));
    host_aliases(errors, &spec["hostAliases"], &path.child("hostAliases"));
    rest(errors, spec, path);
    windows::operating_system(errors, spec, path);
    if scope.files.get() {
        env::file_volumes(errors, spec, path);
    }
}

/// Visits containers of all sorts, in upstream's order.
fn each_container<'a>(spec: &'a Value, path: &Path<'_>, mut visit: impl FnMut(&'a Value, &Path<'_>)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let at = path.child(list);
        for (index, container) in items(&spec[list]).iter().enumerate() {
            visit(container, &at.index(index));
        }
    }
}

fn names(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    optional_name(
        errors,
        &spec["serviceAccountName"],
        &path.child("serviceAccountName"),
        name::dns_subdomain,
    );
    optional_name(errors, &spec["nodeName"], &path.child("nodeName"), name::dns_subdomain);
    let (group, field, at) = (&spec["schedulingGroup"], "podGroupName", path.child("schedulingGroup"));
    if !group.is_null() {
        exactly_one(errors, group, &at, &[field]);
    }
    if !group[field].is_null() {
        named(errors, &group[field], &at.child(field), name::dns_subdomain);
    }
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
    let overhead = &spec["overhead"];
    if !is_empty(overhead) {
        let limits = json!({ "limits": overhead });
        let rule = resource::container_resource_name;
        resource::requirements(errors, &limits, rule, &path.child("overhead"));
    }
}

/// What a pod asks for as a whole: no less than its containers together.
fn whole_resources(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let whole = &spec["resources"];
    if whole.is_null() {
        return;
    }
    if spec["os"]["name"] == "windows" {
        return errors.push(FieldError::forbidden(path, "may not be set for a windows pod"));
    }
    if !whole["claims"].is_null() {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(&path.child("claims"), why));
    }
    resource::requirements(errors, whole, resource::pod_resource_name, path);
    let together = |errors: &mut Errors, side: &str, one: &str, given: &Value| {
        let (sum, given) = (aggregate::sum(spec, side, one), resource::quantity(given));
        if let Some(sum) = sum.filter(|sum| *sum > given) {
            let why = format!("must be greater than or equal to aggregate container {side} of {sum}");
            errors.push(FieldError::invalid(&path.child(side).key(one), given.to_string(), &why));
        }
    };
    for (one, given) in entries(&whole["requests"]) {
        together(errors, "requests", one, given);
    }
    for (one, given) in entries(&whole["limits"]).filter(|(one, _)| resource::is_huge_page(one)) {
        together(errors, "limits", one, given);
    }
    let at = path.child("containers");
    for (index, container) in items(&spec["containers"]).iter().enumerate() {
        for (one, own) in entries(&container["resources"]["limits"]) {
            let Some(most) = whole["limits"].get(one).map(resource::quantity) else { continue };
            let own = resource::quantity(own);
            if own > most {
                let at = at.index(index);
                let at = at.key(one);
                let why = format!("must be less than or equal to pod limits of {most}");
                errors.push(FieldError::invalid(&at.child("limits"), own.to_string(), &why));
            }
        }
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
        let mut wrong = |why: &str| {
            errors.push(showing(FieldError::invalid(&at, "", why), claim, shown::POD_CLAIM));
        };
        match sources.iter().filter(|source| !claim[**source].is_null()).count() {
            0 => wrong("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => {}
            _ => wrong("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        }
        for source in sources {
            // An empty name is one, too.
            if !claim[source].is_null() {
                named(errors, &claim[source], &at.child(source), name::dns_subdomain);
            }
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
    let why = "when `hostUsers` is false";
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec[field] == true {
            errors.push(FieldError::forbidden(&path.child(shown), why));
        }
    }
    each_container(spec, path, |container, path| {
        if !is_empty(&container["volumeDevices"]) {
            errors.push(FieldError::forbidden(&path.child("volumeDevices"), why));
        }
    });
}

fn host_name(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let Some(own) = spec["hostnameOverride"].as_str() else { return };
    let at = path.child("hostnameOverride");
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec[field] == true {
            errors.push(FieldError::forbidden(&at, &format!("may not be specified when {field} is true")));
        }
    }
    if own.len() > HOST_NAME_MAXIMUM {
        errors.push(FieldError::too_long(&at, HOST_NAME_MAXIMUM));
    }
    named_text(errors, own, &at, name::dns_subdomain);
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

/// A search path: a subdomain whose labels may have underscores.
fn search_name(search: &str) -> Vec<String> {
    // A lone dot stands for no search at all.
    if search == "." {
        return Vec::new();
    }
    let search = search.strip_suffix('.').unwrap_or(search);
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = (label.bytes().next(), label.bytes().last());
        matches!(ends, (Some(first), Some(last)) if plain(first) && plain(last))
            && label.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'_'))
    };
    let mut wrong = Vec::new();
    if search.len() > SEARCH_MAXIMUM {
        wrong.push(format!("must be no more than {SEARCH_MAXIMUM} bytes"));
    }
    if !search.split('.').all(label) {
        wrong.push(SEARCH_NAME.to_owned());
    }
    wrong
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
        // Reported as it is judged, without the dot at its end.
        let given = text(search);
        let shown = if given == "." { given } else { given.strip_suffix('.').unwrap_or(given) };
        named_text(errors, shown, &path.index(index), search_name);
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

/// A pod template: labels, annotations, spec.
pub(crate) fn template(errors: &mut Errors, template: &Value, path: &Path<'_>) {
    let metadata = &template["metadata"];
    label::labels(errors, &metadata["labels"], &path.child("labels"));
    label::annotations(errors, &metadata["annotations"], &path.child("annotations"));
    annotations(errors, &metadata["annotations"], &template["spec"], &path.child("annotations"));
    let at = path.child("spec");
    spec(errors, &template["spec"], "", false, &at);
    annotations_match_fields(errors, &metadata["annotations"], &template["spec"], &at);
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
