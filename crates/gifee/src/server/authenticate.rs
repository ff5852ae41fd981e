//! The API server's authenticator: client certificates and service-account tokens, by the rules of `policy`.

use gifee_apiserver::seam::{
    Answer, Asked, Authenticated, Authenticator, Identity, Issued, Reviewed, TokenRequest,
};
use gifee_base::{Clock, Reason, Status};
use gifee_policy::Lookup;
use gifee_policy::authenticate::certificate;
use gifee_policy::authenticate::token::{Bound, Request, Tokens};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// Shortest life of a token, as upstream.
const SHORTEST_SECONDS: i64 = 600;
/// Longest life of a token: a year, as upstream's default for extended tokens.
const LONGEST_SECONDS: i64 = 365 * 86_400;

/// Certificates and tokens.
pub struct Credentials {
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
}

impl Credentials {
    /// With the cluster's token authority.
    pub fn new(tokens: Arc<Tokens>, clock: Arc<dyn Clock>) -> Self {
        Self { tokens, clock }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    fn bearer(&self, asked: Asked<'_>, lookup: &dyn Lookup) -> Result<Option<Authenticated>, Status> {
        let Some(header) = asked.headers.get(http::header::AUTHORIZATION) else { return Ok(None) };
        let header = header.to_str().map_err(|_| unauthorized())?;
        let Some((scheme, token)) = header.split_once(' ') else { return Err(unauthorized()) };
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || !self.tokens.knows(token) {
            return Err(unauthorized());
        }
        match self.tokens.verify(token, &[], self.now(), lookup) {
            Ok(verified) => Ok(Some(verified.user.into())),
            Err(error) => {
                tracing::debug!(%error, "a bearer token was refused");
                Err(unauthorized())
            }
        }
    }
}

fn unauthorized() -> Status {
    Status::new(Reason::Unauthorized, "Unauthorized")
}

impl Authenticator for Credentials {
    fn certificate(&self, chain: &[CertificateDer<'_>]) -> Option<Identity> {
        certificate::user(chain.first()?).map(|user| Identity::User(Arc::new(user)))
    }

    fn headers<'a>(
        &'a self,
        asked: Asked<'a>,
        lookup: &'a dyn Lookup,
    ) -> Answer<'a, Result<Option<Authenticated>, Status>> {
        Answer::Now(self.bearer(asked, lookup))
    }

    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
        lookup: &'a dyn Lookup,
    ) -> Answer<'a, Result<Reviewed, Status>> {
        if !self.tokens.knows(token) {
            return Answer::Now(Ok(Reviewed { error: "invalid bearer token".into(), ..Reviewed::default() }));
        }
        Answer::Now(Ok(match self.tokens.verify(token, audiences, self.now(), lookup) {
            Ok(verified) => {
                Reviewed { user: Some(verified.user), audiences: verified.audiences, error: String::new() }
            }
            Err(error) => Reviewed { error: error.to_string(), ..Reviewed::default() },
        }))
    }

    fn issue(&self, request: &TokenRequest<'_>) -> Result<Issued, Status> {
        let bound = |wanted: &str| match &request.bound {
            Some((kind, name, uid)) if kind == wanted => Some(Bound { name: name.clone(), uid: uid.clone() }),
            _ => None,
        };
        let node = request.node.as_ref().map(|(name, uid)| Bound { name: name.clone(), uid: uid.clone() });
        let expiration_seconds = request.expiration_seconds.clamp(SHORTEST_SECONDS, LONGEST_SECONDS);
        let audiences = match request.audiences.as_slice() {
            [] => self.tokens.audiences().to_vec(),
            asked => asked.to_vec(),
        };
        let now = self.now();
        let token = self.tokens.issue(
            Request {
                namespace: request.account.namespace.to_string(),
                service_account: Bound {
                    name: request.account.name.to_string(),
                    uid: request.account_uid.into(),
                },
                audiences: audiences.clone(),
                expiration_seconds,
                pod: bound("Pod"),
                secret: bound("Secret"),
                node: node.or_else(|| bound("Node")),
            },
            now,
        );
        let token = token.map_err(Status::internal)?;
        let expiration = jiff::Timestamp::from_second(now + expiration_seconds).map_err(Status::internal)?;
        Ok(Issued { token, expiration: gifee_base::clock::format_time(expiration), audiences })
    }
}
