//! Signs certificate requests with the cluster's authority.
//!
//! Invariant: the key stays in this process and in this function's hands; who wants a certificate gets no more than the
//! request asks for, bounded by the authority's own life, and never an authority. Answers to upstream's
//! `pkg/controller/certificates/authority`.

use anyhow::{Context, Result, bail};
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use std::time::{Duration, SystemTime};
use x509_cert::Certificate;
use x509_cert::builder::{Builder, CertificateBuilder, Profile};
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, DecodePem, Encode, EncodePem, pem::LineEnding};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::request::{CertReq, ExtensionReq};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_parser::prelude::FromDer;

/// Clocks differ: certificates are good from a little before they were made; upstream's figure.
const BACKDATE: Duration = Duration::from_secs(300);
/// Certificates of a shorter life end as late as they were asked for; upstream's figure.
const SHORT: Duration = Duration::from_secs(8 * 3_600);
/// Bytes of a serial number.
const SERIAL_BYTES: usize = 16;

/// Usages that are bits of the key usage.
const KEY_USAGES: [(&str, KeyUsages); 10] = [
    ("signing", KeyUsages::DigitalSignature),
    ("digital signature", KeyUsages::DigitalSignature),
    ("content commitment", KeyUsages::NonRepudiation),
    ("key encipherment", KeyUsages::KeyEncipherment),
    ("key agreement", KeyUsages::KeyAgreement),
    ("data encipherment", KeyUsages::DataEncipherment),
    ("cert sign", KeyUsages::KeyCertSign),
    ("crl sign", KeyUsages::CRLSign),
    ("encipher only", KeyUsages::EncipherOnly),
    ("decipher only", KeyUsages::DecipherOnly),
];

/// Usages that are object identifiers, in the order in which Go writes them.
const EXTENDED_USAGES: [(&str, &str); 13] = [
    ("any", "2.5.29.37.0"),
    ("server auth", "1.3.6.1.5.5.7.3.1"),
    ("client auth", "1.3.6.1.5.5.7.3.2"),
    ("code signing", "1.3.6.1.5.5.7.3.3"),
    ("email protection", "1.3.6.1.5.5.7.3.4"),
    ("s/mime", "1.3.6.1.5.5.7.3.4"),
    ("ipsec end system", "1.3.6.1.5.5.7.3.5"),
    ("ipsec tunnel", "1.3.6.1.5.5.7.3.6"),
    ("ipsec user", "1.3.6.1.5.5.7.3.7"),
    ("timestamping", "1.3.6.1.5.5.7.3.8"),
    ("ocsp signing", "1.3.6.1.5.5.7.3.9"),
    ("microsoft sgc", "1.3.6.1.4.1.311.10.3.3"),
    ("netscape sgc", "2.16.840.1.113730.4.1"),
];

/// What is signed with.
pub struct Key {
    certificate: Certificate,
    key: SigningKey,
}

impl Key {
    /// From the authority's certificate and key, PEM.
    ///
    /// # Errors
    /// If they are malformed, or the key is none of P-256.
    pub fn new(certificate: &str, key: &str) -> Result<Self> {
        let certificate =
            Certificate::from_pem(certificate).context("reading the authority's certificate")?;
        let key = SigningKey::from_pkcs8_pem(key).context("reading the authority's key")?;
        Ok(Self { certificate, key })
    }

    /// Signs a request, DER, for some usages and so long a life; gives the certificate as PEM.
    ///
    /// # Errors
    /// If the request is malformed or not signed by its own key, or a usage is unknown.
    pub fn sign(&self, request: &[u8], usages: &[String], life: Duration, now: SystemTime) -> Result<String> {
        verify(request)?;
        let info = CertReq::from_der(request)?.info;
        let authority = &self.certificate.tbs_certificate;
        let mut ends = now + if life < SHORT { life } else { life - BACKDATE };
        ends = ends.min(authority.validity.not_after.to_system_time());
        let validity = Validity { not_before: time(now - BACKDATE)?, not_after: time(ends)? };
        let mut builder = CertificateBuilder::new(
            Profile::Manual { issuer: Some(authority.subject.clone()) },
            serial()?,
            validity,
            info.subject.clone(),
            info.public_key.clone(),
            &self.key,
        )?;
        extend(&mut builder, usages)?;
        builder.add_extension(&BasicConstraints { ca: false, path_len_constraint: None })?;
        if let Some(identifier) = identifier(&self.certificate) {
            builder.add_extension(&AuthorityKeyIdentifier {
                key_identifier: Some(identifier),
                ..AuthorityKeyIdentifier::default()
            })?;
        }
        let names = names(&info)?;
        if !names.is_empty() {
            builder.add_extension(&SubjectAltName(names))?;
        }
        let certificate = builder.build::<DerSignature>()?;
        Ok(certificate.to_pem(LineEnding::LF)?)
    }
}

fn verify(request: &[u8]) -> Result<()> {
    let parsed = x509_parser::certification_request::X509CertificationRequest::from_der(request);
    let (_, parsed) = parsed.context("unable to parse certificate request")?;
    parsed.verify_signature().context("unable to verify certificate request signature")
}

fn time(at: SystemTime) -> Result<Time> {
    // Whole seconds: a certificate knows no others.
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    Ok(Time::try_from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?)
}

fn serial() -> Result<SerialNumber> {
    let mut bytes = [0; SERIAL_BYTES];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| anyhow::anyhow!("this machine has no randomness"))?;
    // Positive and not null.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::new(&bytes)?)
}

fn identifier(certificate: &Certificate) -> Option<OctetString> {
    let extensions = certificate.tbs_certificate.extensions.as_ref()?;
    let found = extensions.iter().find(|one| one.extn_id == SubjectKeyIdentifier::OID)?;
    Some(SubjectKeyIdentifier::from_der(found.extn_value.as_bytes()).ok()?.0)
}

fn extend(builder: &mut CertificateBuilder<'_, SigningKey>, usages: &[String]) -> Result<()> {
    let named = |usage: &String, name: &str| usage == name;
    let unknown = usages.iter().find(|usage| {
        !KEY_USAGES.iter().any(|(name, _)| named(usage, name))
            && !EXTENDED_USAGES.iter().any(|(name, _)| named(usage, name))
    });
    if let Some(usage) = unknown {
        bail!("unrecognized usage values: [{usage:?}]");
    }
    let wanted = |name: &str| usages.iter().any(|usage| usage == name);
    let mut bits: Option<FlagSet<KeyUsages>> = None;
    for (_, bit) in KEY_USAGES.iter().filter(|(name, _)| wanted(name)) {
        bits = Some(bits.map_or(FlagSet::from(*bit), |bits| bits | *bit));
    }
    if let Some(bits) = bits {
        builder.add_extension(&KeyUsage(bits))?;
    }
    let mut extended: Vec<ObjectIdentifier> = Vec::new();
    for (_, identifier) in EXTENDED_USAGES.iter().filter(|(name, _)| wanted(name)) {
        let identifier = ObjectIdentifier::new(identifier)?;
        if !extended.contains(&identifier) {
            extended.push(identifier);
        }
    }
    if !extended.is_empty() {
        builder.add_extension(&ExtendedKeyUsage(extended))?;
    }
    Ok(())
}

/// The alternative names that a request asks for; whatever else it asks for is not given.
fn names(info: &x509_cert::request::CertReqInfo) -> Result<Vec<GeneralName>> {
    let mut names = Vec::new();
    for attribute in info.attributes.iter().filter(|one| one.oid == ExtensionReq::OID) {
        for value in attribute.values.iter() {
            let extensions = ExtensionReq::from_der(&value.to_der()?)?;
            for extension in extensions.0.iter().filter(|one| one.extn_id == SubjectAltName::OID) {
                let found = SubjectAltName::from_der(extension.extn_value.as_bytes())?;
                names.extend(found.0.into_iter().filter(|name| {
                    matches!(
                        name,
                        GeneralName::DnsName(_)
                            | GeneralName::IpAddress(_)
                            | GeneralName::Rfc822Name(_)
                            | GeneralName::UniformResourceIdentifier(_)
                    )
                }));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;
    use x509_parser::prelude::*;

    #[test]
    fn a_certificate_says_what_was_asked_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let key = authority.signing_key().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["n".into(), "10.0.0.1".into()]).unwrap();
        let mut subject = rcgen::DistinguishedName::new();
        subject.push(rcgen::DnType::OrganizationName, "system:nodes");
        subject.push(rcgen::DnType::CommonName, "system:node:n");
        params.distinguished_name = subject;
        params.is_ca = rcgen::IsCa::NoCa;
        let pair = rcgen::KeyPair::generate().unwrap();
        let request = params.serialize_request(&pair).unwrap();
        let now = SystemTime::now();
        let usages = ["digital signature", "key encipherment", "server auth"].map(str::to_owned);
        let pem = key.sign(request.der(), &usages, Duration::from_secs(7_200), now).unwrap();
        let (_, block) = parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        let (_, ca) = parse_x509_pem(authority.certificate().as_bytes()).unwrap();
        let ca = ca.parse_x509().unwrap();
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        assert_eq!(certificate.issuer(), ca.subject());
        assert_eq!(certificate.subject().to_string(), "O=system:nodes, CN=system:node:n");
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
        assert!(!certificate.is_ca());
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let extended = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth);
        let validity = certificate.validity();
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 7_200 + 300);
        let user = gifee_policy::authenticate::certificate::user(&block.contents).unwrap();
        assert_eq!((user.name.as_str(), user.groups[0].as_str()), ("system:node:n", "system:nodes"));

        let mut forged = request.der().to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(key.sign(&forged, &usages, Duration::from_secs(7_200), now).is_err());
        assert!(key.sign(request.der(), &["fly".to_owned()], Duration::from_secs(7_200), now).is_err());
        let long = key.sign(request.der(), &usages, Duration::from_secs(100 * 365 * 86_400), now).unwrap();
        let (_, block) = parse_x509_pem(long.as_bytes()).unwrap();
        assert_eq!(block.parse_x509().unwrap().validity().not_after, ca.validity().not_after);
    }
}
