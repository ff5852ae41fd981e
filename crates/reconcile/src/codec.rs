//! Between bytes and k8s-openapi's types. Each call is compiled once per kind: keep it thin.

use crate::error::{Error, Result};
use bytes::Bytes;
use gifee_base::{Gvk, Gvr, Object};
use k8s_openapi::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// Decodes an object.
///
/// # Errors
/// If the bytes do not fit the type.
pub fn decode<K: Resource + DeserializeOwned>(object: &Object) -> Result<K> {
    object.decode().map_err(|source| undecodable(K::KIND, object, source))
}

/// Decodes the parts of an object that a type of the caller's names, but for `managedFields`, which stand apart;
/// `kind` is for the error.
///
/// # Errors
/// If the bytes do not fit the type.
pub fn part<T: DeserializeOwned>(object: &Object, kind: &'static str) -> Result<T> {
    serde_json::from_slice(object.raw()).map_err(|source| undecodable(kind, object, source.into()))
}

/// Takes null for what is not there, as Go does.
///
/// # Errors
/// If the value does not fit the type.
pub fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cold]
fn undecodable(kind: &'static str, object: &Object, source: gifee_base::object::Error) -> Error {
    Error::Decode { kind, key: object.key().to_string(), source }
}

/// Encodes an object, with `apiVersion` and `kind`.
///
/// # Errors
/// If the object has no JSON.
pub fn encode<K: Resource + Serialize>(object: &K) -> Result<Bytes> {
    let bytes = serde_json::to_vec(object).map_err(|source| Error::Encode { kind: K::KIND, source })?;
    Ok(bytes.into())
}

/// How URLs name a type.
pub fn gvr<K: Resource>() -> Gvr {
    Gvr::new(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT)
}

/// How bodies name a type.
pub fn gvk<K: Resource>() -> Gvk {
    Gvk::new(K::GROUP, K::VERSION, K::KIND)
}

/// A resource as `group/version/resource` or `version/resource`, such as `apps/v1/deployments`.
pub fn gvr_of(path: &str) -> Gvr {
    let (api_version, resource) = path.rsplit_once('/').unwrap_or(("v1", path));
    let (group, version) = gifee_base::gvk::split_api_version(api_version);
    Gvr::new(group, version, resource)
}
