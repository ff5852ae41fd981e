//! The identity in a client certificate: common name is the user, organizations are the groups.
//!
//! Answers to upstream's `x509` authenticator. The TLS layer has verified chain and dates before.

use super::AUTHENTICATED;
use crate::User;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Object identifier of the attribute that carries a UID.
const UID: &str = "1.3.6.1.4.1.57683.2";

/// The user that a DER certificate names; None if it has no common name or is no certificate.
pub fn user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.into());
    let mut user = User { name, groups, ..User::default() };
    for attribute in subject.iter_attributes() {
        if attribute.attr_type().to_id_string() == UID {
            user.uid = attribute.as_str().unwrap_or_default().to_owned();
        }
    }
    // Upstream names the certificate so that audit can tell two of the same user apart.
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("X509SHA256={hex}")]);
    Some(user)
}
