//! Rows of the core group, version v1.

use crate::kind::{Kind, Verb};
use crate::row::{review, row};
use gifee_base::name;

const V1: &str = "v1";
/// Namespaces are never deleted as a collection.
const NAMESPACE_VERBS: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

/// What both Event kinds select by: the fields of the stored form.
pub(crate) const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source<source.component",
    "type",
];

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    let mut rows = cluster_rows();
    rows.extend(workload_rows());
    rows.extend(data_rows());
    rows
}

fn cluster_rows() -> Vec<Kind> {
    let mut component_status = row(V1, "ComponentStatus", "componentstatuses")
        .cluster()
        .short(&["cs"])
        .verbs(&[Verb::Get, Verb::List]);
    component_status.stored = false;
    vec![
        review(V1, "Binding", "bindings"),
        component_status,
        row(V1, "Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .verbs(NAMESPACE_VERBS)
            .named(name::dns_label)
            .update_part("finalize")
            .status()
            .fields(&["status.phase"]),
        row(V1, "Node", "nodes")
            .cluster()
            .short(&["no"])
            .connect("proxy", "NodeProxyOptions")
            .status()
            .fields(&["spec.unschedulable=false"]),
        row(V1, "PersistentVolume", "persistentvolumes").cluster().short(&["pv"]).status(),
        row(V1, "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).status(),
        row(V1, "ResourceQuota", "resourcequotas").short(&["quota"]).status(),
        row(V1, "LimitRange", "limitranges").short(&["limits"]).create_on_update(),
    ]
}

fn workload_rows() -> Vec<Kind> {
    vec![
        row(V1, "Pod", "pods")
            .short(&["po"])
            .category("all")
            .connect("attach", "PodAttachOptions")
            .call("binding", V1, "Binding")
            .part("ephemeralcontainers")
            .call("eviction", "policy/v1", "Eviction")
            .connect("exec", "PodExecOptions")
            .connect("log", "")
            .connect("portforward", "PodPortForwardOptions")
            .connect("proxy", "PodProxyOptions")
            .part("resize")
            .status()
            .indexed("spec.nodeName")
            .fields(&[
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork=false",
                "status.phase",
                "status.podIP<status.podIPs.ip",
                "status.podIPs<status.podIPs.ip",
                "status.nominatedNodeName",
            ])
            .generation(),
        row(V1, "PodTemplate", "podtemplates").generation(),
        row(V1, "ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .category("all")
            .scale()
            .status()
            .fields(&["status.replicas=0"])
            .generation(),
        row(V1, "Service", "services")
            .short(&["svc"])
            .category("all")
            .named(name::dns_label)
            .connect("proxy", "ServiceProxyOptions")
            .status()
            .fields(&["spec.clusterIP", "spec.type"]),
    ]
}

fn data_rows() -> Vec<Kind> {
    let mut endpoints = row(V1, "Endpoints", "endpoints").short(&["ep"]).create_on_update();
    endpoints.singular = "endpoints".into();
    vec![
        row(V1, "ConfigMap", "configmaps").short(&["cm"]),
        endpoints,
        row(V1, "Event", "events")
            .short(&["ev"])
            .named(name::path_segment)
            .create_on_update()
            .fields(EVENT_FIELDS),
        row(V1, "Secret", "secrets").fields(&["type"]),
        row(V1, "ServiceAccount", "serviceaccounts").short(&["sa"]).call(
            "token",
            "authentication.k8s.io/v1",
            "TokenRequest",
        ),
    ]
}
