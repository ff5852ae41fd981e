//! The cluster's certificate authority and the certificates of its parts.
//!
//! Everything is made on first use and kept in `pki/` of the data directory, readable by its owner only. A
//! certificate that expires within 90 days, or that lacks a name it now needs, is made anew at start.

use crate::settings::{Settings, write_private};
use anyhow::{Context, Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 86_400);
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks of machines differ: certificates are good from a little before they were made.
const BACKDATE: Duration = Duration::from_secs(300);

/// A certificate and its key, as PEM.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Pair {
    /// As rustls takes them.
    ///
    /// # Errors
    /// If the PEM is damaged.
    pub fn rustls(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificates =
            CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        Ok((certificates, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?))
    }
}

/// Who a certificate is for.
pub struct Subject<'a> {
    /// File name without ending.
    pub file: &'a str,
    /// Common name: the user.
    pub name: &'a str,
    /// Organizations: the groups.
    pub groups: &'a [&'a str],
    /// DNS names and addresses of a server; empty for a client.
    pub names: Vec<String>,
}

/// The certificate authority of a data directory.
pub struct Authority {
    folder: PathBuf,
    pair: Pair,
}

impl Authority {
    /// Opens the authority in a data directory, making it if there is none.
    ///
    /// # Errors
    /// If files cannot be read or written.
    pub fn open(data_dir: &Path) -> Result<Self> {
        Self::named(data_dir, "ca", "gifee-ca")
    }

    /// Opens the authority of proxies that name users in headers: a certificate of it is nobody's own credential.
    ///
    /// # Errors
    /// If files cannot be read or written.
    pub fn front_proxy(data_dir: &Path) -> Result<Self> {
        Self::named(data_dir, "front-proxy-ca", "gifee-front-proxy-ca")
    }

    fn named(data_dir: &Path, file: &str, name: &str) -> Result<Self> {
        let folder = data_dir.join("pki");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let pair = match read(&folder, file)? {
            Some(pair) => pair,
            None => make_authority(&folder, file, name)?,
        };
        Ok(Self { folder, pair })
    }

    /// The data directory that it is in.
    pub fn data_dir(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// The authority's certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.pair.certificate
    }

    /// What signs requests of others.
    ///
    /// # Errors
    /// If the authority's files are damaged.
    pub fn signing_key(&self) -> Result<crate::signing::Key> {
        crate::signing::Key::new(&self.pair.certificate, &self.pair.key)
    }

    /// Roots with this authority alone.
    ///
    /// # Errors
    /// If the PEM is damaged.
    pub fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }

    /// The authority's certificate, as rustls takes it.
    ///
    /// # Errors
    /// If the PEM is damaged.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        Ok(CertificateDer::pem_slice_iter(self.pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?)
    }

    /// The certificate of a subject: the one on disk if it is good for long enough and for all names, else a new one.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn issue(&self, subject: &Subject<'_>) -> Result<Pair> {
        if let Some(pair) = read(&self.folder, subject.file)?
            && good(&pair, subject).unwrap_or(false)
        {
            return Ok(pair);
        }
        let pair =
            self.make(subject).with_context(|| format!("making the certificate {:?}", subject.file))?;
        write(&self.folder, subject.file, &pair)?;
        Ok(pair)
    }

    fn make(&self, subject: &Subject<'_>) -> Result<Pair> {
        let mut params = params(subject.name, subject.groups, LEAF_LIFE)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = if subject.names.is_empty() {
            vec![ExtendedKeyUsagePurpose::ClientAuth]
        } else {
            vec![ExtendedKeyUsagePurpose::ServerAuth]
        };
        for name in &subject.names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.use_authority_key_identifier_extension = true;
        let issuer_key = KeyPair::from_pem(&self.pair.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.pair.certificate, issuer_key)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The serving certificate of the API server.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn api_server(&self, settings: &Settings, host: Option<IpAddr>) -> Result<Pair> {
        let domain = &settings.cluster_domain;
        let mut names: Vec<String> =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"]
                .map(str::to_owned)
                .to_vec();
        names.push(format!("kubernetes.default.svc.{domain}"));
        names.push(settings.node_name.clone());
        names.push(settings.api_address()?.to_string());
        names.extend(host.map(|address| address.to_string()));
        self.issue(&Subject { file: "apiserver", name: "kube-apiserver", groups: &[], names })
    }

    /// The serving certificate of a node agent, kept in `file`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn kubelet_serving(&self, file: &str, node: &str, addresses: &[IpAddr]) -> Result<Pair> {
        let mut names = vec![node.to_owned()];
        names.extend(addresses.iter().map(IpAddr::to_string));
        let user = format!("system:node:{node}");
        self.issue(&Subject { file, name: &user, groups: &["system:nodes"], names })
    }

    /// The client certificate of a user.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn client(&self, file: &str, name: &str, groups: &[&str]) -> Result<Pair> {
        self.issue(&Subject { file, name, groups, names: Vec::new() })
    }

    /// A secret of the cluster kept beside the certificates: made by `make` on first use.
    ///
    /// # Errors
    /// If it cannot be made, read or written.
    pub fn secret(&self, file: &str, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let path = self.folder.join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes = make()?;
                write_private(&path, &bytes)?;
                Ok(bytes)
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

fn params(name: &str, groups: &[&str], life: Duration) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let mut distinguished = DistinguishedName::new();
    for group in groups {
        distinguished.push(DnType::OrganizationName, *group);
    }
    distinguished.push(DnType::CommonName, name);
    params.distinguished_name = distinguished;
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + life).into();
    Ok(params)
}

fn make_authority(folder: &Path, file: &str, name: &str) -> Result<Pair> {
    let mut params = params(name, &[], AUTHORITY_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    write(folder, file, &pair)?;
    Ok(pair)
}

fn read(folder: &Path, file: &str) -> Result<Option<Pair>> {
    let text = |ending: &str| match fs::read_to_string(folder.join(format!("{file}.{ending}"))) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {file}.{ending} in {}", folder.display())),
    };
    Ok(match (text("crt")?, text("key")?) {
        (Some(certificate), Some(key)) => Some(Pair { certificate, key }),
        _ => None,
    })
}

fn write(folder: &Path, file: &str, pair: &Pair) -> Result<()> {
    // The certificate comes last: a crash between the two leaves a key without one, which is made anew.
    write_private(&folder.join(format!("{file}.key")), pair.key.as_bytes())?;
    write_private(&folder.join(format!("{file}.crt")), pair.certificate.as_bytes())
}

/// Whether a certificate is good for a while yet and for every name.
fn good(pair: &Pair, subject: &Subject<'_>) -> Result<bool> {
    let (certificates, _) = pair.rustls()?;
    let der = certificates.first().ok_or_else(|| anyhow!("no certificate"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(der)?;
    let expires = Timestamp::from_second(parsed.validity().not_after.timestamp())?;
    if expires.duration_since(Timestamp::now()) < RENEW_BEFORE {
        return Ok(false);
    }
    let mut have = Vec::new();
    if let Some(names) = parsed.subject_alternative_name()? {
        for name in &names.value.general_names {
            match name {
                x509_parser::extensions::GeneralName::DNSName(name) => have.push((*name).to_owned()),
                x509_parser::extensions::GeneralName::IPAddress(bytes) => {
                    if let Ok(bytes) = <[u8; 4]>::try_from(*bytes) {
                        have.push(IpAddr::from(bytes).to_string());
                    } else if let Ok(bytes) = <[u8; 16]>::try_from(*bytes) {
                        have.push(IpAddr::from(bytes).to_string());
                    }
                }
                _ => {}
            }
        }
    }
    Ok(subject.names.iter().all(|name| have.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_kept_while_good_and_renewed_for_new_names() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let first = authority.kubelet_serving("serving", "n", &["10.0.0.1".parse().unwrap()]).unwrap();
        let again = Authority::open(folder.path()).unwrap();
        assert_eq!(again.certificate(), authority.certificate());
        let same = again.kubelet_serving("serving", "n", &["10.0.0.1".parse().unwrap()]).unwrap();
        assert_eq!(first.certificate, same.certificate);
        let other = again.kubelet_serving("serving", "n", &["10.0.0.2".parse().unwrap()]).unwrap();
        assert_ne!(first.certificate, other.certificate);
        let mode = fs::metadata(folder.path().join("pki/ca.key")).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    }

    #[test]
    fn a_client_certificate_names_its_user_and_groups() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let pair = authority.client("admin", "ann", &["system:masters"]).unwrap();
        let (certificates, _) = pair.rustls().unwrap();
        let user = gifee_policy::authenticate::certificate::user(&certificates[0]).unwrap();
        assert_eq!(user.name, "ann");
        assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    }
}
