//! Makes the image of a container present, as its pull policy says.
//!
//! Invariant: an image is pulled once at a time, and at most four are. Answers to the kubelet's image manager and
//! `pkg/credentialprovider`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use gifee_oci::images::{Image, silent};
use gifee_oci::{Auth, ImageService};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::environment::Sources;

/// How many images are pulled at once.
const PULLS: usize = 4;

/// Pulls images.
pub struct Puller {
    service: Arc<dyn ImageService>,
    slots: Semaphore,
    /// One lock for each image that is being pulled.
    pulling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// How an image came to be present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was.
    Present,
    /// It was pulled.
    Pulled {
        /// How long the pull took, with and without waiting for others.
        took: [std::time::Duration; 2],
        /// Its size.
        bytes: u64,
    },
}

/// Why an image is not present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`, `ImageInspectError`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Puller {
    /// With an image service.
    pub fn new(service: Arc<dyn ImageService>) -> Puller {
        Puller { service, slots: Semaphore::new(PULLS), pulling: Mutex::default() }
    }

    /// The images behind it.
    pub fn service(&self) -> &Arc<dyn ImageService> {
        &self.service
    }

    /// Makes an image present. `begin` is called when a pull begins.
    pub async fn ensure(
        &self,
        image: &str,
        policy: &str,
        credentials: &[Credential],
        begin: impl FnOnce(),
    ) -> Result<(Image, Found), Failed> {
        let present = self.inspect(image).await?;
        match (present, policy) {
            (Some(present), "Never" | "IfNotPresent") => return Ok((present, Found::Present)),
            (None, "Never") => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                return Err(Failed { reason: "ErrImageNeverPull", message });
            }
            _ => {}
        }
        begin();
        let asked = Instant::now();
        let lock = self.pulling.lock().entry(image.to_owned()).or_default().clone();
        let guard = lock.lock().await;
        let result = self.pull(image, policy, credentials, asked).await;
        drop(guard);
        // Whoever waits holds the lock too; the last one takes it out.
        self.pulling.lock().retain(|_, lock| Arc::strong_count(lock) > 1 || lock.try_lock().is_err());
        result
    }

    /// Whether an image is present.
    pub async fn present(&self, image: &str) -> bool {
        self.inspect(image).await.is_ok_and(|found| found.is_some())
    }

    async fn inspect(&self, image: &str) -> Result<Option<Image>, Failed> {
        self.service.inspect(image).await.map_err(|error| match error {
            gifee_oci::Error::Reference { .. } => Failed {
                reason: "InvalidImageName",
                message: format!("Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {error}"),
            },
            error => Failed {
                reason: "ImageInspectError",
                message: format!("Failed to inspect image {image:?}: {error}"),
            },
        })
    }

    async fn pull(
        &self,
        image: &str,
        policy: &str,
        credentials: &[Credential],
        asked: Instant,
    ) -> Result<(Image, Found), Failed> {
        if policy != "Always"
            && let Some(present) = self.inspect(image).await?
        {
            // Somebody else pulled it meanwhile.
            return Ok((present, Found::Present));
        }
        let _slot = self.slots.acquire().await;
        let begun = Instant::now();
        let mut last = None;
        for auth in matching(image, credentials) {
            match self.service.pull(image, auth, silent()).await {
                Ok(pulled) => {
                    let found =
                        Found::Pulled { took: [begun.elapsed(), asked.elapsed()], bytes: pulled.size };
                    return Ok((pulled, found));
                }
                Err(error) => last = Some(error),
            }
        }
        let message = last.map(|error| error.to_string()).unwrap_or_default();
        Err(Failed { reason: "ErrImagePull", message })
    }
}

/// What a pull secret says for one registry.
#[derive(Clone, Debug)]
pub struct Credential {
    registry: String,
    auth: Auth,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// The credentials in a pod's pull secrets; secrets that do not exist or cannot be read have none.
pub fn credentials(sources: &dyn Sources, names: impl Iterator<Item = String>) -> Vec<Credential> {
    names.filter_map(|name| sources.secret(&name)).flat_map(|secret| parse(&secret)).collect()
}

fn parse(secret: &k8s_openapi::api::core::v1::Secret) -> Vec<Credential> {
    let data =
        |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let auths = match (data(".dockerconfigjson"), data(".dockercfg")) {
        (Some(json), _) => serde_json::from_slice::<DockerConfig>(json).map(|config| config.auths).ok(),
        (None, Some(json)) => serde_json::from_slice(json).ok(),
        (None, None) => None,
    };
    auths.into_iter().flatten().filter_map(|(registry, auth)| credential(registry, &auth)).collect()
}

fn credential(registry: String, auth: &DockerAuth) -> Option<Credential> {
    let (user, password) = if auth.username.is_empty() {
        let text = base64::engine::general_purpose::STANDARD.decode(&auth.auth).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (user, password) = text.split_once(':')?;
        (user.to_owned(), password.to_owned())
    } else {
        (auth.username.clone(), auth.password.clone())
    };
    Some(Credential { registry: host(&registry).to_owned(), auth: Auth::Basic(user, password) })
}

/// The host of a key such as `https://index.docker.io/v1/` or of an image name.
fn host(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let first = name.split('/').next().unwrap_or_default();
    match first {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// The credentials to try for an image, none last.
fn matching(image: &str, credentials: &[Credential]) -> Vec<Option<Auth>> {
    let first = image.split('/').next().unwrap_or_default();
    let named = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let registry = if named { host(image) } else { "docker.io" };
    let fitting = credentials.iter().filter(|one| one.registry == registry);
    let mut all: Vec<Option<Auth>> = fitting.map(|one| Some(one.auth.clone())).collect();
    if all.is_empty() {
        all.push(None);
    }
    all
}

/// The policy, or what stands for a missing one.
pub fn policy<'a>(image: &str, policy: Option<&'a str>) -> &'a str {
    match policy {
        Some(policy) if !policy.is_empty() => policy,
        _ => {
            let last = image.rsplit('/').next().unwrap_or_default();
            let latest = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
            if latest { "Always" } else { "IfNotPresent" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_give_credentials_for_their_registry() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNz"},
            "registry.test:5000": {"username": "u", "password": "p"}}});
        let encoded = base64::engine::general_purpose::STANDARD.encode(config.to_string());
        let secret = serde_json::from_value(json!({"data": {".dockerconfigjson": encoded}})).unwrap();
        let all = parse(&secret);
        let user = |image: &str| match matching(image, &all).remove(0) {
            Some(Auth::Basic(user, _)) => user,
            _ => "nobody".to_owned(),
        };
        assert_eq!(user("nginx"), "user");
        assert_eq!(user("library/nginx:1"), "user");
        assert_eq!(user("registry.test:5000/a/b"), "u");
        assert_eq!(user("other.test/a"), "nobody");
    }

    #[test]
    fn a_missing_policy_follows_the_tag() {
        assert_eq!(policy("nginx", None), "Always");
        assert_eq!(policy("a:5000/nginx:latest", None), "Always");
        assert_eq!(policy("a:5000/nginx:1", Some("")), "IfNotPresent");
        assert_eq!(policy("nginx@sha256:0", None), "IfNotPresent");
        assert_eq!(policy("nginx", Some("Never")), "Never");
    }
}
