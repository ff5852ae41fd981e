//! The files of a volume that is made of API objects.
//!
//! Invariant: paths are relative and stay inside of the volume. Answers to `MakePayload` of the configmap, secret,
//! downward API and projected volume plugins.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use super::Error;
use crate::environment::{Facts, fields, resources};
use crate::pod::members;

/// Permissions of files unless something else is asked for.
pub const DEFAULT_MODE: i32 = 0o644;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Content.
    pub data: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Owner, if not root.
    pub owner: Option<u32>,
}

/// Files by path.
pub type Payload = BTreeMap<String, File>;

fn file(data: Vec<u8>, mode: i32) -> File {
    File { data, mode: u32::try_from(mode).unwrap_or(0o644) & 0o777, owner: None }
}

/// Refuses paths that would leave the volume.
fn checked(path: &str) -> Result<String, Error> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.split('/').any(|part| part == "..");
    if bad { Err(Error::Invalid(format!("invalid path {path:?} in volume"))) } else { Ok(path.to_owned()) }
}

/// Picks `items` out of `data`, or all of it.
fn pick(
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&Vec<KeyToPath>>,
    mode: i32,
    optional: bool,
    missing: impl Fn() -> String,
) -> Result<Payload, Error> {
    let mut payload = Payload::new();
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in data {
            payload.insert(checked(&key)?, file(value, mode));
        }
        return Ok(payload);
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                payload.insert(checked(&item.path)?, file(value.clone(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(Error::Reference(missing())),
        }
    }
    Ok(payload)
}

/// The files of a ConfigMap.
pub fn config_map(
    map: Option<&ConfigMap>,
    (namespace, name): (&str, &str),
    items: Option<&Vec<KeyToPath>>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Payload, Error> {
    let Some(map) = map else {
        return if optional {
            Ok(Payload::new())
        } else {
            Err(Error::Reference(format!("configmap {name:?} not found")))
        };
    };
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    let missing = || format!("configmap references non-existent config key: {namespace}/{name}");
    pick(text.chain(binary).collect(), items, mode.unwrap_or(DEFAULT_MODE), optional, missing)
}

/// The files of a Secret.
pub fn secret(
    secret: Option<&Secret>,
    (namespace, name): (&str, &str),
    items: Option<&Vec<KeyToPath>>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Payload, Error> {
    let Some(secret) = secret else {
        return if optional {
            Ok(Payload::new())
        } else {
            Err(Error::Reference(format!("secret {name:?} not found")))
        };
    };
    let data = secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    let missing = || format!("references non-existent secret key: {namespace}/{name}");
    pick(data.collect(), items, mode.unwrap_or(DEFAULT_MODE), optional, missing)
}

/// The files of the downward API.
pub fn downward(
    pod: &Pod,
    files: Option<&Vec<DownwardAPIVolumeFile>>,
    mode: Option<i32>,
    facts: &Facts,
) -> Result<Payload, Error> {
    let mut payload = Payload::new();
    for item in files.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            fields::field(pod, &field.field_path, facts)
                .ok_or_else(|| Error::Invalid(format!("unsupported fieldPath: {}", field.field_path)))?
        } else if let Some(resource) = &item.resource_field_ref {
            let nothing = Default::default();
            let own = members::spec(pod).containers.first().unwrap_or(&nothing);
            resources::value(pod, own, resource, &facts.allocatable).ok_or_else(|| {
                Error::Invalid(format!("unsupported container resource: {}", resource.resource))
            })?
        } else {
            continue;
        };
        let mode = item.mode.or(mode).unwrap_or(DEFAULT_MODE);
        payload.insert(checked(&item.path)?, file(text.into_bytes(), mode));
    }
    Ok(payload)
}

/// The file of a token: private if somebody is known to own it.
pub fn token(
    path: &str,
    token: String,
    mode: i32,
    owner: Option<u32>,
    group: bool,
) -> Result<Payload, Error> {
    let mode = if owner.is_some() || group { 0o600 } else { mode };
    let one = File { owner, ..file(token.into_bytes(), mode) };
    Ok(Payload::from([(checked(path)?, one)]))
}
