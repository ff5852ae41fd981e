//! Objects that some volumes ask the API for.
//!
//! Answers to the kubelet's `pkg/kubelet/token`: tokens are kept and replaced when four fifths of their life is over,
//! or after a day.

use async_trait::async_trait;
use gifee_base::ObjectKey;
use gifee_reconcile::{decode, gvr};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount};
use serde_json::json;

use crate::agent::Agent;
use crate::pod::members;
use crate::volumes::{Error, Remote};

/// No token is used longer.
const TOKEN_AGE_SECONDS: i64 = 24 * 3600;

/// The API behind an agent.
pub struct Api<'a>(pub &'a Agent);

fn failed(what: impl Into<String>) -> impl FnOnce(gifee_client::Error) -> Error {
    let what = what.into();
    move |source| Error::Api { what, source }
}

#[async_trait]
impl Remote for Api<'_> {
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<(String, Timestamp), Error> {
        let account = members::spec(pod).service_account_name.as_deref().filter(|name| !name.is_empty());
        let key = ObjectKey::new(members::namespace(pod), account.unwrap_or("default"));
        let audiences: Vec<&str> =
            Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1", "kind": "Pod", "name": members::name(pod), "uid": members::uid(pod)
                }
            }
        });
        let answer = self
            .0
            .client
            .create_subresource(&gvr::<ServiceAccount>(), &key, "token", request)
            .await
            .map_err(failed("token"))?;
        let status = &answer["status"];
        let token = status["token"].as_str().unwrap_or_default().to_owned();
        let now = self.0.clock.now();
        let expires = status["expirationTimestamp"].as_str().and_then(gifee_base::clock::parse_time);
        let life = expires.map_or(seconds, |expires| expires.duration_since(now).as_secs());
        let use_for = (life * 4 / 5).clamp(1, TOKEN_AGE_SECONDS);
        Ok((token, now + SignedDuration::from_secs(use_for)))
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<PersistentVolumeClaim, Error> {
        let key = ObjectKey::new(namespace, name);
        let object = self.0.client.get(&gvr::<PersistentVolumeClaim>(), &key).await;
        let object = object.map_err(failed(format!("persistentvolumeclaim {name:?}")))?;
        decode(&object).map_err(|error| Error::Invalid(error.to_string()))
    }

    async fn volume(&self, name: &str) -> Result<PersistentVolume, Error> {
        let object = self.0.client.get(&gvr::<PersistentVolume>(), &ObjectKey::cluster(name)).await;
        let object = object.map_err(failed(format!("persistentvolume {name:?}")))?;
        decode(&object).map_err(|error| Error::Invalid(error.to_string()))
    }
}
