//! The parameters of a binding. Answers to apiserver's `generic.CollectParams`.

use super::bound::{Binding, Params};
use crate::kinds::Resource;
use crate::render::present;
use crate::write::Write;
use gifee_base::gvk::split_api_version;
use gifee_base::{Object, ObjectKey};
use gifee_policy::Lookup;
use gifee_policy::policies::Policy;
use serde_json::Value;
use std::sync::Arc;

/// The resource of a policy's parameters; None if it has none.
///
/// # Errors
/// If the kind is not served.
pub fn resource(write: &Write<'_>, policy: &Policy) -> Result<Option<Arc<Resource>>, String> {
    let Some((api_version, kind)) = &policy.param_kind else { return Ok(None) };
    let kinds = write.server.kinds.load();
    let (group, version) = split_api_version(api_version);
    let found = kinds.all().iter().find(|one| {
        one.kind.stored
            && &*one.kind.gvk.group == group
            && &*one.kind.gvk.version == version
            && *one.kind.gvk.kind == **kind
    });
    match found {
        Some(found) => Ok(Some(found.clone())),
        None => Err(format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")),
    }
}

/// Each set of parameters that the policy is to be asked with; null for none.
///
/// # Errors
/// If there are none and there must be, or they cannot be told.
pub fn collect(
    write: &Write<'_>,
    resource: Option<&Arc<Resource>>,
    binding: &Binding,
    namespace: &str,
) -> Result<Vec<Value>, String> {
    let (Some(resource), Some(wanted)) = (resource, &binding.params) else { return Ok(vec![Value::Null]) };
    let namespace = match (resource.namespaced(), wanted.namespace.as_str()) {
        (true, "") if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => namespace,
        (true, own) => own,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let found = objects(write, resource, wanted, namespace)?;
    if found.is_empty() && wanted.required {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.iter().filter_map(|object| object.to_value().ok()).map(|tree| present(resource, tree)).collect())
}

fn objects(
    write: &Write<'_>,
    resource: &Resource,
    wanted: &Params,
    namespace: &str,
) -> Result<Vec<Arc<Object>>, String> {
    let caches: &dyn Lookup = &*write.server.caches;
    let (group, name) = &resource.kind.storage;
    match &wanted.selector {
        None => {
            let key = ObjectKey::new(namespace, &wanted.name);
            Ok(caches.get(group, name, &key).into_iter().collect())
        }
        Some(selector) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let all = caches.list(group, name, namespace);
            Ok(all.into_iter().filter(|object| object.selected(selector)).collect())
        }
    }
}
