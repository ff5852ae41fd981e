//! The authenticators of a server, in order: front proxies, client certificates, service-account and bootstrap tokens,
//! tokens of other issuers, tokens that a webhook knows; then nobody, where that is allowed.
//!
//! Invariant: credentials that no authenticator accepts are refused, never taken for none. What caches can answer
//! costs no future. Answers to kube-apiserver's `authentication` options.

mod front_proxy;
mod keys;
mod webhook;

pub use front_proxy::FrontProxies;
pub use webhook::Webhook;

use crate::delegate::Memory;
use crate::outbound::Outbound;
use crate::seam::{Answer, Asked, Authenticated, Authenticator, Identity, Issued, Reviewed, TokenRequest};
use arc_swap::ArcSwap;
use base64::Engine;
use gifee_base::{Clock, ObjectKey, Reason, Status};
use gifee_policy::authenticate::configuration::{Anonymous, Configuration};
use gifee_policy::authenticate::oidc::{Jwt, Refusal};
use gifee_policy::authenticate::token::{Bound, Request, Tokens, issuer_of};
use gifee_policy::authenticate::{bootstrap, certificate, request_header};
use gifee_policy::{Lookup, User};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use keys::Keys;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A life that says: report the token as stale from then on, but take it for a year. What mounted tokens ask for.
const WARN_SECONDS: i64 = 3_607;
/// How long such a token is good.
const EXTENDED_SECONDS: i64 = 365 * 86_400;
/// Secrets whose label waits to be written; further ones are written at a later use.
const USED: usize = 256;
/// Users of foreign tokens remembered, so that their signatures are not verified at each use.
const REMEMBERED: usize = 10_000;
/// For how long; upstream's figure.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// What a bearer token in the protocols of a WebSocket begins with.
const WEBSOCKET: &str = "base64url.bearer.authorization.k8s.io.";

/// Another issuer.
struct Foreign {
    jwt: Arc<Jwt>,
    keys: Keys,
    known: Memory<Arc<User>>,
}

/// What a file can change.
#[derive(Default)]
struct Settings {
    foreign: Vec<Arc<Foreign>>,
    anonymous: Option<Anonymous>,
}

/// All authenticators.
pub struct Credentials {
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    proxies: Option<FrontProxies>,
    webhook: Option<Webhook>,
    settings: ArcSwap<Settings>,
    used: Option<mpsc::Sender<ObjectKey>>,
}

/// Whose a token is.
type Found = Result<(Authenticated, Vec<String>), String>;

impl Credentials {
    /// With the cluster's token authority.
    pub fn new(tokens: Arc<Tokens>, clock: Arc<dyn Clock>) -> Self {
        let settings = ArcSwap::from_pointee(Settings::default());
        Self { tokens, clock, proxies: None, webhook: None, settings, used: None }
    }

    /// Believes these proxies.
    #[must_use]
    pub fn with_front_proxies(mut self, proxies: FrontProxies) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// Asks this webhook about tokens that nobody else knows.
    #[must_use]
    pub fn with_webhook(mut self, webhook: Webhook) -> Self {
        self.webhook = Some(webhook);
        self
    }

    /// Secrets of tokens that were used on a day that their label does not name yet.
    pub fn used(&mut self) -> mpsc::Receiver<ObjectKey> {
        let (sender, receiver) = mpsc::channel(USED);
        self.used = Some(sender);
        receiver
    }

    /// Takes a configuration from now on, in place of the one before.
    pub fn configure(&self, configuration: Configuration, outbound: &Arc<Outbound>) {
        let foreign = configuration.jwt.into_iter().map(|jwt| {
            let keys = Keys::new(outbound.clone(), jwt.config.issuer.clone());
            Arc::new(Foreign { jwt, keys, known: Memory::new(REMEMBERED) })
        });
        let settings = Settings { foreign: foreign.collect(), anonymous: configuration.anonymous };
        self.settings.store(Arc::new(settings));
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// Whose token it is, by what is known here; None: somebody else has to be asked.
    fn local(&self, token: &str, audiences: &[String], lookup: &dyn Lookup) -> Option<Found> {
        if self.tokens.knows(token) {
            let verified = self.tokens.verify(token, audiences, self.now(), lookup);
            return Some(verified.map_err(|error| error.to_string()).map(|verified| {
                if let (Some(key), Some(used)) = (verified.used, &self.used) {
                    let _ = used.try_send(key);
                }
                let found = Authenticated { user: verified.user, annotations: verified.annotations };
                (found, verified.audiences)
            }));
        }
        // Everything from here on is for this server alone.
        let matching = self.own(audiences);
        if matching.is_empty() {
            return None;
        }
        let user = bootstrap::user(token, self.now(), lookup)?;
        Some(Ok((Arc::new(user).into(), matching)))
    }

    /// Those of `audiences` that are this server's.
    fn own(&self, audiences: &[String]) -> Vec<String> {
        let own = self.tokens.audiences();
        if audiences.is_empty() {
            own.to_vec()
        } else {
            audiences.iter().filter(|one| own.contains(one)).cloned().collect()
        }
    }

    /// Whose token it is, asked of whoever may know it.
    async fn elsewhere(&self, token: &str, audiences: &[String]) -> Found {
        let settings = self.settings.load_full();
        let mut errors: Vec<String> = Vec::new();
        let matching = self.own(audiences);
        if let Some(issuer) = issuer_of(token).filter(|_| !matching.is_empty()) {
            let same = |foreign: &&Arc<Foreign>| foreign.jwt.config.issuer.url == issuer;
            for foreign in settings.foreign.iter().filter(same) {
                match foreign.user(token, self.now()).await {
                    Ok(user) => return Ok((user.into(), matching)),
                    Err(error) => errors.push(error),
                }
            }
        }
        if let Some(webhook) = &self.webhook {
            let asked = if audiences.is_empty() { self.tokens.audiences() } else { audiences };
            let outcome = match webhook.known(token, asked) {
                Some(outcome) => outcome,
                None => webhook.ask(token, asked).await,
            };
            match outcome {
                Ok((user, audiences)) => return Ok((user.into(), audiences)),
                Err(error) => errors.push(error),
            }
        }
        errors.retain(|error| !error.is_empty());
        errors.dedup();
        Err(match errors.as_slice() {
            [] => "invalid bearer token".to_owned(),
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        })
    }

    fn anonymous(&self, path: &str) -> Result<Option<Authenticated>, Status> {
        match &self.settings.load().anonymous {
            Some(anonymous) if !anonymous.admits(path) => Err(unauthorized()),
            _ => Ok(None),
        }
    }
}

impl Foreign {
    async fn user(&self, token: &str, now: i64) -> Result<Arc<User>, String> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.known.get(&key) {
            return Ok(user);
        }
        let claims = match self.keys.present().map(|keys| self.jwt.verify(token, &keys, now)) {
            Some(Ok(claims)) => Ok(claims),
            Some(Err(Refusal::Bad(why))) => Err(Refusal::Bad(why)),
            None | Some(Err(Refusal::UnknownKey)) => {
                let keys = self.keys.fetch().await?;
                self.jwt.verify(token, &keys, now)
            }
        };
        let user = claims.and_then(|claims| self.jwt.user(&claims)).map_err(|refusal| match refusal {
            Refusal::UnknownKey => {
                "oidc: verify token: failed to verify signature: no key of the issuer signed it".to_owned()
            }
            Refusal::Bad(why) => why,
        })?;
        let user = Arc::new(user);
        self.known.put(key, user.clone(), REMEMBERED_FOR);
        Ok(user)
    }
}

/// 401.
pub fn unauthorized() -> Status {
    Status::new(Reason::Unauthorized, "Unauthorized")
}

/// The bearer token of a request; None: it has none, and whatever else stands there is nobody's business.
fn bearer(headers: &http::HeaderMap) -> Result<Option<std::borrow::Cow<'_, str>>, Status> {
    if let Some(header) = headers.get(AUTHORIZATION) {
        let header = header.to_str().map_err(|_| unauthorized())?;
        let mut words = header.trim().splitn(2, ' ');
        let scheme = words.next().unwrap_or_default();
        let token = words.next().unwrap_or_default().trim();
        if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
            return Ok(Some(token.into()));
        }
    }
    let Some(protocols) = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some(token) = protocols.split(',').find_map(|one| one.trim().strip_prefix(WEBSOCKET)) else {
        return Ok(None);
    };
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| unauthorized())?;
    let token = String::from_utf8(bytes).map_err(|_| unauthorized())?;
    Ok(Some(token.into()))
}

impl Authenticator for Credentials {
    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<Identity> {
        let user = certificate::user(chain.first()?).map(Arc::new);
        match &self.proxies {
            None => user.map(Identity::User),
            Some(proxies) => proxies.identity(chain, user),
        }
    }

    fn headers<'a>(
        &'a self,
        asked: Asked<'a>,
        lookup: &'a dyn Lookup,
    ) -> Answer<'a, Result<Option<Authenticated>, Status>> {
        if asked.front_proxy {
            let headers = asked.headers.iter();
            let texts = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
            if let Some(user) = request_header::user(texts) {
                return Answer::Now(Ok(Some(Arc::new(user).into())));
            }
        }
        let token = match bearer(asked.headers) {
            Err(status) => return Answer::Now(Err(status)),
            Ok(None) => return Answer::Now(self.anonymous(asked.path)),
            Ok(Some(token)) => token,
        };
        let refuse = |error: String| {
            tracing::debug!(%error, "a bearer token was refused");
            unauthorized()
        };
        match self.local(&token, &[], lookup) {
            Some(found) => Answer::Now(found.map(|(found, _)| Some(found)).map_err(refuse)),
            None => Answer::Later(Box::pin(async move {
                self.elsewhere(&token, &[]).await.map(|(found, _)| Some(found)).map_err(refuse)
            })),
        }
    }

    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
        lookup: &'a dyn Lookup,
    ) -> Answer<'a, Result<Reviewed, Status>> {
        let reviewed = |found: Found| {
            Ok(match found {
                Ok((found, audiences)) => {
                    Reviewed { user: Some(found.user), audiences, error: String::new() }
                }
                Err(error) => Reviewed { error, ..Reviewed::default() },
            })
        };
        match self.local(token, audiences, lookup) {
            Some(found) => Answer::Now(reviewed(found)),
            None => Answer::Later(Box::pin(async move { reviewed(self.elsewhere(token, audiences).await) })),
        }
    }

    fn issue(&self, request: &TokenRequest<'_>) -> Result<Issued, Status> {
        let bound = |wanted: &str| match &request.bound {
            Some((kind, name, uid)) if kind == wanted => Some(Bound { name: name.clone(), uid: uid.clone() }),
            _ => None,
        };
        let node = request.node.as_ref().map(|(name, uid)| Bound { name: name.clone(), uid: uid.clone() });
        let own = self.tokens.audiences();
        let audiences = match request.audiences.as_slice() {
            [] => own.to_vec(),
            asked => asked.to_vec(),
        };
        let (pod, seconds) = (bound("Pod"), request.expiration_seconds);
        let extended =
            seconds == WARN_SECONDS && pod.is_some() && audiences.iter().all(|one| own.contains(one));
        let now = self.now();
        let signed = self.tokens.issue(
            Request {
                namespace: request.account.namespace.to_string(),
                service_account: Bound {
                    name: request.account.name.to_string(),
                    uid: request.account_uid.into(),
                },
                audiences: audiences.clone(),
                expiration_seconds: if extended { EXTENDED_SECONDS } else { seconds },
                warn_after_seconds: extended.then_some(seconds),
                pod,
                secret: bound("Secret"),
                node: node.or_else(|| bound("Node")),
            },
            now,
        );
        let signed = signed.map_err(Status::internal)?;
        let expiration = jiff::Timestamp::from_second(now + seconds).map_err(Status::internal)?;
        Ok(Issued {
            token: signed.token,
            expiration: gifee_base::clock::format_time(expiration),
            audiences,
            credential_id: signed.credential_id,
        })
    }
}
