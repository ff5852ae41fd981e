//! What is special about Services: addresses and ports of their own, kept apart from those of all others.
//!
//! Invariant: a cluster address belongs to a Service as long as an IPAddress says so, a node port as long as it is
//! reserved under the Service's name. Answers to upstream's `pkg/registry/core/service`.

mod addresses;
mod change;
mod family;
mod ports;
mod validate;

use crate::Settings;
use crate::kind::{Context, Hooks, Order};
use crate::rule::address::{cidr_form, ip_form, parse_cidr};
use crate::rule::{SPEC, collect};
use crate::rules::keep_status_only;
use crate::value::{is_empty, items, restore, text};
use gifee_base::{FieldError, Path, Status};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Hooks of Services.
pub(crate) struct Service {
    /// The ranges of cluster addresses.
    ranges: Vec<Range>,
    /// First and last node port.
    ports: (u16, u16),
}

/// A range of cluster addresses.
#[derive(Clone, Debug)]
struct Range {
    text: String,
    network: IpAddr,
    bits: u8,
}

impl Range {
    fn family(&self) -> &'static str {
        if self.network.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

impl Service {
    /// With the ranges of a cluster; a range that is none is left out.
    pub fn new(settings: &Settings) -> Self {
        let range = |text: &String| {
            let (network, bits) = parse_cidr(text)?;
            Some(Range { text: text.clone(), network, bits })
        };
        Self { ranges: settings.service_cidrs.iter().filter_map(range).collect(), ports: settings.node_ports }
    }
}

fn kind(service: &Value) -> &str {
    text(&service["spec"]["type"])
}

fn is_headless(service: &Value) -> bool {
    let ips = items(&service["spec"]["clusterIPs"]);
    ips.len() == 1 && ips[0] == "None"
}

fn needs_address(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn is_reached_from_outside(service: &Value) -> bool {
    match kind(service) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !is_empty(&service["spec"]["externalIPs"]),
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

#[async_trait::async_trait]
impl Hooks for Service {
    fn warnings(&self, service: &Value, _: Option<&Value>) -> Vec<String> {
        warnings(service)
    }

    fn prepare_create(&self, service: &mut Value, _: &Context<'_>) {
        service["status"] = json!({ "loadBalancer": {} });
        change::normalize_addresses(service, None);
    }

    fn prepare_update(&self, service: &mut Value, old: &Value, subresource: &str, _: &Context<'_>) {
        if subresource == "status" {
            return keep_status_only(service, old, true);
        }
        restore(service, old, "status");
        change::keep_allocated(service, old);
        change::normalize_addresses(service, Some(old));
        change::drop_fields_of_type(service, old);
    }

    fn validate(&self, service: &Value, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| validate::service(errors, service))
    }

    fn order(&self) -> Order {
        Order::ChangeFirst
    }

    fn validate_update(&self, service: &Value, old: &Value, part: &str, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| match part {
            "status" => validate::status(errors, service),
            _ => validate::change(errors, service, old),
        })
    }

    async fn allocate(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        self.set_families(service, old, context)?;
        self.allocate_addresses(service, old, context).await?;
        let outcome = self.allocate_ports(service, old, context).await;
        if outcome.is_err() {
            // The addresses would be lost: nobody else knows yet that they were taken.
            self.release_addresses(service, old, context).await?;
        }
        outcome
    }

    async fn release(
        &self,
        service: &Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        self.release_addresses(service, old, context).await?;
        self.release_ports(service, old, context).await
    }
}

/// What a client may not expect of a Service.
fn warnings(service: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if !service["metadata"]["annotations"][validate::TOPOLOGY_OLD].is_null() {
        warnings.push(format!(
            "annotation {} is deprecated, please use service.kubernetes.io/topology-mode instead",
            validate::TOPOLOGY_OLD
        ));
    }
    let spec = &service["spec"];
    let headless = kind(service) == "ClusterIP" && spec["clusterIP"] == "None";
    let named = kind(service) == "ExternalName";
    if !matches!(text(&spec["clusterIP"]), "" | "None") {
        warn_of_ips(&mut warnings, &spec["clusterIPs"], &SPEC.child("clusterIPs"));
    }
    let external = !is_empty(&spec["externalIPs"]);
    if headless {
        let affinity = spec["sessionAffinity"] != "None";
        for (set, field) in [
            (!is_empty(&spec["loadBalancerIP"]), "loadBalancerIP"),
            (external, "externalIPs"),
            (affinity, "SessionAffinity"),
        ] {
            if set {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    warn_of_ips(&mut warnings, &spec["externalIPs"], &SPEC.child("externalIPs"));
    if external && !headless && !named {
        let why = "is deprecated and may no longer be implemented in some clusters";
        warnings.push(format!("spec.externalIPs {why}"));
    }
    ip_form(&mut warnings, &spec["loadBalancerIP"], &SPEC.child("loadBalancerIP"));
    let at = SPEC.child("loadBalancerSourceRanges");
    for (index, one) in items(&spec["loadBalancerSourceRanges"]).iter().enumerate() {
        cidr_form(&mut warnings, one, &at.index(index));
    }
    if named && external {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !named && !is_empty(&spec["externalName"]) {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec["trafficDistribution"] == "PreferClose" {
        let why = "\"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(format!("spec.trafficDistribution: {why}"));
    }
    warnings
}

fn warn_of_ips(warnings: &mut Vec<String>, list: &Value, path: &Path<'_>) {
    for (index, one) in items(list).iter().enumerate() {
        ip_form(warnings, one, &path.index(index));
    }
}
