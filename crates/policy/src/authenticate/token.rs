//! Service-account tokens: signed, bound to objects, expiring.
//!
//! Answers to upstream's `serviceaccount` token generator and authenticator. A token is good while its signature,
//! issuer, audience and dates are, and while the service account and the object it is bound to still exist
//! with the same UID. Signatures are verified once; the rest at every use.

pub use super::claims::Bound;
use super::claims::{Claims, Private};
use super::legacy;
pub use super::legacy::Legacy;
use crate::{Lookup, User};
use base64::Engine;
use gifee_base::ObjectKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// How many verified tokens are remembered; beyond it all are forgotten and verified anew.
const REMEMBERED: usize = 10_000;

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
    /// After how many seconds its use is reported as stale.
    pub warn_after_seconds: Option<i64>,
}

/// A new token.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The token.
    pub token: String,
    /// Its name in the audit log.
    pub credential_id: String,
}

/// An accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub user: Arc<User>,
    /// The audiences both asked for and in the token.
    pub audiences: Vec<String>,
    /// For the audit log; usually empty.
    pub annotations: Vec<(&'static str, String)>,
    /// The Secret of a legacy token whose label does not say yet that it was used today.
    pub used: Option<ObjectKey>,
}

/// A token whose signature was good, and whose it is.
struct Known {
    claims: Kept,
    user: Arc<User>,
}

enum Kept {
    Bound(Box<Claims>),
    Legacy(legacy::Claims),
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
    pub fn issue(&self, request: Request, now: i64) -> Result<Signed, Error> {
        let Request { namespace, service_account, audiences, expiration_seconds, pod, secret, node, .. } =
            request;
        let claims = Claims {
            aud: if audiences.is_empty() { self.audiences.clone() } else { audiences },
            exp: now + expiration_seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{}", service_account.name),
            private: Private {
                namespace,
                serviceaccount: service_account,
                pod,
                secret,
                node,
                warnafter: request.warn_after_seconds.map(|seconds| now + seconds),
            },
        };
        let token = self.sign(&claims)?;
        Ok(Signed { token, credential_id: format!("JTI={}", claims.jti) })
    }

    /// Signs the token of a Secret of type `kubernetes.io/service-account-token`: it never ends by itself.
    ///
    /// # Errors
    /// If signing fails.
    pub fn issue_legacy(&self, legacy: &Legacy<'_>) -> Result<String, Error> {
        self.sign(&legacy::Claims::new(legacy))
    }

    fn sign(&self, claims: &impl serde::Serialize) -> Result<String, Error> {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(Error::Sign)
    }

    /// Whether a bearer token claims to be of this issuer: else another authenticator may know it.
    pub fn knows(&self, token: &str) -> bool {
        issuer_of(token).is_some_and(|issuer| issuer == self.issuer || issuer == legacy::ISSUER)
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
        let known = self.claims(token)?;
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        // A legacy token names nobody whom it is for: it is for the API server alone.
        let meant = match &known.claims {
            Kept::Bound(claims) => &claims.aud,
            Kept::Legacy(_) => &self.audiences,
        };
        let matching: Vec<String> = wanted.iter().filter(|one| meant.contains(one)).cloned().collect();
        if matching.is_empty() {
            return Err(Error::Refused(format!(
                "token audiences {meant:?} is invalid for the target audiences {wanted:?}"
            )));
        }
        let (annotations, used) = match &known.claims {
            Kept::Bound(claims) => (claims.check(now, lookup)?, None),
            Kept::Legacy(claims) => claims.check(token, now, lookup)?,
        };
        Ok(Verified { user: known.user.clone(), audiences: matching, annotations, used })
    }

    fn claims(&self, token: &str) -> Result<Arc<Known>, Error> {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let key: [u8; 32] = digest.as_ref().try_into().unwrap_or_default();
        if let Some(known) = self.verified.lock().get(&key) {
            return Ok(known.clone());
        }
        let legacy = issuer_of(token).is_some_and(|issuer| issuer == legacy::ISSUER);
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&[if legacy { legacy::ISSUER } else { &self.issuer }]);
        if legacy {
            rules.required_spec_claims.clear();
        }
        // Dates and audiences are judged at every use, by the injected clock.
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        let refused = |error| Error::Refused(format!("invalid bearer token: {error}"));
        let (claims, user) = if legacy {
            let claims =
                jsonwebtoken::decode::<legacy::Claims>(token, &self.verifying, &rules).map_err(refused)?;
            let user = claims.claims.identity();
            (Kept::Legacy(claims.claims), user)
        } else {
            let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &rules).map_err(refused)?;
            let user = claims.claims.identity();
            (Kept::Bound(Box::new(claims.claims)), user)
        };
        let known = Arc::new(Known { claims, user: Arc::new(user) });
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

/// The issuer that a token names, before anything of it is verified.
pub fn issuer_of(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, body, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let body = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).ok()?;
    let claims: Value = serde_json::from_slice(&body).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}
