//! Who approves or signs a certificate may do so for its signer; nobody asks for one of `system:masters`.
//!
//! Answers to upstream's `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`.

use super::{Operation, Request, Rule};
use crate::{Attributes, Lookup};
use base64::Engine;
use gifee_base::Status;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

const GROUP: &str = "certificates.k8s.io";

/// Whether the user may do `verb` for a signer: by its name, or by its domain and `/*`.
pub(super) fn may(request: &Request<'_>, lookup: &dyn Lookup, verb: &str, signer: &str) -> bool {
    let ask = |name: &str| {
        let attributes = Attributes {
            verb: verb.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: "signers".into(),
            name: name.into(),
            ..Attributes::default()
        };
        request.permitted(attributes, lookup).is_ok()
    };
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    ask(signer) || ask(&format!("{domain}/*"))
}

fn is_request(request: &Request<'_>, subresource: &str) -> bool {
    &*request.gvk.group == GROUP
        && request.resource == "certificatesigningrequests"
        && request.subresource == subresource
}

/// The rule for approvals.
pub struct CertificateApproval;

impl Rule for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validate(&self, request: &Request<'_>, _object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !is_request(request, "approval") || request.operation != Operation::Update {
            return Ok(());
        }
        let signer = request.old.and_then(|old| old["spec"]["signerName"].as_str()).unwrap_or_default();
        if may(request, lookup, "approve", signer) {
            return Ok(());
        }
        Err(request.forbidden(&format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

/// The rule for certificates.
pub struct CertificateSigning;

impl Rule for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let Some(old) =
            request.old.filter(|_| &*request.gvk.group == GROUP && request.subresource == "status")
        else {
            return Ok(());
        };
        let same = |field: &str| old["status"][field] == object["status"][field];
        let signs = match request.resource {
            "certificatesigningrequests" => !same("certificate") || !same("conditions"),
            "podcertificaterequests" => true,
            _ => false,
        };
        let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
        if request.operation != Operation::Update || !signs || may(request, lookup, "sign", signer) {
            return Ok(());
        }
        Err(request.forbidden(&format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

/// The rule for subjects.
pub struct CertificateSubjectRestriction;

impl Rule for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
        const MASTERS: &str = "system:masters";
        let asks = is_request(request, "") && request.operation == Operation::Create;
        if !asks || object["spec"]["signerName"] != CLIENT {
            return Ok(());
        }
        let encoded = object["spec"]["request"].as_str().unwrap_or_default();
        let subject =
            subject(encoded).map_err(|why| request.forbidden(&format!("failed to parse CSR: {why}")))?;
        if subject.organizations.iter().any(|group| group == MASTERS) {
            let why = format!("use of {CLIENT} signer with {MASTERS} group is not allowed");
            return Err(request.forbidden(&why));
        }
        Ok(())
    }
}

/// Whom a certificate would be about.
pub(super) struct Subject {
    /// The common name: the user.
    pub name: String,
    /// The organizations: the user's groups.
    pub organizations: Vec<String>,
}

/// Reads the subject of an encoded certificate request.
pub(super) fn subject(encoded: &str) -> Result<Subject, String> {
    let pem = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let block = match x509_parser::pem::parse_x509_pem(&pem) {
        Ok((_, block)) if block.label == "CERTIFICATE REQUEST" => block,
        _ => return Err("PEM block type must be CERTIFICATE REQUEST".into()),
    };
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    let texts = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<String>>();
    Ok(Subject {
        name: texts(subject.iter_common_name().filter_map(|one| one.as_str().ok()).collect())
            .into_iter()
            .next_back()
            .unwrap_or_default(),
        organizations: texts(subject.iter_organization().filter_map(|one| one.as_str().ok()).collect()),
    })
}
