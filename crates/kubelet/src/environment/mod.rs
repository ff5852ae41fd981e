//! The environment of a container, and the expansion of its command line.
//!
//! Invariant: pure; the ConfigMaps, Secrets and files that are named come through [`Sources`] and [`Files`]. Answers to the kubelet's
//! `makeEnvironmentVariables` and `kubecontainer.ExpandContainerCommandAndArgs`.

pub mod expand;
pub mod fields;
pub mod file;
pub mod resources;
pub mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use gifee_base::Quantity as Amount;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVar, FileKeySelector, Pod, Secret};

use crate::pod::members;

/// Objects that a pod names.
pub trait Sources {
    /// A ConfigMap of the pod's namespace; `None` if there is none.
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>>;
    /// A Secret of the pod's namespace; `None` if there is none.
    fn secret(&self, name: &str) -> Option<Arc<Secret>>;
    /// A ClusterTrustBundle; `None` if there is none.
    fn trust_bundle(&self, _name: &str) -> Option<Arc<ClusterTrustBundle>> {
        None
    }
    /// The ClusterTrustBundles of a signer.
    fn trust_bundles(&self, _signer: &str) -> Vec<Arc<ClusterTrustBundle>> {
        Vec::new()
    }
}

/// Files in the volumes of a pod.
pub trait Files {
    /// The text of a file; `None` if there is none.
    ///
    /// # Errors
    /// With why it cannot be read.
    fn text(&self, volume: &str, path: &str) -> Result<Option<String>, String>;
}

/// What else variables are made of.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `status.podIPs`
    pub pod_addresses: Vec<IpAddr>,
    /// `status.hostIPs`
    pub host_addresses: Vec<IpAddr>,
    /// Variables of Services (see [`services::variables`]).
    pub services: Vec<(String, String)>,
    /// What the node can give, where a container has no limit.
    pub allocatable: BTreeMap<String, Amount>,
}

/// Why an environment cannot be made; the words of a `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such ConfigMap.
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    /// No such Secret.
    #[error("secret {0:?} not found")]
    NoSecret(String),
    /// The object lacks a key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Name of the object.
        name: String,
    },
    /// A file does not say what a variable is.
    #[error("couldn't read key {key} from file {path} of volume {volume}: {why}")]
    File {
        /// The key.
        key: String,
        /// Where the file is in its volume.
        path: String,
        /// The volume.
        volume: String,
        /// What is wrong with it.
        why: String,
    },
    /// A field that does not exist.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// A resource that does not exist.
    #[error("unsupported container resource: {0}")]
    Resource(String),
}

/// The variables, in order, each name once.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
    files: &dyn Files,
    facts: &Facts,
) -> Result<Vec<(String, String)>, Error> {
    let mut maker = Maker { pod, container, sources, files, facts, made: Vec::new(), index: HashMap::new() };
    for from in container.env_from.iter().flatten() {
        maker.import(from)?;
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = maker.value(variable)? {
            maker.set(&variable.name, value);
        }
    }
    for (name, value) in &facts.services {
        if !maker.index.contains_key(name) {
            maker.set(name, value.clone());
        }
    }
    Ok(maker.made)
}

/// Expands `$(NAME)` in a command line.
pub fn expand_all(words: Option<&Vec<String>>, environment: &[(String, String)]) -> Vec<String> {
    let find = |name: &str| environment.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone());
    words.into_iter().flatten().map(|word| expand::expand(word, &find)).collect()
}

struct Maker<'a> {
    pod: &'a Pod,
    container: &'a Container,
    sources: &'a dyn Sources,
    files: &'a dyn Files,
    facts: &'a Facts,
    made: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Maker<'_> {
    fn set(&mut self, name: &str, value: String) {
        match self.index.get(name) {
            Some(at) => self.made[*at].1 = value,
            None => {
                self.index.insert(name.to_owned(), self.made.len());
                self.made.push((name.to_owned(), value));
            }
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        if let Some(at) = self.index.get(name) {
            return Some(self.made[*at].1.clone());
        }
        self.facts.services.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone())
    }

    fn import(&mut self, from: &EnvFromSource) -> Result<(), Error> {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let mut pairs: Vec<(String, String)> = Vec::new();
        if let Some(source) = &from.config_map_ref {
            match self.sources.config_map(&source.name) {
                Some(map) => pairs.extend(map.data.clone().unwrap_or_default()),
                None if source.optional == Some(true) => {}
                None => return Err(Error::NoConfigMap(source.name.clone())),
            }
        } else if let Some(source) = &from.secret_ref {
            match self.sources.secret(&source.name) {
                Some(secret) => {
                    let data = secret.data.iter().flatten();
                    pairs.extend(data.map(|(key, value)| (key.clone(), lossy(&value.0))));
                }
                None if source.optional == Some(true) => {}
                None => return Err(Error::NoSecret(source.name.clone())),
            }
        }
        for (key, value) in pairs {
            let name = format!("{prefix}{key}");
            if valid_name(&name) {
                self.set(&name, value);
            }
        }
        Ok(())
    }

    fn value(&self, variable: &EnvVar) -> Result<Option<String>, Error> {
        if let Some(value) = variable.value.as_deref().filter(|value| !value.is_empty()) {
            return Ok(Some(expand::expand(value, &|name| self.get(name))));
        }
        let Some(from) = &variable.value_from else { return Ok(Some(String::new())) };
        if let Some(field) = &from.field_ref {
            let value = fields::field(self.pod, &field.field_path, self.facts);
            return value.map(Some).ok_or_else(|| Error::Field(field.field_path.clone()));
        }
        if let Some(resource) = &from.resource_field_ref {
            let value = resources::value(self.pod, self.container, resource, &self.facts.allocatable);
            return value.map(Some).ok_or_else(|| Error::Resource(resource.resource.clone()));
        }
        let namespace = members::namespace(self.pod).to_owned();
        if let Some(key) = &from.config_map_key_ref {
            let optional = key.optional == Some(true);
            let Some(map) = self.sources.config_map(&key.name) else {
                return if optional { Ok(None) } else { Err(Error::NoConfigMap(key.name.clone())) };
            };
            let value = map.data.as_ref().and_then(|data| data.get(&key.key)).cloned();
            return missing(value, optional, "ConfigMap", namespace, &key.name, &key.key);
        }
        if let Some(key) = &from.secret_key_ref {
            let optional = key.optional == Some(true);
            let Some(secret) = self.sources.secret(&key.name) else {
                return if optional { Ok(None) } else { Err(Error::NoSecret(key.name.clone())) };
            };
            let value = secret.data.as_ref().and_then(|data| data.get(&key.key)).map(|value| lossy(&value.0));
            return missing(value, optional, "Secret", namespace, &key.name, &key.key);
        }
        from.file_key_ref.as_ref().map_or(Ok(None), |key| self.written(key))
    }

    /// What another container wrote.
    fn written(&self, from: &FileKeySelector) -> Result<Option<String>, Error> {
        let text = self.files.text(&from.volume_name, &from.path);
        let found = text.and_then(|text| text.map_or(Ok(None), |text| file::find(&text, &from.key)));
        match found {
            Ok(None) if from.optional != Some(true) => Err("it is not there".to_owned()),
            found => found,
        }
        .map_err(|why| Error::File {
            key: from.key.clone(),
            path: from.path.clone(),
            volume: from.volume_name.clone(),
            why,
        })
    }
}

fn missing(
    value: Option<String>,
    optional: bool,
    kind: &'static str,
    namespace: String,
    name: &str,
    key: &str,
) -> Result<Option<String>, Error> {
    match value {
        None if !optional => {
            Err(Error::NoKey { key: key.to_owned(), kind, namespace, name: name.to_owned() })
        }
        value => Ok(value),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Printable ASCII without `=`, and not empty.
fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
}
