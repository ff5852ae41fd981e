//! The pod's `/etc/hosts`.
//!
//! Answers to the kubelet's `ensureHostsFile`: a pod on the host's network has what the host has.

use std::fmt::Write;
use std::net::IpAddr;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

use super::{Failed, Ground, Hook, Run, blocking};
use crate::pod::members;
use crate::resolver;

/// The step.
pub(super) struct Hosts;

#[async_trait]
impl Hook for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    async fn set_up(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        let path = run.paths.hosts();
        let text = if run.host_network() {
            let host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            format!("# Kubernetes-managed hosts file (host network).\n{host}{}", aliases(&run.pod))
        } else {
            managed(&run.pod, &ground.addresses, &run.agent.config.cluster_domain)
        };
        blocking("FailedCreatePodSandBox", move || {
            // A container may have written to it; it stays as it is unless the pod's addresses changed.
            if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
                return Ok(());
            }
            std::fs::write(&path, text)
        })
        .await
    }
}

/// The file of a pod with a network of its own.
pub(super) fn managed(pod: &Pod, addresses: &[IpAddr], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let (host, full) = resolver::names(pod, domain);
    for address in addresses {
        let line = match &full {
            Some(full) => format!("{address}\t{full}\t{host}\n"),
            None => format!("{address}\t{host}\n"),
        };
        text.push_str(&line);
    }
    text + &aliases(pod)
}

fn aliases(pod: &Pod) -> String {
    let aliases = members::spec(pod).host_aliases.as_deref().unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}
