//! Requests for certificates, read: what approving and signing look at.
//!
//! Answers to upstream's `pkg/apis/certificates` helpers.

use base64::Engine;
use gifee_base::{Gvr, Object};
use serde::Deserialize;
use std::collections::BTreeMap;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Signer of client certificates of the API server.
pub(crate) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signer of client certificates of node agents.
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of serving certificates of node agents.
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signer without rules of its own.
pub(crate) const LEGACY: &str = "kubernetes.io/legacy-unknown";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// The resource.
pub(crate) fn requests() -> Gvr {
    Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests")
}

/// A CertificateSigningRequest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Request {
    pub metadata: Metadata,
    pub spec: Spec,
    pub status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub creation_timestamp: String,
    pub resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub request: String,
    pub signer_name: String,
    pub usages: Vec<String>,
    pub expiration_seconds: Option<i64>,
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub certificate: String,
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub last_update_time: Option<String>,
}

impl Request {
    /// Reads an object; what is no request is an empty one.
    pub fn read(object: &Object) -> Self {
        object.decode().unwrap_or_default()
    }

    /// A condition that holds.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.kind == kind && one.status != "False")
    }

    /// The request itself.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn parse(&self) -> Result<Parsed, String> {
        let pem = base64::engine::general_purpose::STANDARD.decode(&self.spec.request);
        let wrong = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem.map_err(|_| wrong())?).map_err(|_| wrong())?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(wrong());
        }
        Parsed::of(block.contents)
    }
}

/// What a request asks to be certified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub der: Vec<u8>,
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns: Vec<String>,
    pub addresses: Vec<String>,
    pub emails: usize,
    pub uris: usize,
}

impl Parsed {
    fn of(der: Vec<u8>) -> Result<Self, String> {
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        let subject = &request.certification_request_info.subject;
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().map(str::to_owned).ok();
        let mut parsed = Self {
            common_name: subject.iter_common_name().next().and_then(text).unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => parsed.dns.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => parsed.addresses.extend(address(bytes)),
                    GeneralName::RFC822Name(_) => parsed.emails += 1,
                    GeneralName::URI(_) => parsed.uris += 1,
                    _ => {}
                }
            }
        }
        parsed.der = der;
        Ok(parsed)
    }

    /// The node that the request is for the agent of.
    pub fn node(&self) -> &str {
        self.common_name.strip_prefix(NODE_PREFIX).unwrap_or_default()
    }

    fn of_node(&self) -> Result<(), String> {
        if self.organizations != [NODES] {
            return Err("subject organization is not system:nodes".to_owned());
        }
        Ok(())
    }

    /// Whether it may be a node agent's client certificate.
    pub fn kubelet_client(&self, usages: &[String]) -> Result<(), String> {
        self.of_node()?;
        for (there, what) in [
            (!self.dns.is_empty(), "DNS"),
            (self.emails > 0, "Email"),
            (!self.addresses.is_empty(), "IP"),
            (self.uris > 0, "URI"),
        ] {
            if there {
                return Err(format!("{what} subjectAltNames are not allowed"));
            }
        }
        self.named()?;
        these(usages, "client auth")
    }

    /// Whether it may be a node agent's serving certificate.
    pub fn kubelet_serving(&self, usages: &[String]) -> Result<(), String> {
        self.of_node()?;
        if self.dns.is_empty() && self.addresses.is_empty() {
            return Err("DNS or IP subjectAltName is required".to_owned());
        }
        for (there, what) in [(self.emails > 0, "Email"), (self.uris > 0, "URI")] {
            if there {
                return Err(format!("{what} subjectAltNames are not allowed"));
            }
        }
        these(usages, "server auth")?;
        self.named()
    }

    fn named(&self) -> Result<(), String> {
        if self.common_name.starts_with(NODE_PREFIX) {
            return Ok(());
        }
        Err("subject common name does not begin with system:node:".to_owned())
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::IpAddr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|all| std::net::IpAddr::from(all).to_string())
}

/// Whether usages are those of a node agent's certificate; keys that are not RSA encipher nothing.
fn these(usages: &[String], purpose: &str) -> Result<(), String> {
    let mut have: Vec<&str> = usages.iter().map(String::as_str).collect();
    have.sort_unstable();
    have.dedup();
    let mut all = vec!["digital signature", "key encipherment", purpose];
    all.sort_unstable();
    let without: Vec<&str> = all.iter().copied().filter(|one| *one != "key encipherment").collect();
    if have == all || have == without {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", all.join(" ")))
}

/// Whether usages are those of a client of the API server.
pub(crate) fn client_usages(usages: &[String]) -> Result<(), String> {
    let other = usages
        .iter()
        .find(|usage| !matches!(usage.as_str(), "digital signature" | "key encipherment" | "client auth"));
    if let Some(other) = other {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.iter().any(|usage| usage == "client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}
