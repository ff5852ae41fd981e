//! Rules for the operating system of a pod and what it forbids, and for the options that only Windows has.
//!
//! Answers to `validateOS`, `validateLinux`, `validateWindows`, `validateWindowsHostProcessPod` and
//! `validateWindowsSecurityContextOptions` of upstream's core validation.

use super::each_container;
use crate::rule::{Errors, named};
use crate::value::{items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const CREDENTIAL_KIBIBYTES: usize = 64;
const DOMAIN_MAXIMUM: usize = 256;
const USER_MAXIMUM: usize = 104;
const FORBIDDEN: &str = "cannot be set for a windows pod";
/// What a pod may not have, in upstream's order: of its security context, or of itself.
const POD_FIELDS: [&str; 15] = [
    "appArmorProfile",
    "seLinuxOptions",
    "hostUsers",
    "hostPID",
    "hostIPC",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "shareProcessNamespace",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
/// What a container's may not.
const CONTAINER_FIELDS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// The options of a security context.
pub(super) fn options(errors: &mut Errors, options: &Value, path: &Path<'_>) {
    if options.is_null() {
        return;
    }
    let spec_name = &options["gmsaCredentialSpecName"];
    if !spec_name.is_null() {
        named(errors, spec_name, &path.child("gmsaCredentialSpecName"), name::dns_subdomain);
    }
    if let Some(credential) = options["gmsaCredentialSpec"].as_str() {
        let at = path.child("gmsaCredentialSpec");
        if credential.is_empty() {
            let why = "gmsaCredentialSpec cannot be an empty string";
            errors.push(FieldError::invalid(&at, credential, why));
        } else if credential.len() > CREDENTIAL_KIBIBYTES * 1024 {
            let why = format!("gmsaCredentialSpec size must be under {CREDENTIAL_KIBIBYTES} KiB");
            errors.push(FieldError::invalid(&at, credential, &why));
        }
    }
    if let Some(user) = options["runAsUserName"].as_str() {
        for wrong in user_name(user) {
            errors.push(FieldError::invalid(&path.child("runAsUserName"), user, &wrong));
        }
    }
}

/// What is wrong with `USER` or `DOMAIN\USER`.
fn user_name(given: &str) -> Vec<String> {
    if given.is_empty() {
        return vec!["runAsUserName cannot be an empty string".into()];
    }
    if given.chars().any(|one| one.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".into()];
    }
    let (domain, user) = match given.split_once('\\') {
        Some((_, user)) if user.contains('\\') => {
            return vec!["runAsUserName cannot contain more than one backslash".into()];
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, given),
    };
    let mut wrong = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_MAXIMUM {
            wrong.push(format!("runAsUserName's Domain length must be under {DOMAIN_MAXIMUM} characters"));
        }
        if !is_net_bios(domain) && !is_domain(domain) {
            wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".into());
        }
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > USER_MAXIMUM {
        wrong.push(format!("runAsUserName's User length must not be longer than {USER_MAXIMUM} characters"));
    }
    if !user.is_empty() && user.chars().all(|one| matches!(one, '.' | ' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        wrong.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".into());
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    let count = domain.chars().count();
    (1..=15).contains(&count)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Containers that are processes of the machine: all of a pod's, or none.
pub(super) fn host_process(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let wanted = |context: &Value| context["windowsOptions"]["hostProcess"].as_bool();
    let whole = wanted(&spec["securityContext"]);
    let (mut all, mut of_host) = (0, 0);
    each_container(spec, path, |container, path| {
        all += 1;
        let own = wanted(&container["securityContext"]);
        if let (Some(whole), Some(own)) = (whole, own)
            && whole != own
        {
            let at = path.child("securityContext");
            let at = at.child("windowsOptions");
            let why = format!("pod hostProcess value must be identical if both are specified, was {whole}");
            errors.push(FieldError::invalid(&at.child("hostProcess"), own, &why));
        }
        of_host += i32::from(own.or(whole) == Some(true));
    });
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let why =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", why));
    }
    if spec["hostNetwork"] != true {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, why));
    }
}

/// The operating system, and what it forbids.
pub(super) fn operating_system(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    if spec["os"].is_null() {
        return;
    }
    let at = path.child("os");
    match text(&spec["os"]["name"]) {
        "" => errors.push(FieldError::required(&at.child("name"), "cannot be empty")),
        "linux" => linux(errors, spec, path),
        "windows" => windows(errors, spec, path),
        other => errors.push(FieldError::not_supported(&at, other, &["linux", "windows"])),
    }
}

fn linux(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let mut forbid = |context: &Value, path: &Path<'_>| {
        if !context["windowsOptions"].is_null() {
            let at = path.child("securityContext");
            let why = "windows options cannot be set for a linux pod";
            errors.push(FieldError::forbidden(&at.child("windowsOptions"), why));
        }
    };
    forbid(&spec["securityContext"], path);
    each_container(spec, path, |container, path| forbid(&container["securityContext"], path));
}

fn windows(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let (context, at) = (&spec["securityContext"], path.child("securityContext"));
    for field in POD_FIELDS {
        let (set, at) = match field {
            "hostPID" | "hostIPC" => (spec[field] == true, path),
            "hostUsers" | "shareProcessNamespace" => (!spec[field].is_null(), path),
            "sysctls" => (!items(&context[field]).is_empty(), &at),
            _ => (!context[field].is_null(), &at),
        };
        if set {
            errors.push(FieldError::forbidden(&at.child(field), FORBIDDEN));
        }
    }
    each_container(spec, path, |container, path| {
        let at = path.child("securityContext");
        for field in CONTAINER_FIELDS {
            if !container["securityContext"][field].is_null() {
                errors.push(FieldError::forbidden(&at.child(field), FORBIDDEN));
            }
        }
    });
}
