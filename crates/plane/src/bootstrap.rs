//! The objects that every cluster has from its first second: namespaces, default roles, system priority classes, the
//! default storage class, the Service of the API server and its endpoints, the Service of the cluster DNS.
//!
//! Answers to upstream's post-start hooks. Run at every start: what is missing is made, what an administrator changed
//! stays, roles regain what they lost.

use crate::Error;
use gifee_base::{Gvr, Object, ObjectKey, Reason};
use gifee_client::Client;
use gifee_policy::authorize::bootstrap;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The name in the certificate of the proxy that this server itself is to extension API servers.
pub const FRONT_PROXY: &str = "front-proxy-client";
type Result<T> = std::result::Result<T, Error>;

/// What the first objects say of the cluster.
pub struct Cluster<'a> {
    /// Addresses of Services.
    pub service_cidr: &'a str,
    /// Address of the Service `kubernetes`.
    pub api_address: IpAddr,
    /// Port of the API server.
    pub api_port: u16,
    /// Address of the Service `kube-dns`.
    pub dns_address: IpAddr,
    /// Where pods reach the API server.
    pub advertise: IpAddr,
    /// Certificates of the authority of users and of that of front proxies, PEM.
    pub authorities: [&'a str; 2],
    /// Today, such as `2026-01-31`.
    pub today: &'a str,
}

/// Names what was tried when something fails.
trait While<T> {
    fn while_doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> While<T> for gifee_client::Result<T> {
    fn while_doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error { what: what(), source })
    }
}

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const RBAC: &str = "rbac.authorization.k8s.io";

/// Writes what is missing.
///
/// # Errors
/// If the API server refuses an object.
pub async fn run(client: &Client, cluster: &Cluster<'_>) -> Result<()> {
    let [authority, proxies] = cluster.authorities;
    for name in NAMESPACES {
        ensure(
            client,
            &Gvr::core("namespaces"),
            json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        )
        .await?;
    }
    // Roles come first: until they are there, nobody but this identity may do anything.
    for default in bootstrap::objects() {
        role(client, default).await?;
    }
    priority_classes(client).await?;
    storage_class(client).await?;
    ensure(
        client,
        &Gvr::core("configmaps"),
        json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "kube-system", "name": "extension-apiserver-authentication" },
        "data": {
            "client-ca-file": authority, "requestheader-client-ca-file": proxies,
            "requestheader-allowed-names": format!("[{FRONT_PROXY:?}]"),
            "requestheader-username-headers": "[\"X-Remote-User\"]",
            "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        } }),
    )
    .await?;
    // Since when the last use of tokens out of Secrets is written on them.
    ensure(
        client,
        &Gvr::core("configmaps"),
        json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "kube-system", "name": "kube-apiserver-legacy-service-account-token-tracking" },
        "data": { "since": cluster.today } }),
    )
    .await?;
    service_range(client, cluster).await?;
    api_service(client, cluster).await?;
    dns_service(client, cluster).await
}

fn tree(object: &Object, gvr: &Gvr) -> Result<Value> {
    let decoded = object.to_value();
    let failed = |error| gifee_client::Error::Decode { path: gvr.to_string(), source: Box::new(error) };
    decoded.map_err(failed).while_doing(|| format!("reading {gvr} {}", object.key()))
}

async fn priority_classes(client: &Client) -> Result<()> {
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000_i64,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        ensure(
            client,
            &Gvr::new("scheduling.k8s.io", "v1", "priorityclasses"),
            json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
            "value": value, "description": description }),
        )
        .await?;
    }
    Ok(())
}

/// The class of claims that name none: folders of the node that the first consumer runs on.
async fn storage_class(client: &Client) -> Result<()> {
    ensure(
        client,
        &Gvr::new("storage.k8s.io", "v1", "storageclasses"),
        json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {
            "name": "local-path", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" }
        },
        "provisioner": "gifee.io/local-path", "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete", "allowVolumeExpansion": true }),
    )
    .await
}

/// Creates an object unless it is there.
async fn ensure(client: &Client, gvr: &Gvr, object: Value) -> Result<()> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&namespace, object["metadata"]["name"].as_str().unwrap_or_default());
    // What it asks for, such as an address, may be refused because it is there itself.
    match client.get(gvr, &key).await {
        Err(error) if is(&error, Reason::NotFound) => {}
        outcome => return outcome.map(drop).while_doing(|| format!("reading {gvr} {key}")),
    }
    let what = format!("creating {gvr} {key}");
    match client.create(gvr, &namespace, object).await {
        Ok(_) => Ok(()),
        Err(error) if is(&error, Reason::AlreadyExists) => Ok(()),
        Err(error) => Err(error).while_doing(|| what),
    }
}

fn is(error: &gifee_client::Error, reason: Reason) -> bool {
    matches!(error, gifee_client::Error::Status(status) if status.is(reason))
}

async fn role(client: &Client, default: bootstrap::Default) -> Result<()> {
    let gvr = Gvr::new(RBAC, "v1", default.resource);
    let metadata = &default.object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&namespace, metadata["name"].as_str().unwrap_or_default());
    let existing = match client.get(&gvr, &key).await {
        Ok(object) => tree(&object, &gvr)?,
        Err(error) if is(&error, Reason::NotFound) => return ensure(client, &gvr, default.object).await,
        Err(error) => return Err(error).while_doing(|| format!("reading {gvr} {key}")),
    };
    if let Some(merged) = bootstrap::reconcile(&existing, &default.object) {
        client.update(&gvr, &key, merged).await.while_doing(|| format!("reconciling {gvr} {key}"))?;
    }
    Ok(())
}

async fn service_range(client: &Client, cluster: &Cluster<'_>) -> Result<()> {
    ensure(
        client,
        &Gvr::new("networking.k8s.io", "v1", "servicecidrs"),
        json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": [cluster.service_cidr] } }),
    )
    .await
}

/// The Service `kubernetes`, whose endpoints are the API servers themselves.
async fn api_service(client: &Client, cluster: &Cluster<'_>) -> Result<()> {
    ensure(client, &Gvr::core("services"), json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": "kubernetes",
            "labels": { "component": "apiserver", "provider": "kubernetes" } },
        "spec": { "type": "ClusterIP", "clusterIP": cluster.api_address.to_string(), "sessionAffinity": "None",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": cluster.api_port }] } }))
    .await?;
    let port = json!({ "name": "https", "port": cluster.api_port, "protocol": "TCP" });
    put(
        client,
        &Gvr::core("endpoints"),
        json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "namespace": "default", "name": "kubernetes",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{ "addresses": [{ "ip": cluster.advertise.to_string() }], "ports": [port] }] }),
    )
    .await?;
    put(
        client,
        &Gvr::new("discovery.k8s.io", "v1", "endpointslices"),
        json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "namespace": "default", "name": "kubernetes",
            "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if cluster.advertise.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [cluster.advertise.to_string()], "conditions": { "ready": true } }],
        "ports": [port] }),
    )
    .await
}

/// The cluster DNS runs in the node agent, not in pods: its Service has no selector and names the address.
async fn dns_service(client: &Client, cluster: &Cluster<'_>) -> Result<()> {
    ensure(client, &Gvr::core("services"), json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "kube-system", "name": "kube-dns",
            "labels": { "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS" } },
        "spec": { "type": "ClusterIP", "clusterIP": cluster.dns_address.to_string(), "ports": [
            { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53 },
            { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53 }] } }))
    .await
}

/// Creates an object, or makes an existing one carry the same content.
async fn put(client: &Client, gvr: &Gvr, object: Value) -> Result<()> {
    let metadata = &object["metadata"];
    let key = ObjectKey::new(
        metadata["namespace"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap_or_default(),
    );
    let existing = match client.get(gvr, &key).await {
        Ok(existing) => tree(&existing, gvr)?,
        Err(error) if is(&error, Reason::NotFound) => return ensure(client, gvr, object).await,
        Err(error) => return Err(error).while_doing(|| format!("reading {gvr} {key}")),
    };
    let content = object.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata");
    let same = content.clone().all(|(field, value)| existing[field] == *value);
    if same {
        return Ok(());
    }
    let mut merged = existing.clone();
    for (field, value) in content {
        merged[field] = value.clone();
    }
    client.update(gvr, &key, merged).await.while_doing(|| format!("updating {gvr} {key}"))?;
    Ok(())
}
