//! Why a call failed, in the words of Go's HTTP client and of upstream's REST client, which clients match on.

use gifee_base::{Reason, Status};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap};
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use std::error::Error as StdError;
use std::io::ErrorKind;

/// What Go says of a call whose time is over.
pub(super) const DEADLINE: &str = "context deadline exceeded";
/// Causes of an error that are looked at.
const CAUSES: usize = 16;

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no answer, or no end of it.
    #[error("{method} {url:?}: {why}")]
    Transport {
        /// Method, as Go writes it.
        method: &'static str,
        /// Address.
        url: String,
        /// The cause.
        why: String,
    },
    /// The answer was not a success.
    #[error("{0}")]
    Refused(Box<Status>),
    /// The endpoint cannot be called as it is described.
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// An answer with a code that is no success; upstream's `NewGenericServerResponse`.
    pub(super) fn refused(code: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_text = content_type.is_empty() || content_type.starts_with("text/");
        let text =
            if is_text { String::from_utf8_lossy(body).trim().to_owned() } else { "unknown".to_owned() };
        let or =
            |usual: &str| if text.is_empty() || text == "unknown" { usual.to_owned() } else { text.clone() };
        let (reason, message) = match code {
            400 => (Reason::BadRequest, "the server rejected our request for an unknown reason".to_owned()),
            401 => (Reason::Unauthorized, "the server has asked for the client to provide credentials".to_owned()),
            403 => (Reason::Forbidden, text),
            404 => (Reason::NotFound, "the server could not find the requested resource".to_owned()),
            405 => (
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource".to_owned(),
            ),
            406 => (
                Reason::NotAcceptable,
                or("the server was unable to respond with a content type that the client supports"),
            ),
            409 => (Reason::AlreadyExists, "the server reported a conflict".to_owned()),
            415 => (Reason::UnsupportedMediaType, text),
            422 => (Reason::Invalid, "the server rejected our request due to an error in our request".to_owned()),
            429 => (
                Reason::TooManyRequests,
                "the server has received too many requests and has asked us to try again later".to_owned(),
            ),
            503 => (
                Reason::ServiceUnavailable,
                "the server is currently unable to handle the request".to_owned(),
            ),
            504 => (
                Reason::Timeout,
                "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
            ),
            500.. => (
                Reason::InternalError,
                format!("an error on the server ({text:?}) has prevented the request from being successful"),
            ),
            _ => (
                Reason::Unknown,
                format!("the server responded with the status code {code} but did not return more information"),
            ),
        };
        Self::Refused(Box::new(Status { code, ..Status::new(reason, message) }))
    }

    /// Whether the time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport { why, .. } if why == DEADLINE)
    }
}

/// A method, as Go's HTTP client begins its errors with it.
pub(super) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "Get",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        Method::DELETE => "Delete",
        Method::HEAD => "Head",
        _ => "Do",
    }
}

/// The cause at the bottom of an error, in Go's words.
pub fn reason_of(error: &(dyn StdError + 'static)) -> String {
    let mut current = Some(error);
    let mut text = error.to_string();
    for _ in 0..CAUSES {
        let Some(cause) = current else { break };
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return of_tls(tls);
            }
            return match io.kind() {
                ErrorKind::UnexpectedEof => "EOF".to_owned(),
                ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
                _ => io.to_string(),
            };
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_incomplete_message()
        {
            return "EOF".to_owned();
        }
        text = cause.to_string();
        current = cause.source();
    }
    text
}

fn of_tls(error: &rustls::Error) -> String {
    let verify = |why: String| format!("tls: failed to verify certificate: x509: {why}");
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                verify("certificate signed by unknown authority".to_owned())
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                verify(wrong_name(expected, presented))
            }
            CertificateError::Expired | CertificateError::NotValidYet => {
                verify("certificate has expired or is not yet valid".to_owned())
            }
            CertificateError::ExpiredContext { time, not_after } => verify(format!(
                "certificate has expired or is not yet valid: current time {} is after {}",
                instant(time.as_secs()),
                instant(not_after.as_secs())
            )),
            CertificateError::NotValidYetContext { time, not_before } => verify(format!(
                "certificate has expired or is not yet valid: current time {} is before {}",
                instant(time.as_secs()),
                instant(not_before.as_secs())
            )),
            CertificateError::Other(other) => verify(other.0.to_string()),
            other => verify(other.to_string()),
        },
        rustls::Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        other => format!("tls: {other}"),
    }
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let named: Vec<&str> = presented.iter().map(|one| name_in(one)).collect();
    match expected {
        ServerName::IpAddress(_) if named.is_empty() => {
            format!(
                "cannot validate certificate for {} because it doesn't contain any IP SANs",
                expected.to_str()
            )
        }
        _ if named.is_empty() => {
            format!("certificate is not valid for any names, but wanted to match {}", expected.to_str())
        }
        _ => format!("certificate is valid for {}, not {}", named.join(", "), expected.to_str()),
    }
}

/// The name in `DnsName("a.b")` and `IpAddress(1.2.3.4)`.
fn name_in(text: &str) -> &str {
    let inner = text.split_once('(').map_or(text, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

fn instant(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(gifee_base::clock::format_time).unwrap_or_default()
}
