//! Which connections are those of proxies that authenticate others.
//!
//! Invariant: a certificate of the proxies' authority alone is nobody's own credential. Answers to upstream's
//! `requestheader-*` options.

use crate::seam::Identity;
use crate::server::Error;
use gifee_policy::User;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;

/// The proxies that are believed.
pub struct FrontProxies {
    proxies: Arc<dyn ClientCertVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

fn verifier(authorities: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(Error::Tls)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))
}

impl FrontProxies {
    /// Proxies have a certificate of `proxies` with a common name among `names` (empty: any); users have one of
    /// `clients`. The listener's TLS must take both.
    ///
    /// # Errors
    /// If a certificate is malformed.
    pub fn new(
        proxies: &[CertificateDer<'static>],
        clients: &[CertificateDer<'static>],
        names: Vec<String>,
    ) -> Result<Self, Error> {
        Ok(Self { proxies: verifier(proxies)?, clients: verifier(clients)?, names })
    }

    /// Who a verified chain is; `user` is who it names.
    pub(super) fn identity(&self, chain: &[CertificateDer<'_>], user: Option<Arc<User>>) -> Option<Identity> {
        let (first, rest) = chain.split_first()?;
        let now = UnixTime::now();
        let user = user?;
        let named = self.names.is_empty() || self.names.contains(&user.name);
        let proxy = named && self.proxies.verify_client_cert(first, rest, now).is_ok();
        let client = self.clients.verify_client_cert(first, rest, now).is_ok();
        match (proxy, client) {
            (true, true) => Some(Identity::FrontProxy(Some(user))),
            (true, false) => Some(Identity::FrontProxy(None)),
            (false, true) => Some(Identity::User(user)),
            (false, false) => Some(Identity::Nobody),
        }
    }
}
