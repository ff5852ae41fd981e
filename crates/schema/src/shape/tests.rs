//! The committed table reads, is complete, and says known facts.

use super::{FieldFlags, Schema, Shape};
use crate::facts;

fn field_text(kind: (&str, &str, &str), path: &str) -> String {
    let schema = Schema::builtin(kind.0, kind.1, kind.2).unwrap();
    let words: Vec<_> = path.split('.').collect();
    let (last, parents) = words.split_last().unwrap();
    let parent = schema.at(parents).unwrap();
    let Shape::Struct(id) = parent.types().shape(parent.root()) else { panic!("{path} is in no struct") };
    let field = parent.types().structure(id).field(last).unwrap();
    let keys = match parent.types().shape(field.node()) {
        Shape::List { kind, keys, .. } => format!("{kind:?} {}", parent.types().text(keys)),
        _ => String::new(),
    };
    format!("{} #{} {}", parent.types().go_type(field.node()), field.number(), keys)
}

#[test]
fn facts_of_known_fields() {
    let check = |kind, path, expect: &str| assert_eq!(field_text(kind, path).trim(), expect, "{path}");
    check(("", "v1", "Pod"), "spec.containers", "[]v1.Container #2 Some(Map) name");
    check(
        ("", "v1", "Pod"),
        "spec.containers.*.ports",
        "[]v1.ContainerPort #6 Some(Map) containerPort,protocol",
    );
    check(("", "v1", "Pod"), "spec.containers.*.imagePullPolicy", "v1.PullPolicy #14");
    check(("", "v1", "Pod"), "spec.containers.*.resources.limits", "v1.ResourceList #1");
    check(("", "v1", "Pod"), "spec.volumes.*.emptyDir", "v1.EmptyDirVolumeSource #2");
    check(("", "v1", "Pod"), "metadata.labels", "map[string]string #11");
    check(("", "v1", "Pod"), "metadata.uid", "types.UID #5");
    check(("", "v1", "Secret"), "data", "map[string][]uint8 #2");
    check(("apps", "v1", "Deployment"), "spec.replicas", "int32 #1");
    check(("apps", "v1", "DeploymentList"), "items.*.spec.replicas", "int32 #1");
    check(("apps", "v1", "Deployment"), "apiVersion", "string #2");
    check(("policy", "v1", "DeleteOptions"), "gracePeriodSeconds", "int64 #1");
}

#[test]
fn pointers_and_strategies_are_kept() {
    let schema = Schema::builtin("apps", "v1", "Deployment").unwrap();
    let types = schema.types();
    let flags = |path: &[&str], name: &str| {
        let Shape::Struct(id) = types.shape(schema.at(path).unwrap().root()) else { panic!() };
        types.structure(id).field(name).unwrap().flags()
    };
    assert!(flags(&["spec"], "replicas").has(FieldFlags::POINTER));
    assert!(flags(&["spec"], "strategy").has(FieldFlags::RETAIN_KEYS));
    assert!(!flags(&["spec"], "strategy").has(FieldFlags::MERGE));
    assert!(flags(&["spec", "template", "spec"], "volumes").has(FieldFlags::RETAIN_KEYS));
    assert!(flags(&["spec", "template", "spec"], "volumes").has(FieldFlags::MERGE));
    assert!(flags(&["spec"], "template").has(FieldFlags::REQUIRED));
}

/// Every kind that the 1.37 API serves as GA, so that a package left out is noticed.
#[test]
fn every_served_kind_is_there() {
    let served = "
        v1 Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolumeClaim
            PersistentVolume Pod PodTemplate ReplicationController ResourceQuota Secret ServiceAccount Service
        apiregistration.k8s.io/v1 APIService
        apps/v1 ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet
        events.k8s.io/v1 Event
        authentication.k8s.io/v1 SelfSubjectReview TokenReview TokenRequest
        authorization.k8s.io/v1 LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview
            SubjectAccessReview
        autoscaling/v2 HorizontalPodAutoscaler
        autoscaling/v1 HorizontalPodAutoscaler Scale
        batch/v1 CronJob Job
        certificates.k8s.io/v1 CertificateSigningRequest ClusterTrustBundle PodCertificateRequest
        networking.k8s.io/v1 IngressClass Ingress IPAddress NetworkPolicy ServiceCIDR
        policy/v1 PodDisruptionBudget Eviction
        rbac.authorization.k8s.io/v1 ClusterRoleBinding ClusterRole RoleBinding Role
        storage.k8s.io/v1 CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
        admissionregistration.k8s.io/v1 MutatingAdmissionPolicy MutatingAdmissionPolicyBinding
            MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding
            ValidatingWebhookConfiguration
        apiextensions.k8s.io/v1 CustomResourceDefinition
        scheduling.k8s.io/v1 PriorityClass
        coordination.k8s.io/v1 Lease
        node.k8s.io/v1 RuntimeClass
        discovery.k8s.io/v1 EndpointSlice
        resource.k8s.io/v1 DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice
        flowcontrol.apiserver.k8s.io/v1 FlowSchema PriorityLevelConfiguration
        storagemigration.k8s.io/v1 StorageVersionMigration
        meta.k8s.io/v1 Table PartialObjectMetadata PartialObjectMetadataList Status APIGroupList APIResourceList
        admission.k8s.io/v1 AdmissionReview
        apidiscovery.k8s.io/v2 APIGroupDiscoveryList";
    let (mut group, mut version) = ("", "");
    let mut count = 0;
    for word in served.split_whitespace() {
        if word.starts_with(char::is_lowercase) {
            (group, version) = word.split_once('/').unwrap_or(("", word));
            continue;
        }
        count += 1;
        assert!(Schema::builtin(group, version, word).is_some(), "{group}/{version} {word}");
    }
    assert_eq!(count, 83);
    assert!(Schema::builtin("apps", "v1", "Pod").is_none());
}

#[test]
fn the_arena_is_small() {
    let types = facts::builtin();
    let bytes = types.fields.len() * size_of::<super::Field>()
        + types.nodes.len() * size_of::<super::Node>()
        + types.structs.len() * size_of::<super::StructRow>()
        + types.values.len() * 8;
    assert!(bytes < 400 << 10, "{bytes} bytes");
}
