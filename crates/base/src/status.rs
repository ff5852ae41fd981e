//! The error of the API side: `metav1.Status` with Kubernetes' reasons, codes and causes.
//!
//! Answers to apimachinery's `api/errors`; the message texts are those clients match on.

use crate::field::FieldError;
use crate::gvk::group_resource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;

/// One cause in the details of a `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Machine-readable reason, such as `FieldValueInvalid`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// For a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `details` of a `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind or resource, as upstream fills it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Why, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

fn is_zero(value: &i32) -> bool {
    *value == 0
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// Machine-readable reason of a failure; each has one HTTP code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                let word = match self { $(Self::$name => stringify!($name)),* };
                if self == Self::Unknown { "" } else { word }
            }
            /// The HTTP status code.
            pub fn code(self) -> u16 {
                match self { $(Self::$name => $code),* }
            }
            /// From the word on the wire; anything else is `Unknown`.
            pub fn parse(word: &str) -> Self {
                match word { $(stringify!($name) => Self::$name,)* _ => Self::Unknown }
            }
        }
    };
}

reasons! {
    /// No reason was given.
    Unknown = 500,
    /// 401
    Unauthorized = 401,
    /// 403
    Forbidden = 403,
    /// 404
    NotFound = 404,
    /// 409: the name is taken.
    AlreadyExists = 409,
    /// 409: the object changed meanwhile, or is in the wrong state.
    Conflict = 409,
    /// 410
    Gone = 410,
    /// 422: validation failed.
    Invalid = 422,
    /// 504: the server asks the client to try again.
    ServerTimeout = 504,
    /// 500: a store time-out, written as upstream does.
    StoreReadError = 500,
    /// 504
    Timeout = 504,
    /// 429
    TooManyRequests = 429,
    /// 400
    BadRequest = 400,
    /// 405
    MethodNotAllowed = 405,
    /// 406
    NotAcceptable = 406,
    /// 413
    RequestEntityTooLarge = 413,
    /// 415
    UnsupportedMediaType = 415,
    /// 500
    InternalError = 500,
    /// 410: the resource version is too old.
    Expired = 410,
    /// 503
    ServiceUnavailable = 503,
}

/// A failed (or, rarely, successful) outcome of an API call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Why.
    pub reason: Reason,
    /// For a person, in upstream's words.
    pub message: String,
    /// About what.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`, set with an expired continue token.
    pub continuation: Option<String>,
    /// A reason that is none of [`Reason`], as somebody else gave it.
    pub other_reason: Option<Box<str>>,
}

/// What an API function returns.
pub type Result<T, E = Status> = std::result::Result<T, E>;

impl Status {
    /// With a reason's own code and no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            reason,
            message: message.into(),
            details: None,
            continuation: None,
            other_reason: None,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..Details::default()
        }));
        self
    }

    /// 404: `pods "x" not found`
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{} {name:?} not found", group_resource(group, resource)))
            .about(group, resource, name)
    }

    /// 404 for a path that names no resource.
    pub fn no_such_path() -> Self {
        let mut status = Self::new(Reason::NotFound, "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }

    /// 409: `pods "x" already exists`
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::new(
            Reason::AlreadyExists,
            format!("{} {name:?} already exists", group_resource(group, resource)),
        )
        .about(group, resource, name)
    }

    /// 409: `Operation cannot be fulfilled on pods "x": <why>`
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let subject = group_resource(group, resource);
        Self::new(Reason::Conflict, format!("Operation cannot be fulfilled on {subject} {name:?}: {why}"))
            .about(group, resource, name)
    }

    /// The conflict of an update at a stale resource version.
    pub fn stale(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 403: `pods "x" is forbidden: <why>`
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let subject = group_resource(group, resource);
        let message = if name.is_empty() {
            format!("{subject} is forbidden: {why}")
        } else {
            format!("{subject} {name:?} is forbidden: {why}")
        };
        Self::new(Reason::Forbidden, message).about(group, resource, name)
    }

    /// 422: `Deployment.apps "x" is invalid: <errors>`
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let subject = group_resource(group, kind);
        // What is found twice is said once, though each is a cause.
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for text in errors.iter().map(FieldError::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let body = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status = Self::new(Reason::Invalid, format!("{subject} {name:?} is invalid: {body}"))
            .about(group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = errors.iter().map(FieldError::cause).collect();
        }
        status
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 500: `Internal error occurred: <why>`
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let mut status = Self::new(Reason::InternalError, format!("Internal error occurred: {why}"));
        status.details = Some(Box::new(Details {
            causes: vec![Cause { message: why.to_string(), ..Cause::default() }],
            ..Details::default()
        }));
        status
    }

    /// 410 with reason Expired.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// 503
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, message)
    }

    /// 504 with a hint when to try again.
    pub fn timeout(message: &str, retry_after_seconds: i32) -> Self {
        let mut status = Self::new(Reason::Timeout, format!("Timeout: {message}"));
        status.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        status
    }

    /// Whether the reason is `reason`.
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason
    }

    /// The JSON body: `{"kind":"Status","apiVersion":"v1",…,"status":"Failure"}`.
    pub fn to_value(&self) -> Value {
        let metadata = match &self.continuation {
            Some(token) => json!({ "continue": token }),
            None => json!({}),
        };
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": if self.code < 400 { "Success" } else { "Failure" },
            "message": self.message, "code": self.code,
        });
        if self.reason != Reason::Unknown {
            body["reason"] = self.reason.as_str().into();
        } else if let Some(reason) = &self.other_reason {
            body["reason"] = (&**reason).into();
        }
        if let Some(details) = &self.details {
            body["details"] = serde_json::to_value(details).unwrap_or(Value::Null);
        }
        body
    }

    /// From a response body; a body that is no `Status` becomes the message.
    pub fn from_body(code: u16, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if value["kind"] != "Status" {
            let text = String::from_utf8_lossy(body).trim().to_owned();
            let reason = match code {
                400 => Reason::BadRequest,
                401 => Reason::Unauthorized,
                403 => Reason::Forbidden,
                404 => Reason::NotFound,
                409 => Reason::Conflict,
                410 => Reason::Gone,
                429 => Reason::TooManyRequests,
                503 => Reason::ServiceUnavailable,
                _ => Reason::Unknown,
            };
            return Self { code, ..Self::new(reason, text) };
        }
        Self {
            code: value["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(code),
            reason: Reason::parse(value["reason"].as_str().unwrap_or_default()),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            details: serde_json::from_value(value["details"].clone()).ok().map(Box::new),
            continuation: value["metadata"]["continue"].as_str().map(str::to_owned),
            other_reason: value["reason"]
                .as_str()
                .filter(|reason| !reason.is_empty() && Reason::parse(reason) == Reason::Unknown)
                .map(Into::into),
        }
    }
}
