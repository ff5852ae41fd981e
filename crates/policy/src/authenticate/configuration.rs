//! `AuthenticationConfiguration`: who else may say who somebody is, and who may be nobody.
//!
//! Invariant: a configuration is taken whole or not at all. Answers to `apiserver.config.k8s.io/v1` and its validation.

use super::oidc::{Compile, Jwt};
use gifee_base::field::{FieldError, Path};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// Issuers that one file may name; upstream's figure.
const ISSUERS_MAXIMUM: usize = 64;
const GROUP: &str = "apiserver.config.k8s.io/";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// As the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    api_version: String,
    kind: String,
    jwt: Vec<JwtAuthenticator>,
    anonymous: Option<Anonymous>,
}

/// Who may be nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Anonymous {
    /// Whether anybody may.
    pub enabled: bool,
    /// Where; empty: everywhere.
    pub conditions: Vec<Condition>,
}

impl Anonymous {
    /// Whether a request without credentials is let in at a path.
    pub fn admits(&self, path: &str) -> bool {
        self.enabled && (self.conditions.is_empty() || self.conditions.iter().any(|one| one.path == path))
    }
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Condition {
    /// The path, whole.
    pub path: String,
}

/// One issuer of tokens, and how its tokens are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtAuthenticator {
    /// The issuer.
    pub issuer: Issuer,
    /// What claims must be.
    pub claim_validation_rules: Vec<ClaimRule>,
    /// What claims become.
    pub claim_mappings: Mappings,
    /// What the user must be.
    pub user_validation_rules: Vec<UserRule>,
}

/// An issuer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Issuer {
    /// `iss` of its tokens.
    pub url: String,
    /// Where its discovery document is, if not under its URL.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// PEM of the authorities that sign its certificate; empty: those of this machine.
    pub certificate_authority: String,
    /// Audiences of which a token must name one.
    pub audiences: Vec<String>,
    /// `MatchAny`, which several audiences need.
    pub audience_match_policy: String,
    /// By which network it is reached.
    pub egress_selector_type: String,
}

/// A claim of a value, or an expression over all claims.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimRule {
    /// The claim.
    pub claim: String,
    /// Its value.
    pub required_value: String,
    /// The expression.
    pub expression: String,
    /// What is said if it is false.
    pub message: String,
}

/// An expression over the user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserRule {
    /// The expression.
    pub expression: String,
    /// What is said if it is false.
    pub message: String,
}

/// What becomes of claims.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mappings {
    /// The user's name.
    pub username: Mapping,
    /// Their groups.
    pub groups: Mapping,
    /// Their UID.
    pub uid: Mapping,
    /// Extra attributes.
    pub extra: Vec<Extra>,
}

/// A claim, or an expression over all of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mapping {
    /// The claim.
    pub claim: String,
    /// Put before its value.
    pub prefix: Option<String>,
    /// The expression.
    pub expression: String,
}

/// An extra attribute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Extra {
    /// Its key.
    pub key: String,
    /// Its values.
    pub value_expression: String,
}

/// A configuration that holds together, compiled.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Issuers.
    pub jwt: Vec<Arc<Jwt>>,
    /// Who may be nobody; None: the file does not say.
    pub anonymous: Option<Anonymous>,
}

/// Reads a configuration; `own` are the issuers of the cluster itself, which a file may not name.
///
/// # Errors
/// What is wrong with it, a line each.
pub fn read(value: Value, own: &[&str], compile: &Compile<'_>) -> Result<Configuration, String> {
    let file: File = serde_json::from_value(value).map_err(|error| format!("decoding: {error}"))?;
    let version = file.api_version.strip_prefix(GROUP).unwrap_or_default();
    if file.kind != "AuthenticationConfiguration" || !VERSIONS.contains(&version) {
        return Err(format!(
            "no kind {:?} is registered for version {:?}: expected AuthenticationConfiguration in {GROUP}v1",
            file.kind, file.api_version
        ));
    }
    let mut errors = Vec::new();
    let root = Path::root("jwt");
    if file.jwt.len() > ISSUERS_MAXIMUM {
        errors.push(FieldError::too_many(&root, file.jwt.len(), ISSUERS_MAXIMUM));
    }
    let (mut urls, mut places) = (HashSet::new(), HashSet::new());
    let mut jwt = Vec::new();
    for (index, one) in file.jwt.iter().enumerate() {
        let path = root.index(index);
        let issuer = path.child("issuer");
        check_issuer(&issuer, &one.issuer, own, &mut errors);
        if !urls.insert(&one.issuer.url) {
            errors.push(FieldError::duplicate(&issuer.child("url"), one.issuer.url.as_str()));
        }
        let place = &one.issuer.discovery_url;
        if !place.is_empty() && !places.insert(place) {
            errors.push(FieldError::duplicate(&issuer.child("discoveryURL"), place.as_str()));
        }
        jwt.push(Arc::new(Jwt::new(one, &path, compile, &mut errors)));
    }
    if let Some(anonymous) = &file.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let root = Path::root("anonymous");
        let shown: Vec<Value> = anonymous.conditions.iter().map(|one| one.path.as_str().into()).collect();
        let why = "enabled should be set to true when conditions are defined";
        errors.push(FieldError::invalid(&root.child("conditions"), shown, why));
    }
    if errors.is_empty() {
        return Ok(Configuration { jwt, anonymous: file.anonymous });
    }
    Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn check_issuer(path: &Path<'_>, issuer: &Issuer, own: &[&str], errors: &mut Vec<FieldError>) {
    let url = path.child("url");
    if issuer.url.is_empty() {
        errors.push(FieldError::required(&url, ""));
    } else {
        if own.contains(&issuer.url.as_str()) {
            let why = format!("URL must not overlap with disallowed issuers: {own:?}");
            errors.push(FieldError::invalid(&url, issuer.url.as_str(), &why));
        }
        check_url(&url, &issuer.url, errors);
    }
    if !issuer.discovery_url.is_empty() {
        let place = path.child("discoveryURL");
        if issuer.url.trim_end_matches('/') == issuer.discovery_url.trim_end_matches('/') {
            let why = "discoveryURL must be different from URL";
            errors.push(FieldError::invalid(&place, issuer.discovery_url.as_str(), why));
        }
        check_url(&place, &issuer.discovery_url, errors);
    }
    check_audiences(path, issuer, errors);
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let mut bundle = CertificateDer::pem_slice_iter(issuer.certificate_authority.as_bytes()).peekable();
    if !issuer.certificate_authority.is_empty() && !bundle.peek().is_some_and(Result::is_ok) {
        let why = "data does not contain any valid RSA or ECDSA certificates";
        errors.push(FieldError::invalid(&path.child("certificateAuthority"), "<omitted>", why));
    }
    if !matches!(issuer.egress_selector_type.as_str(), "" | "controlplane" | "cluster") {
        let why = "egress selector must be either controlplane or cluster";
        let place = path.child("egressSelectorType");
        errors.push(FieldError::invalid(&place, issuer.egress_selector_type.as_str(), why));
    }
}

fn check_audiences(path: &Path<'_>, issuer: &Issuer, errors: &mut Vec<FieldError>) {
    let audiences = path.child("audiences");
    if issuer.audiences.is_empty() {
        errors.push(FieldError::required(&audiences, &format!("at least one {audiences} is required")));
        return;
    }
    for (index, audience) in issuer.audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.push(FieldError::required(&audiences.index(index), ""));
        }
        if issuer.audiences[..index].contains(audience) {
            errors.push(FieldError::duplicate(&audiences.index(index), audience.as_str()));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let why = match issuer.audiences.len() {
        1 if !matches!(policy, "" | "MatchAny") => {
            "audienceMatchPolicy must be empty or MatchAny for single audience"
        }
        2.. if policy != "MatchAny" => "audienceMatchPolicy must be MatchAny for multiple audiences",
        _ => return,
    };
    errors.push(FieldError::invalid(&path.child("audienceMatchPolicy"), policy, why));
}

fn check_url(path: &Path<'_>, url: &str, errors: &mut Vec<FieldError>) {
    let mut wrong = |why: &str| errors.push(FieldError::invalid(path, url, why));
    let Some((scheme, rest)) = url.split_once("://") else { return wrong("URL scheme must be https") };
    if scheme != "https" {
        wrong("URL scheme must be https");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        wrong("URL must not contain a username or password");
    }
    if rest
        .split('#')
        .next()
        .is_some_and(|rest| rest.split_once('?').is_some_and(|(_, query)| !query.is_empty()))
    {
        wrong("URL must not contain a query");
    }
    if rest.split_once('#').is_some_and(|(_, fragment)| !fragment.is_empty()) {
        wrong("URL must not contain a fragment");
    }
}
