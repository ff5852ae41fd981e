//! The envelope of what a webhook answers, to a review of admission or of conversion alike.
//!
//! Answers to upstream's `webhook/request` and to the conversion of apiextensions-apiserver, which read it alike.

use gifee_base::gvk::split_api_version;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A review with a response in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "R: DeserializeOwned")]
pub struct Answer<R> {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    /// What was decided, if anything was.
    pub response: Option<R>,
}

impl<R: DeserializeOwned> Answer<R> {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// Why it is none, in upstream's words.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body)
            .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
    }

    /// Holds it against what was asked for.
    ///
    /// # Errors
    /// What is the matter, if it is another kind of review.
    pub fn is(&self, api_version: &str, kind: &str) -> Result<(), String> {
        if self.kind == kind && self.api_version == api_version {
            return Ok(());
        }
        let (group, version) = split_api_version(&self.api_version);
        Err(format!(
            "expected webhook response of {api_version}, Kind={kind}, got {group}/{version}, Kind={}",
            self.kind
        ))
    }
}
