//! Settings for tests of what depends on them.

use super::*;

struct Anybody;

#[async_trait]
impl Access for Anybody {
    async fn allowed(&self, _: &Peer, _: &str, _: &str) -> Result<(), gifee_base::Status> {
        Ok(())
    }
}

/// Those of a node `n1` that serves nobody.
pub fn config() -> Config {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
    let address = "192.168.1.1".parse().unwrap();
    let mut config = Config::new("n1", PathBuf::from("/r"), address, Arc::new(tls), Arc::new(Anybody));
    config.cluster_dns = vec!["10.96.0.10".parse().unwrap()];
    config
}
