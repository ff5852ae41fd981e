//! Connections from the API server to node agents, pods and services.
//!
//! A node agent must prove itself with a certificate of the cluster's authority, and is shown the server's own
//! client certificate. Pods and services behind `https:` are not verified, as upstream's proxy does not.

use anyhow::Result;
use gifee_apiserver::seam::{Connector, Duplex, Target};
use gifee_base::{Reason, Status};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Connects over TCP, with TLS where the target wants it.
pub struct Nodes {
    tls: TlsConnector,
}

impl Nodes {
    /// With the authority of the nodes' certificates and the server's client certificate.
    ///
    /// # Errors
    /// If a certificate is damaged.
    pub fn new(authority: &crate::pki::Authority, pair: &crate::pki::Pair) -> Result<Self> {
        let (certificates, key) = pair.rustls()?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(authority.roots()?)
            .with_client_auth_cert(certificates, key)?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }
}

fn unreachable(target: &Target, why: impl std::fmt::Display) -> Status {
    let message = format!("error trying to reach {}:{}: {why}", target.host, target.port);
    Status::new(Reason::ServiceUnavailable, message)
}

#[async_trait::async_trait]
impl Connector for Nodes {
    async fn connect(&self, target: &Target) -> Result<Box<dyn Duplex>, Status> {
        let connect = async {
            let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
            stream.set_nodelay(true)?;
            if !target.tls {
                return Ok::<Box<dyn Duplex>, std::io::Error>(Box::new(stream));
            }
            let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
            Ok(Box::new(self.tls.connect(name, stream).await?))
        };
        match tokio::time::timeout(TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(|error| unreachable(target, error)),
            Err(_) => Err(unreachable(target, "timed out")),
        }
    }
}
