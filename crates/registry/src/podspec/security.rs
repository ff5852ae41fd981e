//! Rules for security contexts.

use super::{Scope, identities, windows};
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, descending_path, identity, optional_one_of, range_text};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const SYSCTL_MAXIMUM: usize = 253;
const SYSCTL_PATTERN: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
pub(super) const LOCALHOST_PROFILE_MAXIMUM: usize = 4095;

/// The security context of a pod.
pub(super) fn pod(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let context = &spec["securityContext"];
    if is_empty(context) {
        return;
    }
    let at = path.child("securityContext");
    identity(errors, &context["fsGroup"], &at.child("fsGroup"));
    identities(errors, context, &at);
    for (index, group) in items(&context["supplementalGroups"]).iter().enumerate() {
        let at = at.child("supplementalGroups");
        identity(errors, group, &at.index(index));
    }
    sysctls(errors, spec, &at.child("sysctls"));
    let policies = ["Always", "OnRootMismatch"];
    optional_one_of(errors, &context["fsGroupChangePolicy"], &at.child("fsGroupChangePolicy"), &policies);
    seccomp(errors, &context["seccompProfile"], &at.child("seccompProfile"));
    windows::options(errors, &context["windowsOptions"], &at.child("windowsOptions"));
    app_armor(errors, &context["appArmorProfile"], &at.child("appArmorProfile"));
    let groups = "supplementalGroupsPolicy";
    optional_one_of(errors, &context[groups], &at.child(groups), &["Merge", "Strict"]);
    let labels = "seLinuxChangePolicy";
    optional_one_of(errors, &context[labels], &at.child(labels), &["MountOption", "Recursive"]);
}

fn is_sysctl(text: &str) -> bool {
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(plain)
            && bytes.last().is_some_and(plain)
            && bytes.iter().all(|byte| plain(byte) || matches!(byte, b'-' | b'_'))
    };
    text.len() <= SYSCTL_MAXIMUM && text.split(['.', '/']).all(part)
}

fn sysctls(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let mut seen = Vec::new();
    for (index, sysctl) in items(&spec["securityContext"]["sysctls"]).iter().enumerate() {
        let at = path.index(index);
        let at = at.child("name");
        let one = text(&sysctl["name"]);
        if one.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if !is_sysctl(one) {
            let why =
                format!("must have at most {SYSCTL_MAXIMUM} characters and match regex {SYSCTL_PATTERN}");
            errors.push(FieldError::invalid(&at, one, &why));
        } else if seen.contains(&one) {
            errors.push(FieldError::duplicate(&at, one));
        }
        seen.push(one);
        let dotted = one.replace('/', ".");
        if spec["hostNetwork"] == true && dotted.starts_with("net.") {
            errors.push(FieldError::invalid(&at, one, "may not be specified when 'hostNetwork' is true"));
        }
        let shared = ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."];
        if spec["hostIPC"] == true && shared.iter().any(|prefix| dotted.starts_with(prefix)) {
            errors.push(FieldError::invalid(&at, one, "may not be specified when 'hostIPC' is true"));
        }
    }
}

/// A seccomp profile.
fn seccomp(errors: &mut Errors, profile: &Value, path: &Path<'_>) {
    if profile.is_null() {
        return;
    }
    let (kind, file) = (text(&profile["type"]), &profile["localhostProfile"]);
    let at = path.child("localhostProfile");
    if kind.is_empty() {
        let why = "type is required when seccompProfile is set";
        errors.push(FieldError::required(&path.child("type"), why));
    } else if !PROFILES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &PROFILES));
    }
    match (kind, file.is_null()) {
        ("Localhost", true) => {
            errors.push(FieldError::required(&at, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", false) => descending_path(errors, file, &at),
        (_, true) => {}
        (_, false) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(showing(FieldError::invalid(&at, "", why), profile, shown::PROFILE));
        }
    }
}

/// An AppArmor profile.
fn app_armor(errors: &mut Errors, profile: &Value, path: &Path<'_>) {
    if profile.is_null() {
        return;
    }
    let file = &profile["localhostProfile"];
    let at = path.child("localhostProfile");
    let missing = "must be set when AppArmor type is Localhost";
    match (text(&profile["type"]), file.as_str()) {
        ("Localhost", None) => errors.push(FieldError::required(&at, missing)),
        ("Localhost", Some(given)) => {
            if given.trim() != given {
                errors.push(FieldError::invalid(&at, given, "must not be padded with whitespace"));
            } else if given.is_empty() {
                errors.push(FieldError::required(&at, missing));
            }
            if given.len() > LOCALHOST_PROFILE_MAXIMUM {
                errors.push(FieldError::too_long(&at, LOCALHOST_PROFILE_MAXIMUM));
            }
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(given)) => {
            let why = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(&at, given, why));
        }
        ("", _) => {
            let why = "type is required when appArmorProfile is set";
            errors.push(FieldError::required(&path.child("type"), why));
        }
        (other, _) => errors.push(FieldError::not_supported(&path.child("type"), other, &PROFILES)),
    }
}

/// The security context of a container.
pub(super) fn container(errors: &mut Errors, context: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    if is_empty(context) {
        return;
    }
    identities(errors, context, path);
    let mount = &context["procMount"];
    optional_one_of(errors, mount, &path.child("procMount"), &["Default", "Unmasked"]);
    if mount == "Unmasked" && scope.host_users {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(&path.child("procMount"), "Unmasked", why));
    }
    seccomp(errors, &context["seccompProfile"], &path.child("seccompProfile"));
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(showing(FieldError::invalid(path, "", why), context, shown::SECURITY_CONTEXT));
        }
        if items(&context["capabilities"]["add"]).iter().any(|one| one == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(showing(FieldError::invalid(path, "", why), context, shown::SECURITY_CONTEXT));
        }
    }
    windows::options(errors, &context["windowsOptions"], &path.child("windowsOptions"));
    app_armor(errors, &context["appArmorProfile"], &path.child("appArmorProfile"));
}

/// Reports a mode of a file out of range.
pub(super) fn file_mode(errors: &mut Errors, mode: &Value, path: &Path<'_>) {
    if mode.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode.clone(), why));
    }
}

/// Reports a partition or unit number out of range.
pub(super) fn small_number(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if value.as_i64().is_some_and(|number| !(0..=255).contains(&number)) {
        errors.push(FieldError::invalid(path, value.clone(), &range_text(0, 255)));
    }
}
