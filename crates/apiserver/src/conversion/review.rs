//! The ConversionReview: what a conversion webhook is asked, and what it answers.
//!
//! Answers to `createConversionReviewObjects` and `getConvertedObjectsFromResponse` of apiextensions-apiserver.

use crate::outbound::review::Answer;
use serde::Deserialize;
use serde_json::{Value, json};

/// The form of the review that a webhook takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// `apiextensions.k8s.io/v1`
    V1,
    /// `apiextensions.k8s.io/v1beta1`
    V1Beta1,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    converted_objects: Option<Vec<Value>>,
    result: Value,
}

impl Review {
    /// The first of a list of versions that is known here.
    pub fn first(versions: &Value) -> Option<Self> {
        versions.as_array()?.iter().find_map(|version| match version.as_str() {
            Some("v1") => Some(Self::V1),
            Some("v1beta1") => Some(Self::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1Beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }

    /// The body of a call.
    pub fn question(self, uid: &str, api_version: &str, objects: &[&Value]) -> Vec<u8> {
        json!({
            "kind": "ConversionReview", "apiVersion": self.api_version(),
            "request": { "uid": uid, "desiredAPIVersion": api_version, "objects": objects },
        })
        .to_string()
        .into_bytes()
    }

    /// The converted objects.
    ///
    /// # Errors
    /// Why there are none, in upstream's words.
    pub fn answer(self, uid: &str, body: &[u8]) -> Result<Vec<Value>, String> {
        let answer = Answer::<Response>::read(body)?;
        if self == Self::V1 {
            answer.is(self.api_version(), "ConversionReview")?;
        }
        let Some(response) = answer.response else { return Err("no response provided".to_owned()) };
        if self == Self::V1 && response.uid != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
        }
        let text = |field: &str| response.result[field].as_str().unwrap_or_default();
        match (text("status"), text("message")) {
            ("Success", _) => Ok(response.converted_objects.unwrap_or_default()),
            (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => Err(message.to_owned()),
        }
    }
}
