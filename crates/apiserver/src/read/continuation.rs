//! Continue tokens: where the next page of a list starts, and in which state.
//!
//! Answers to apiserver's `storage/continue.go`; the shape of the token is upstream's.

use crate::write::json_word;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use gifee_base::{Reason, Status};
use serde::Serialize;
use serde_json::Value;

/// A token, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The state the list is of; None: the newest, since the first one is gone.
    pub revision: Option<u64>,
    /// Key to go on with.
    pub start: String,
}

#[derive(Serialize)]
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
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| refuse(&undecodable(&error, text)))?;
        let token = gifee_schema::parse::json(&bytes).map_err(|error| refuse(&error.to_string()))?.value;
        let (version, revision, start) =
            (field(&token, "v", refuse)?, field(&token, "rv", refuse)?, field(&token, "start", refuse)?);
        let (version, start) = (version.as_str().unwrap_or_default(), start.as_str().unwrap_or_default());
        if version != "meta.k8s.io/v1" {
            return Err(refuse(&format!("server does not recognize this encoded version {version}")));
        }
        let revision = match revision.as_i64().unwrap_or_default() {
            0 => return Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            rv => u64::try_from(rv).ok(),
        };
        if start.is_empty() {
            return Err(refuse("encoded start key empty (version meta.k8s.io/v1)"));
        }
        let key = start.strip_prefix('/').unwrap_or(start);
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse(start));
        }
        Ok(Self { revision, start: key.to_owned() })
    }
}

/// What is wrong with a text that is no base64, in the words of upstream's language.
fn undecodable(error: &DecodeError, text: &str) -> String {
    let offset = match error {
        DecodeError::InvalidByte(offset, _) | DecodeError::InvalidLastSymbol { offset, .. } => *offset,
        _ => text.len().saturating_sub(1),
    };
    format!("illegal base64 data at input byte {offset}")
}

/// A field of a token; null if it is absent. A revision is a number, the others are texts.
fn field<'a>(token: &'a Value, name: &str, refuse: impl Fn(&str) -> Status) -> Result<&'a Value, Status> {
    if !token.is_object() {
        let kind = json_word(token);
        let why = format!("json: cannot unmarshal {kind} into Go value of type storage.continueToken");
        return Err(refuse(&why));
    }
    let (value, wanted) = (&token[name], if name == "rv" { "int64" } else { "string" });
    if value.is_null() || if name == "rv" { value.is_i64() } else { value.is_string() } {
        return Ok(value);
    }
    let kind = json_word(value);
    let place = format!("Go struct field continueToken.{name} of type {wanted}");
    Err(refuse(&format!("json: cannot unmarshal {kind} into {place}")))
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
        for (bad, expect) in [
            ("a!b", "illegal base64 data at input byte 1"),
            ("abc", "invalid character 'i' looking for beginning of value"),
            ("W10", "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (
                "eyJ2Ijo1fQ",
                "json: cannot unmarshal number into Go struct field continueToken.v of type string",
            ),
        ] {
            let message = Continuation::decode(bad).unwrap_err().message;
            assert_eq!(message, format!("invalid continue token: continue key is not valid: {expect}"));
        }
        let escape = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#);
        assert_eq!(Continuation::decode(&escape).unwrap_err().code, 400);
    }
}
