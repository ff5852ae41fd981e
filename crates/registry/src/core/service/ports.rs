//! Node ports of Services: each reserved under its number.
//!
//! Answers to upstream's `portallocator` and the port part of `pkg/registry/core/service/storage/alloc.go`.

use super::family::invalid;
use super::{Service, kind, needs_health_port, needs_node_ports};
use crate::kind::Context;
use crate::rule::SPEC;
use crate::value::{int, items, text};
use gifee_base::{FieldError, Status};
use serde_json::Value;

/// The name of the range of reservations.
const RANGE: &str = "nodeports";
const TAKEN: &str = "provided port is already allocated";

/// Whether it may have node ports, be it that it has to ask for them.
fn may_have(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Node ports that are reserved for a Service, each once.
fn given(service: &Value) -> Vec<i64> {
    let spec = &service["spec"];
    let mut all: Vec<i64> = Vec::new();
    if may_have(service) {
        all.extend(items(&spec["ports"]).iter().map(|port| int(&port["nodePort"])));
    }
    if needs_health_port(service) {
        all.push(int(&spec["healthCheckNodePort"]));
    }
    all.retain(|port| *port != 0);
    all.sort_unstable();
    all.dedup();
    all
}

/// Ports taken in the course of one write.
struct Taking<'a> {
    context: &'a Context<'a>,
    owner: String,
    range: (u16, u16),
    seed: u64,
    /// Whether ports of one number share a node port: those of a new Service.
    shares: bool,
    before: Vec<i64>,
    taken: Vec<i64>,
}

impl Taking<'_> {
    fn has(&self, port: i64) -> bool {
        self.before.contains(&port) || self.taken.contains(&port)
    }

    /// Takes a port; Some: why not.
    async fn take(&mut self, port: i64) -> Result<Option<String>, Status> {
        let (first, last) = self.range;
        if !(i64::from(first)..=i64::from(last)).contains(&port) {
            let why = "provided port is not in the valid range. The range of valid ports is";
            return Ok(Some(format!("{why} {first}-{last}")));
        }
        if self.context.cluster.reserve(RANGE, &port.to_string(), &self.owner).await? {
            self.taken.push(port);
            return Ok(None);
        }
        Ok(Some(TAKEN.to_owned()))
    }

    async fn find(&mut self) -> Result<Option<i64>, Status> {
        let (first, last) = self.range;
        let size = u64::from(last.saturating_sub(first)) + 1;
        for step in 0..size {
            let offset = (self.seed + step) % size;
            let port = i64::from(first) + i64::try_from(offset).unwrap_or_default();
            if !self.has(port) && self.take(port).await?.is_none() {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }
}

impl Service {
    /// Takes the node ports that the Service asks for, and finds those that it leaves open.
    pub(super) async fn allocate_ports(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        if !may_have(service) {
            return Ok(());
        }
        let seed = text(&service["metadata"]["uid"])
            .bytes()
            .fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut taking = Taking {
            context,
            owner: context.key.to_string(),
            range: self.ports,
            seed: seed % (1 << 32),
            shares: old.is_none(),
            before: old.map(given).unwrap_or_default(),
            taken: Vec::new(),
        };
        let outcome = fill(service, &mut taking).await;
        if outcome.is_err() {
            for port in taking.taken {
                context.cluster.release(RANGE, &port.to_string()).await?;
            }
        }
        outcome
    }

    /// Gives back the ports that `service` has and `stays` has not.
    pub(super) async fn release_ports(
        &self,
        service: &Value,
        stays: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        let kept = stays.map(given).unwrap_or_default();
        for port in given(service).into_iter().filter(|port| !kept.contains(port)) {
            context.cluster.release(RANGE, &port.to_string()).await?;
        }
        Ok(())
    }
}

async fn fill(service: &mut Value, taking: &mut Taking<'_>) -> Result<(), Status> {
    for index in 0..items(&service["spec"]["ports"]).len() {
        if needs_node_ports(service) || int(&service["spec"]["ports"][index]["nodePort"]) != 0 {
            fill_one(service, index, taking).await?;
        }
    }
    if !needs_health_port(service) {
        return Ok(());
    }
    let asked = int(&service["spec"]["healthCheckNodePort"]);
    if asked == 0 {
        let found = taking.find().await?;
        let full = || Status::internal("failed to allocate a HealthCheck NodePort: range is full");
        service["spec"]["healthCheckNodePort"] = found.ok_or_else(full)?.into();
    } else if !taking.has(asked)
        && let Some(why) = taking.take(asked).await?
    {
        let why = format!("failed to allocate requested HealthCheck NodePort {asked}: {why}");
        return Err(Status::internal(why));
    }
    Ok(())
}

/// Ports of one number under several protocols of a new Service share a node port, unless they ask for others.
async fn fill_one(service: &mut Value, index: usize, taking: &mut Taking<'_>) -> Result<(), Status> {
    let ports = items(&service["spec"]["ports"]);
    let (number, mut asked) = (int(&ports[index]["port"]), int(&ports[index]["nodePort"]));
    let sibling = ports
        .iter()
        .enumerate()
        .filter(|(at, port)| taking.shares && *at != index && int(&port["port"]) == number)
        .map(|(_, port)| int(&port["nodePort"]))
        .find(|port| *port != 0);
    if asked == 0 {
        asked = sibling.unwrap_or_default();
    }
    if asked == 0 {
        let full = || Status::internal("failed to allocate a nodePort: range is full");
        asked = taking.find().await?.ok_or_else(full)?;
    } else if !taking.has(asked)
        && let Some(why) = taking.take(asked).await?
    {
        let at = SPEC.child("ports");
        let at = at.index(index);
        return Err(invalid(taking.context, &[FieldError::invalid(&at.child("nodePort"), asked, &why)]));
    }
    service["spec"]["ports"][index]["nodePort"] = asked.into();
    Ok(())
}
