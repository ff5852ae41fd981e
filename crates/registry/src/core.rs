//! Rows of the core group, version v1.

mod data;
pub(crate) mod endpoints;
mod namespace;
mod node;
mod pod;
mod pod_change;
mod pod_status;
mod qos;
mod quota;
mod service;
mod storage;

use crate::Settings;
use crate::kind::{Kind, Verb};
use crate::row::{review, row};
use crate::table::{self, cluster, network, workload};
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
    "source<reportingComponent",
    "type",
];

/// Rows of this group.
pub fn rows(settings: &Settings) -> Vec<Kind> {
    let mut rows = cluster_rows();
    rows.extend(workload_rows(settings));
    rows.extend(data_rows());
    rows
}

fn cluster_rows() -> Vec<Kind> {
    let mut component_status = row(V1, "ComponentStatus", "componentstatuses")
        .table(cluster::table_of_component_statuses())
        .cluster()
        .short(&["cs"])
        .verbs(&[Verb::Get, Verb::List]);
    component_status.stored = false;
    vec![
        review(V1, "Binding", "bindings").rules(pod::BINDING),
        component_status,
        row(V1, "Namespace", "namespaces")
            .table(cluster::table_of_namespaces())
            .cluster()
            .short(&["ns"])
            .verbs(NAMESPACE_VERBS)
            .named(name::dns_label)
            .update_part("finalize")
            .status()
            .fields(&["status.phase"])
            .rules(namespace::NAMESPACE),
        row(V1, "Node", "nodes")
            .table(cluster::table_of_nodes())
            .cluster()
            .short(&["no"])
            .connect("proxy", "NodeProxyOptions")
            .status()
            .fields(&["spec.unschedulable=false"])
            .rules(node::NODE),
        row(V1, "PersistentVolume", "persistentvolumes")
            .table(cluster::table_of_persistent_volumes())
            .cluster()
            .short(&["pv"])
            .status()
            .rules(storage::VOLUME),
        row(V1, "PersistentVolumeClaim", "persistentvolumeclaims")
            .table(cluster::table_of_persistent_volume_claims())
            .short(&["pvc"])
            .status()
            .rules(storage::CLAIM),
        row(V1, "ResourceQuota", "resourcequotas")
            .table(cluster::table_of_resource_quotas())
            .short(&["quota"])
            .status()
            .rules(quota::QUOTA),
        row(V1, "LimitRange", "limitranges").short(&["limits"]).create_on_update().rules(quota::LIMIT_RANGE),
    ]
}

fn workload_rows(settings: &Settings) -> Vec<Kind> {
    vec![
        row(V1, "Pod", "pods")
            .defaults(include_str!("../defaults/core.txt"))
            .table(table::pod::table_of_pods())
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
            .generation()
            .hooks(pod::Pod),
        row(V1, "PodTemplate", "podtemplates")
            .table(table::pod::table_of_pod_templates())
            .generation()
            .rules(pod::TEMPLATE),
        row(V1, "ReplicationController", "replicationcontrollers")
            .table(workload::table_of_replication_controllers())
            .short(&["rc"])
            .category("all")
            .scale()
            .status()
            .fields(&["status.replicas=0"])
            .generation()
            .rules(endpoints::REPLICATION_CONTROLLER),
        row(V1, "Service", "services")
            .table(network::table_of_services())
            .short(&["svc"])
            .category("all")
            .named(name::dns_label)
            .connect("proxy", "ServiceProxyOptions")
            .status()
            .fields(&["spec.clusterIP", "spec.type"])
            .create_on_update()
            .hooks(service::Service::new(settings)),
    ]
}

fn data_rows() -> Vec<Kind> {
    let mut endpoints = row(V1, "Endpoints", "endpoints")
        .table(network::table_of_endpoints())
        .short(&["ep"])
        .create_on_update()
        .rules(endpoints::ENDPOINTS);
    endpoints.singular = "endpoints".into();
    vec![
        row(V1, "ConfigMap", "configmaps")
            .table(cluster::table_of_config_maps())
            .short(&["cm"])
            .rules(data::CONFIG_MAP),
        endpoints,
        row(V1, "Event", "events")
            .table(cluster::table_of_events())
            .short(&["ev"])
            .named(name::path_segment)
            .create_on_update()
            .fields(EVENT_FIELDS)
            .rules(endpoints::EVENT),
        row(V1, "Secret", "secrets").table(cluster::table_of_secrets()).fields(&["type"]).rules(data::SECRET),
        row(V1, "ServiceAccount", "serviceaccounts")
            .table(cluster::table_of_service_accounts())
            .short(&["sa"])
            .call("token", "authentication.k8s.io/v1", "TokenRequest")
            .rules(data::SERVICE_ACCOUNT),
    ]
}
