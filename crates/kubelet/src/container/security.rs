//! As whom a container runs, and what it may do.
//!
//! Answers to `securitycontext.DetermineEffectiveSecurityContext` and `verifyRunAsNonRoot`.

use std::path::Path;

use gifee_oci::images::Image;
use gifee_oci::spec::{Seccomp, Security, User};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};

use crate::pod::{Member, members};

/// Its privileges.
pub(super) fn security(pod: &Pod, container: &Container, seccomp_default: bool, folder: &Path) -> Security {
    let own = container.security_context.clone().unwrap_or_default();
    let common = members::spec(pod).security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.as_ref().or(common.seccomp_profile.as_ref());
    let apparmor = own.app_armor_profile.as_ref().or(common.app_armor_profile.as_ref());
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    Security {
        privileged,
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
        seccomp: if privileged { Seccomp::Unconfined } else { seccomp(profile, seccomp_default, folder) },
        apparmor_profile: apparmor
            .filter(|profile| profile.type_ == "Localhost")
            .and_then(|profile| profile.localhost_profile.clone()),
        masked_paths: unmasked.then(Vec::new),
        readonly_paths: unmasked.then(Vec::new),
    }
}

fn seccomp(profile: Option<&SeccompProfile>, default: bool, folder: &Path) -> Seccomp {
    match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => Seccomp::RuntimeDefault,
        Some("Localhost") => {
            let file = profile.and_then(|profile| profile.localhost_profile.clone()).unwrap_or_default();
            Seccomp::Localhost(folder.join(file))
        }
        Some(_) => Seccomp::Unconfined,
        None if default => Seccomp::RuntimeDefault,
        None => Seccomp::Unconfined,
    }
}

/// As whom it runs; an error if that is root and must not be.
pub(super) fn user(pod: &Pod, member: &Member, image: &Image) -> Result<User, String> {
    let own = member.container.security_context.clone().unwrap_or_default();
    let common = members::spec(pod).security_context.clone().unwrap_or_default();
    let number = |own: Option<i64>, common: Option<i64>| own.or(common).and_then(|id| u32::try_from(id).ok());
    let uid = number(own.run_as_user, common.run_as_user);
    if own.run_as_non_root.or(common.run_as_non_root) == Some(true) {
        refuse_root(pod, member, image, uid)?;
    }
    let mut groups: Vec<u32> =
        common.supplemental_groups.iter().flatten().filter_map(|id| u32::try_from(*id).ok()).collect();
    groups.extend(common.fs_group.and_then(|id| u32::try_from(id).ok()));
    Ok(User {
        uid,
        gid: number(own.run_as_group, common.run_as_group),
        name: None,
        supplemental_groups: groups,
        strict_groups: common.supplemental_groups_policy.as_deref() == Some("Strict"),
    })
}

fn refuse_root(pod: &Pod, member: &Member, image: &Image, uid: Option<u32>) -> Result<(), String> {
    let subject = format!("(pod: {:?}, container: {})", members::describe(pod), member.name());
    if let Some(uid) = uid {
        return if uid == 0 {
            Err(format!("container's runAsUser breaks non-root policy {subject}"))
        } else {
            Ok(())
        };
    }
    let user = image.config.user.as_deref().unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    match user.parse::<u32>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {subject}")),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() || user == "root" => {
            Err(format!("container has runAsNonRoot and image will run as root {subject}"))
        }
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {subject}"
        )),
    }
}
