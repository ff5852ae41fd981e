//! Service-account tokens: signed, bound to objects, expiring.
//!
//! Answers to upstream's `serviceaccount` token generator and authenticator. A token is good while its signature,
//! issuer, audience and dates are, and while the service account and the object it is bound to still exist
//! with the same UID. Signatures are verified once; the rest at every use.

use super::service_account;
use crate::{Lookup, User};
use base64::Engine;
use gifee_base::ObjectKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// How many verified tokens are remembered; beyond it all are forgotten and verified anew.
const REMEMBERED: usize = 10_000;
/// Seconds that clocks may differ by.
const LEEWAY_SECONDS: u64 = 10;

/// What went wrong with keys or tokens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is no P-256 private key in PKCS#8.
    #[error("reading the service-account signing key: {0}")]
    Key(String),
    /// A token could not be signed.
    #[error("signing a service-account token: {0}")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// A token is bad.
    #[error("{0}")]
    Refused(String),
}

/// A named object with its UID, in a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Name.
    pub name: String,
    /// UID.
    #[serde(default)]
    pub uid: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Private {
    namespace: String,
    serviceaccount: Bound,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warnafter: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    private: Private,
    nbf: i64,
    sub: String,
}

/// What a new token shall say.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub service_account: Bound,
    /// For whom; empty: the API server itself.
    pub audiences: Vec<String>,
    /// How long it is good.
    pub expiration_seconds: i64,
    /// The pod it dies with.
    pub pod: Option<Bound>,
    /// The secret it dies with.
    pub secret: Option<Bound>,
    /// The node it dies with, or the pod's node for information.
    pub node: Option<Bound>,
}

/// An accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub user: Arc<User>,
    /// The audiences both asked for and in the token.
    pub audiences: Vec<String>,
}

/// A token whose signature was good, and whose it is.
struct Known {
    claims: Claims,
    user: Arc<User>,
}

/// The token authority of a cluster.
pub struct Tokens {
    issuer: String,
    audiences: Vec<String>,
    key_id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Vec<u8>,
    verified: Mutex<HashMap<[u8; 32], Arc<Known>>>,
}

impl Tokens {
    /// With a P-256 key as PKCS#8 DER; `audiences` are the API server's own.
    ///
    /// # Errors
    /// If the key is none.
    pub fn new(pkcs8: &[u8], issuer: &str, audiences: Vec<String>) -> Result<Self, Error> {
        let random = ring::rand::SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|error| Error::Key(error.to_string()))?;
        let public = pair.public_key().as_ref().to_vec();
        let encoder = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let key_id = encoder.encode(ring::digest::digest(&ring::digest::SHA256, &public));
        Ok(Self {
            issuer: issuer.into(),
            audiences,
            key_id,
            signing: EncodingKey::from_ec_der(pkcs8),
            verifying: DecodingKey::from_ec_der(&public),
            public,
            verified: Mutex::new(HashMap::new()),
        })
    }

    /// A new private key, as PKCS#8 DER.
    ///
    /// # Errors
    /// If the machine has no randomness.
    pub fn generate_key() -> Result<Vec<u8>, Error> {
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        document.map(|document| document.as_ref().to_vec()).map_err(|error| Error::Key(error.to_string()))
    }

    /// Issuer of the tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The API server's own audiences.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Signs a token; `now` in Unix seconds.
    ///
    /// # Errors
    /// If signing fails.
    pub fn issue(&self, request: Request, now: i64) -> Result<String, Error> {
        let Request { namespace, service_account, audiences, expiration_seconds, pod, secret, node } =
            request;
        let claims = Claims {
            aud: if audiences.is_empty() { self.audiences.clone() } else { audiences },
            exp: now + expiration_seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: unique(),
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{}", service_account.name),
            private: Private {
                namespace,
                serviceaccount: service_account,
                pod,
                secret,
                node,
                warnafter: None,
            },
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(Error::Sign)
    }

    /// Whether a bearer token claims to be of this issuer: else another authenticator may know it.
    pub fn knows(&self, token: &str) -> bool {
        let Some(body) = token.split('.').nth(1) else { return false };
        let decoder = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims = decoder.decode(body).ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        claims.is_some_and(|claims| claims["iss"] == self.issuer)
    }

    /// Accepts a token for one of `audiences` (empty: the API server's own); `now` in Unix seconds.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: i64,
        lookup: &dyn Lookup,
    ) -> Result<Verified, Error> {
        let refuse = |why: &str| Err(Error::Refused(why.to_owned()));
        let known = self.claims(token)?;
        let claims = &known.claims;
        let leeway = LEEWAY_SECONDS.cast_signed();
        if now > claims.exp {
            return refuse("service account token has expired");
        }
        if now + leeway < claims.nbf {
            return refuse("service account token is not valid yet");
        }
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let matching: Vec<String> = wanted.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
        if matching.is_empty() {
            return Err(Error::Refused(format!(
                "token audiences {:?} is invalid for the target audiences {wanted:?}",
                claims.aud
            )));
        }
        let private = &claims.private;
        let account = ObjectKey::new(&private.namespace, &private.serviceaccount.name);
        exists(lookup, "serviceaccounts", &account, &private.serviceaccount.uid)?;
        if let Some(pod) = &private.pod {
            exists(lookup, "pods", &ObjectKey::new(&private.namespace, &pod.name), &pod.uid)?;
        } else if let Some(secret) = &private.secret {
            exists(lookup, "secrets", &ObjectKey::new(&private.namespace, &secret.name), &secret.uid)?;
        } else if let Some(node) = &private.node {
            exists(lookup, "nodes", &ObjectKey::cluster(&node.name), &node.uid)?;
        }
        Ok(Verified { user: known.user.clone(), audiences: matching })
    }

    fn claims(&self, token: &str) -> Result<Arc<Known>, Error> {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let key: [u8; 32] = digest.as_ref().try_into().unwrap_or_default();
        if let Some(known) = self.verified.lock().get(&key) {
            return Ok(known.clone());
        }
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[&self.issuer]);
        // Dates and audiences are judged at every use, by the injected clock.
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.verifying, &rules)
            .map_err(|error| Error::Refused(format!("invalid bearer token: {error}")))?;
        let user = Arc::new(identity(&decoded.claims));
        let known = Arc::new(Known { claims: decoded.claims, user });
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(key, known.clone());
        Ok(known)
    }

    /// The key set at `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        let encoder = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        // An uncompressed point: 4, x, y.
        let (x, y) = self.public.get(1..65).unwrap_or(&[0; 64]).split_at(32);
        json!({ "keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": encoder.encode(x), "y": encoder.encode(y),
        }] })
    }

    /// The document at `/.well-known/openid-configuration`; `key_set_url` is where the keys are.
    pub fn configuration(&self, key_set_url: &str) -> Value {
        json!({
            "issuer": self.issuer, "jwks_uri": key_set_url, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

fn unique() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness the identifier is empty of meaning, never of use: it is for audit only.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    (bytes[6], bytes[8]) = (bytes[6] & 0x0f | 0x40, bytes[8] & 0x3f | 0x80);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn exists(lookup: &dyn Lookup, resource: &str, key: &ObjectKey, uid: &str) -> Result<(), Error> {
    let what = resource.trim_end_matches('s');
    match lookup.get("", resource, key) {
        None => Err(Error::Refused(format!("{what} {key} of the service account token does not exist"))),
        Some(object) if object.uid() != uid => {
            Err(Error::Refused(format!("{what} UID ({}) does not match claim ({uid})", object.uid())))
        }
        Some(_) => Ok(()),
    }
}

fn identity(claims: &Claims) -> User {
    let private = &claims.private;
    let account = &private.serviceaccount;
    let mut user = service_account(&private.namespace, &account.name, &account.uid);
    let mut extra = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    extra("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &private.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &private.node {
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    user
}
