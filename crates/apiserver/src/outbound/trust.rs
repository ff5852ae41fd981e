//! TLS towards a peer: what it must prove, what is presented.
//!
//! Invariant: a peer that must prove something is never believed without a check of chain, dates and name.

use super::{Endpoint, Error, Trust};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, OnceLock};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// The configuration of connections to an endpoint.
pub(super) fn client(endpoint: &Endpoint, http2: bool) -> Result<Arc<ClientConfig>, Error> {
    let wrong = |error: rustls::Error| Error::Config(format!("TLS: {error}"));
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(&endpoint.trust, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &endpoint.identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(|error| Error::Config(format!("client certificate: {error}")))?,
        None => builder.with_no_client_auth(),
    };
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Arc::new(config))
}

fn verifier(trust: &Trust, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let (roots, pinned) = match trust {
        Trust::Anything => return Ok(Arc::new(Anything(provider))),
        Trust::System => (system(), Vec::new()),
        Trust::Bundle(bytes) => {
            // As Go does, what is no certificate is passed over, and an empty bundle trusts nobody.
            let all: Vec<_> = CertificateDer::pem_slice_iter(bytes).filter_map(Result::ok).collect();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(all.iter().cloned());
            if roots.is_empty() {
                let why = "unable to load root certificates: unable to parse bytes as PEM block";
                return Err(Error::Config(why.to_owned()));
            }
            (Arc::new(roots), all)
        }
    };
    if roots.is_empty() {
        return Err(Error::Config("this machine trusts no certificate authority".to_owned()));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| Error::Config(format!("TLS: {error}")))?;
    Ok(Arc::new(Verifier { inner, pinned }))
}

/// The authorities that this machine trusts, read once.
fn system() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    ROOTS.get_or_init(load).clone()
}

/// Certificates as they were made once: what upstream counts of those that it refuses.
#[derive(Debug, thiserror::Error)]
enum Legacy {
    #[error("{LEGACY_NAME}")]
    Name,
    #[error("{LEGACY_HASH}{0}")]
    Hash(&'static str),
}

/// What is said of a certificate whose only name is the common one.
pub(super) const LEGACY_NAME: &str = "certificate relies on legacy Common Name field, use SANs instead";
/// What is said of one that is signed over a hash that can be forged.
pub(super) const LEGACY_HASH: &str = "cannot verify signature: insecure algorithm ";
/// Algorithms of such signatures: as they stand in certificates, and as Go names them.
const INSECURE: [(&str, &str); 2] =
    [("1.2.840.113549.1.1.5", "SHA1-RSA"), ("1.2.840.10045.4.1", "ECDSA-SHA1")];

/// Why a certificate that was refused would have been taken once.
fn legacy(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Option<Legacy> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
    if let Some((_, shown)) = INSECURE.iter().find(|(id, _)| *id == algorithm) {
        return Some(Legacy::Hash(shown));
    }
    let named = parsed.subject_alternative_name().ok()?.is_some();
    let mut common = parsed.subject().iter_common_name().filter_map(|one| one.as_str().ok());
    (!named && common.any(|common| common.eq_ignore_ascii_case(&name.to_str()))).then_some(Legacy::Name)
}

/// WebPKI, and one thing that Go takes as well: an authority's own certificate as that of the server, if it is
/// in the bundle. Self-signed webhooks are like that.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn is_pinned(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = ASN1Time::from_timestamp(seconds).is_ok_and(|now| parsed.validity().is_valid_at(now));
        valid
            && self.pinned.iter().any(|one| one == certificate)
            && ParsedCertificate::try_from(certificate)
                .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let outcome = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match &outcome {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.0.to_string().contains("CaUsedAsEndEntity")
                    && self.is_pinned(certificate, name, now) =>
            {
                Ok(ServerCertVerified::assertion())
            }
            Err(_) => match legacy(certificate, name) {
                Some(legacy) => Err(CertificateError::Other(rustls::OtherError(Arc::new(legacy))).into()),
                None => outcome,
            },
            Ok(_) => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts every certificate, and still checks that the peer holds its key.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
