//! Probes: whether a container has started, lives, and is ready.
//!
//! Invariant: what a result means is decided by the pure [`Machine`]; what is sent and how an answer is read is in the
//! files beside it. Answers to `pkg/kubelet/prober` and `pkg/probe`.

mod exec;
mod grpc;
pub mod http;
mod machine;
mod tcp;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use gifee_oci::Runtime;
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub use machine::{Change, Machine};

/// The three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Holds back the other two until it succeeds.
    Startup,
    /// A failure restarts the container.
    Liveness,
    /// A failure takes the pod out of its Services.
    Readiness,
}

impl Kind {
    /// As events call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }

    /// The probe of this kind that a container has.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// What one try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Success,
    /// As it should be, but for something that a person may want to know.
    Warning(String),
    /// Not as it should be.
    Failure(String),
}

/// The container that is probed.
pub struct Target<'a> {
    /// Its spec, for named ports.
    pub container: &'a Container,
    /// Its id.
    pub id: &'a str,
    /// The pod's address.
    pub address: Option<IpAddr>,
    /// Runs programs in it.
    pub runtime: &'a dyn Runtime,
}

/// Time for one try.
pub fn timeout(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1))
}

/// Time between two tries.
pub fn period(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1))
}

/// Makes one try.
pub async fn run(probe: &Probe, target: &Target<'_>) -> Outcome {
    let limit = timeout(probe);
    if let Some(action) = &probe.exec {
        return exec::run(action, target, limit).await;
    }
    if let Some(action) = &probe.http_get {
        return http::probe(action, target, limit).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let port = port(&action.port, target.container);
        return tcp::run(action.host.as_deref(), port, target.address, limit).await;
    }
    if let Some(action) = &probe.grpc {
        return grpc::run(action.port, action.service.as_deref().unwrap_or_default(), target.address, limit)
            .await;
    }
    Outcome::Failure(format!("missing probe handler for {}", target.container.name))
}

/// A port by number or by name.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    match number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0) {
        Some(number) => Ok(number),
        None => Err(match port {
            IntOrString::Int(number) => format!("invalid port number: {number}"),
            IntOrString::String(name) => format!("couldn't find port: {name:?}"),
        }),
    }
}
