//! TokenRequest: a signed token for a service account, bound and expiring.
//!
//! Answers to upstream's `TokenREST`.

use super::answered;
use crate::body::Body;
use crate::kinds::Resource;
use crate::read::newest;
use crate::request::Request;
use crate::seam::{Operation, TokenRequest};
use crate::write::{Write, decode_call};
use gifee_base::field::{FieldError, Path};
use gifee_base::{Gvk, Object, ObjectKey, Status};
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Shortest life that may be asked for, in seconds.
const SHORTEST_SECONDS: i64 = 600;
/// Longest life that may be asked for, in seconds.
const LONGEST_SECONDS: i64 = 1 << 32;
/// Life of a token that asks for none, in seconds.
const DEFAULT_SECONDS: i64 = 3_600;

/// Answers `serviceaccounts/x/token`.
pub async fn issue(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let gvk = Gvk::new("authentication.k8s.io", "v1", "TokenRequest");
    let mut token = decode_call(request, body, &gvk).await?;
    let (namespace, name) = (&*request.info.namespace, &*request.info.name);
    matching(&token, "name", name, name)?;
    matching(&token, "namespace", namespace, name)?;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let account = newest(request.server, cache, namespace, name).await?;
    let account = account.ok_or_else(|| request.not_found(resource, name))?;
    let write = Write::new(request, resource, "token")?;
    write.mutate(Operation::Create, &mut token, None).await?;
    let seconds = token["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    validate(seconds)?;
    write.admit_validated(Operation::Create, &mut token, None).await?;
    let (bound, node) = bound(request, &token["spec"]["boundObjectRef"], name).await?;
    let audiences = token["spec"]["audiences"].as_array().into_iter().flatten();
    let issued = request.server.config.authenticator.issue(&TokenRequest {
        account: &ObjectKey::new(namespace, name),
        account_uid: account.uid(),
        audiences: audiences.filter_map(Value::as_str).map(str::to_owned).collect(),
        expiration_seconds: seconds,
        bound,
        node,
    })?;
    crate::audit::annotate("authentication.kubernetes.io/issued-credential-id", &issued.credential_id);
    token["metadata"]["name"] = name.into();
    token["metadata"]["namespace"] = namespace.into();
    token["metadata"]["creationTimestamp"] = write.now.as_str().into();
    token["spec"]["audiences"] = issued.audiences.into();
    token["spec"]["expirationSeconds"] = seconds.into();
    token["status"] = json!({ "token": issued.token, "expirationTimestamp": issued.expiration });
    answered(request, &token)
}

/// Refuses a body that names another account than the path does.
fn matching(token: &Value, part: &str, wanted: &str, name: &str) -> Result<(), Status> {
    let own = token["metadata"][part].as_str().unwrap_or_default();
    if own.is_empty() || own == wanted {
        return Ok(());
    }
    let root = Path::root("metadata");
    let why = format!("must match the service account {part} if specified");
    let error = FieldError::invalid(&root.child(part), own, &why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", name, &[error]))
}

fn validate(seconds: i64) -> Result<(), Status> {
    let root = Path::root("spec");
    let path = root.child("expirationSeconds");
    let why = if seconds < SHORTEST_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > LONGEST_SECONDS {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    Err(Status::invalid(
        "authentication.k8s.io",
        "TokenRequest",
        "",
        &[FieldError::invalid(&path, seconds, why)],
    ))
}

/// A version as Go shows that of a GroupVersionKind.
fn gvk(version: &str) -> String {
    match version.split_once('/') {
        Some(_) => version.to_owned(),
        None => format!("/{version}"),
    }
}

type Bound = (Option<(String, String, String)>, Option<(String, String)>);

/// What the token is bound to, if it still exists, and the node of that Pod.
async fn bound(request: &Request<'_>, reference: &Value, account: &str) -> Result<Bound, Status> {
    if !reference.is_object() {
        return Ok((None, None));
    }
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (resource, namespace) = match (text("apiVersion"), kind) {
        ("v1", "Pod") => ("pods", &*request.info.namespace),
        ("v1", "Secret") => ("secrets", &*request.info.namespace),
        ("v1", "Node") => ("nodes", ""),
        (version, kind) => {
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {}, Kind={kind}",
                gvk(version)
            )));
        }
    };
    let object = find(request, resource, namespace, name).await?;
    let object = object.ok_or_else(|| Status::not_found("", resource, name))?;
    if !uid.is_empty() && uid != object.uid() {
        // Upstream names the kind where other conflicts name the resource.
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why));
    }
    let mut node = None;
    if kind == "Pod" {
        let pod = object.to_value().map_err(Status::internal)?;
        let own = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if own != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        let on = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !on.is_empty() {
            let uid =
                find(request, "nodes", "", on).await?.map_or(String::new(), |node| node.uid().to_owned());
            node = Some((on.to_owned(), uid));
        }
    }
    Ok((Some((kind.to_owned(), name.to_owned(), object.uid().to_owned())), node))
}

async fn find(
    request: &Request<'_>,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Object>>, Status> {
    match request.server.caches.find("", resource) {
        None => Ok(None),
        Some(cache) => newest(request.server, &cache, namespace, name).await,
    }
}
