//! Continue tokens: where the next page of a list starts, and in which state.
//!
//! Answers to apiserver's `storage/continue.go`; the shape of the token is upstream's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gifee_base::{Reason, Status};
use serde::{Deserialize, Serialize};

/// A token, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The state the list is of; None: the newest, since the first one is gone.
    pub revision: Option<u64>,
    /// Key to go on with.
    pub start: String,
}

#[derive(Serialize, Deserialize)]
struct Token<'a> {
    v: &'a str,
    rv: i64,
    start: &'a str,
}

impl Continuation {
    /// The token.
    pub fn encode(&self) -> String {
        let rv = self.revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
        let token = Token { v: "meta.k8s.io/v1", rv, start: &self.start };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// From a token.
    ///
    /// # Errors
    /// 400 if it is none.
    pub fn decode(text: &str) -> Result<Self, Status> {
        let refuse = |why: &str| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let bytes =
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| refuse(&error.to_string()))?;
        // The start may hold escapes, so it cannot be borrowed.
        #[derive(Deserialize)]
        struct Owned {
            v: String,
            rv: i64,
            #[serde(default)]
            start: String,
        }
        let token: Owned = serde_json::from_slice(&bytes).map_err(|error| refuse(&error.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(refuse(&format!("server does not recognize this encoded version {}", token.v)));
        }
        let revision = match token.rv {
            0 => return Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            rv => u64::try_from(rv).ok(),
        };
        if token.start.is_empty() {
            return Err(refuse("encoded start key empty (version meta.k8s.io/v1)"));
        }
        let start = token.start.strip_prefix('/').unwrap_or(&token.start);
        if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse(&token.start));
        }
        Ok(Self { revision, start: start.to_owned() })
    }
}

/// 410 with a token that goes on in the newest state.
pub fn expired(start: &str) -> Status {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    let mut status = Status::new(Reason::Expired, message);
    status.continuation = Some(Continuation { revision: None, start: start.to_owned() }.encode());
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_nonsense_does_not() {
        for revision in [None, Some(7)] {
            let token = Continuation { revision, start: "a/b\"c\0".into() };
            assert_eq!(Continuation::decode(&token.encode()).unwrap(), token);
        }
        for bad in ["", "%%%", "e30", &URL_SAFE_NO_PAD.encode(r#"{"v":"v2","rv":1,"start":"a"}"#)] {
            assert_eq!(Continuation::decode(bad).unwrap_err().code, 400, "{bad}");
        }
        let escape = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#);
        assert_eq!(Continuation::decode(&escape).unwrap_err().code, 400);
    }
}
