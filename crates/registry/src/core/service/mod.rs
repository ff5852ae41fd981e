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
use crate::kind::{Context, Hooks};
use crate::rule::address::parse_cidr;
use crate::rule::collect;
use crate::rules::keep_status_only;
use crate::value::{is_empty, items, restore, text};
use gifee_base::{FieldError, Status};
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
        change::normalize_addresses(service, Some(old));
        change::keep_allocated(service, old);
        change::drop_fields_of_type(service, old);
    }

    fn validate(&self, service: &Value, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| validate::service(errors, service))
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
    const OLD: &str = "service.kubernetes.io/topology-aware-hints";
    let mut warnings = Vec::new();
    if !service["metadata"]["annotations"][OLD].is_null() {
        warnings.push(format!(
            "annotation {OLD} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    if is_headless(service) {
        let spec = &service["spec"];
        let affinity = !matches!(text(&spec["sessionAffinity"]), "" | "None");
        for (set, field) in [
            (!is_empty(&spec["loadBalancerIP"]), "loadBalancerIP"),
            (!is_empty(&spec["externalIPs"]), "externalIPs"),
            (affinity, "SessionAffinity"),
        ] {
            if set {
                warnings.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    warnings
}
