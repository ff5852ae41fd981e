//! Who is asking: client certificates, tokens of several makes, front proxies; and what an identity always carries.
//!
//! Answers to upstream's authentication chain. An authenticator that does not know the credential passes; one that
//! knows it and finds it bad refuses.

pub mod bootstrap;
pub mod certificate;
mod claims;
pub mod configuration;
pub mod legacy;
pub mod oidc;
pub mod request_header;
pub mod token;

use crate::User;

/// The group of everybody who was authenticated.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody who was not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of a user without credentials.
pub const ANONYMOUS: &str = "system:anonymous";

/// The user of a request without credentials.
pub fn anonymous() -> User {
    User { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() }
}

/// The identity of a service account.
pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.into(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        ..User::default()
    }
}

#[cfg(test)]
mod tests;
