//! Which fields a write of a kind, or of a part of it, does not own, because the kind's strategy puts them back.
//!
//! Answers to the `GetResetFields` of upstream's strategies.

use crate::kind::Kind;
use gifee_schema::apply::{Filter, Set};

/// Kinds whose status subresource leaves alone the metadata, too; custom resources are among them.
const STATUS_ALONE: [(&str, &str); 7] = [
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("apiregistration.k8s.io", "apiservices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("resource.k8s.io", "resourceclaims"),
    ("storage.k8s.io", "volumeattachments"),
    ("storagemigration.k8s.io", "storageversionmigrations"),
];

/// What a write of a subresource, or of the object if it is empty, may own.
pub fn filter(kind: &Kind, subresource: &str) -> Filter {
    let custom = kind.custom.is_some();
    let has_status = kind.subresources.iter().any(|one| &*one.name == "status");
    let (group, resource) = (&*kind.gvk.group, &*kind.resource);
    let paths: &[&[&str]] = match (group, resource, subresource) {
        ("certificates.k8s.io", "certificatesigningrequests", "") => &[&["spec"], &["status"]],
        ("certificates.k8s.io", "certificatesigningrequests", "status") => {
            &[&["spec"], &["status", "conditions"]]
        }
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => {
            &[&["spec"], &["status", "certificate"]]
        }
        ("", "pods", "status") => {
            &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
        }
        ("", "pods", "ephemeralcontainers") => return Filter::Only(&[&["spec", "ephemeralContainers"]]),
        ("", "pods", "resize") => {
            return Filter::Only(&[
                &["spec", "containers", "", "resources"],
                &["spec", "containers", "", "resizePolicy"],
                &["spec", "initContainers", "", "resources"],
                &["spec", "initContainers", "", "resizePolicy"],
            ]);
        }
        ("", "namespaces", "finalize") => &[&["status"]],
        ("apps", "deployments", "status") => &[&["spec"], &["metadata", "labels"]],
        (_, _, "status") if custom || STATUS_ALONE.contains(&(group, resource)) => {
            &[&["metadata"], &["spec"]]
        }
        (_, _, "status") => &[&["spec"]],
        (_, _, "") if has_status => &[&["status"]],
        _ => return Filter::All,
    };
    Filter::Except(Set::of(paths))
}
