//! Whom to call: a URL, a Service or an address, what it must prove, and what is presented to it.
//!
//! Answers to the `clientConfig` of webhooks and to upstream's `webhook.ClientConfig`.

use super::Error;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The port of webhooks that name none.
const PORT: u16 = 443;

/// What connections are shared by.
pub(super) type Key = [u8; 32];

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host of a URL.
    Url {
        /// Whether it is `https:`.
        tls: bool,
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Service, reached over TLS; its certificate must be for `name.namespace.svc`.
    Service {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Port of the Service.
        port: u16,
    },
    /// An address that was found otherwise; all of them share connections and limits.
    Address {
        /// Whether it speaks TLS.
        tls: bool,
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

/// What a peer must prove over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// A certificate of an authority that this machine trusts.
    #[default]
    System,
    /// A certificate of one of these authorities, PEM.
    Bundle(Arc<[u8]>),
    /// Nothing.
    Anything,
}

/// What is presented over TLS.
#[derive(Debug)]
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From a certificate chain and a key, PEM.
    ///
    /// # Errors
    /// [`Error::Config`] if they are malformed.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| Error::Config(format!("client certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(key);
        Ok(Self { chain, key: key.map_err(|error| Error::Config(format!("client key: {error}")))? })
    }
}

/// Whom to call. Keep it: what is made for it is found again by a hash that is computed once.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub place: Place,
    /// Path and query of calls that name none.
    pub path: String,
    /// What it must prove.
    pub trust: Trust,
    /// The name that its certificate must carry, if not the host's or the Service's.
    pub server_name: Option<String>,
    /// What is presented to it.
    pub identity: Option<Arc<Identity>>,
    /// The `Authorization` header of every call.
    pub authorization: Option<HeaderValue>,
    /// Whether HTTP/2 may be used. Webhooks stay with HTTP/1.1, so that calls spread over several endpoints.
    pub http2: bool,
    key: OnceLock<Key>,
}

impl Endpoint {
    /// A place, without anything special.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            path: "/".into(),
            trust: Trust::System,
            server_name: None,
            identity: None,
            authorization: None,
            http2: false,
            key: OnceLock::new(),
        }
    }

    /// A URL.
    ///
    /// # Errors
    /// [`Error::Config`] if it is none.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Config(format!("Unparsable URL: parse {url:?}: {why}"));
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        let host = uri.host().ok_or_else(|| wrong("no host"))?.trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("the scheme must be https")),
        };
        let port = uri.port_u16().unwrap_or(if tls { PORT } else { 80 });
        let mut endpoint = Self::new(Place::Url { tls, host, port });
        uri.path_and_query().map_or("/", |path| path.as_str()).clone_into(&mut endpoint.path);
        Ok(endpoint)
    }

    /// The `clientConfig` of a webhook (also of a conversion webhook): `url` or `service`, and `caBundle`.
    ///
    /// # Errors
    /// [`Error::Config`] if it names nobody, or is malformed.
    pub fn from_client_config(config: &Value) -> Result<Self, Error> {
        let mut endpoint = if let Some(url) = config["url"].as_str() {
            Self::from_url(url)?
        } else {
            let service = &config["service"];
            let (Some(namespace), Some(name)) = (service["namespace"].as_str(), service["name"].as_str())
            else {
                return Err(Error::Config(
                    "webhook configuration must have either service or URL".to_owned(),
                ));
            };
            let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
            let mut endpoint =
                Self::new(Place::Service { namespace: namespace.into(), name: name.into(), port });
            let path = service["path"].as_str().unwrap_or_default();
            endpoint.path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            endpoint
        };
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        if !bundle.is_empty() {
            let bytes = STANDARD.decode(bundle.split_whitespace().collect::<String>());
            let bytes = bytes.map_err(|error| Error::Config(format!("caBundle: {error}")))?;
            endpoint.trust = Trust::Bundle(bytes.into());
        }
        Ok(endpoint)
    }

    /// Whether it is called over TLS.
    pub fn is_tls(&self) -> bool {
        match self.place {
            Place::Url { tls, .. } | Place::Address { tls, .. } => tls,
            Place::Service { .. } => true,
        }
    }

    /// The name of the `Host` header: with the port, if that is not the scheme's.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Service { namespace, name, port } => format!("{name}.{namespace}.svc:{port}"),
            Place::Url { tls, host, port } | Place::Address { tls, host, port } => {
                let usual = if *tls { 443 } else { 80 };
                let full = authority(host, *port);
                if *port == usual {
                    full.strip_suffix(&format!(":{port}")).map(str::to_owned).unwrap_or(full)
                } else {
                    full
                }
            }
        }
    }

    /// The name that the certificate must carry, if it is not the host that is dialed.
    pub(super) fn server_name(&self) -> Option<String> {
        match (&self.server_name, &self.place) {
            (Some(name), _) => Some(name.clone()),
            (None, Place::Service { namespace, name, .. }) => Some(format!("{name}.{namespace}.svc")),
            _ => None,
        }
    }

    /// The URL of a path, as messages show it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.is_tls() { "https" } else { "http" }, self.host())
    }

    pub(super) fn path_with_timeout(&self, timeout: Duration) -> String {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        let mut seconds = timeout.as_secs();
        if timeout.subsec_nanos() > 0 {
            seconds += 1;
        }
        match (seconds / 60, seconds % 60) {
            (0, seconds) => format!("{}{sign}timeout={seconds}s", self.path),
            (minutes, seconds) => format!("{}{sign}timeout={minutes}m{seconds}s", self.path),
        }
    }

    /// What its connections are shared by: all but the path.
    pub(super) fn key(&self) -> Key {
        *self.key.get_or_init(|| {
            let mut hash = Sha256::new();
            match &self.place {
                Place::Address { tls, .. } => hash.update(format!("address {tls}")),
                place => hash.update(format!("{place:?}")),
            }
            hash.update(format!("\0{:?}\0{}\0", self.server_name, self.http2));
            match &self.trust {
                Trust::System => hash.update("system"),
                Trust::Anything => hash.update("anything"),
                Trust::Bundle(bytes) => hash.update(bytes),
            }
            if let Some(identity) = &self.identity {
                hash.update("\0");
                identity.chain.iter().for_each(|one| hash.update(one));
            }
            hash.finalize().into()
        })
    }
}

/// `host:port`, with brackets where they are needed.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
