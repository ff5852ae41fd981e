//! x
use crate::agent::Agent;
use crate::error::Error;
use std::sync::Arc;
/// x
pub struct Server {
    listener: tokio::net::TcpListener,
}
impl Server {
    /// x
    pub async fn bind(address: std::net::SocketAddr) -> Result<Server, Error> {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        Ok(Server { listener })
    }
    /// x
    pub fn port(&self) -> u16 {
        self.listener.local_addr().map_or(0, |a| a.port())
    }
    /// x
    pub async fn serve(self, _agent: Arc<Agent>) {}
}
