//! `/localVolumes/NAME`: folders of this node that are volumes; PUT makes one, DELETE removes it.
//!
//! Invariant: what a name says is a folder right below [`crate::paths::Paths::storage`], and nothing else is made or
//! removed. Both may be repeated. Asked by the provisioner of the default storage class.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gifee_base::Status;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{Body, respond};
use crate::agent::Agent;
use crate::files;

/// Whoever runs in the pod may write, as with a volume that is made for one consumer.
const MODE: u32 = 0o777;
/// Bytes of a name.
const NAME: usize = 253;

pub(super) async fn answer(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let path = agent.paths.storage().join(name(&rest)?);
    let (make, folder) = (request.method() == Method::PUT, path.clone());
    let done = tokio::task::spawn_blocking(move || if make { create(&folder) } else { remove(&folder) });
    done.await.map_err(|error| Status::internal(error.to_string()))?.map_err(Status::internal)?;
    let about = json!({ "path": path });
    Ok(respond(StatusCode::OK, "application/json", about.to_string()))
}

/// The name of a folder, which leads nowhere else.
pub(super) fn name(text: &str) -> Result<&str, Status> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > NAME || !text.bytes().all(plain) {
        return Err(Status::bad_request(format!("{text:?} is not the name of a local volume")));
    }
    Ok(text)
}

fn create(folder: &PathBuf) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("making {}: {error}", folder.display());
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match std::fs::create_dir(folder) {
        Ok(()) => {}
        // With all that is in it: who asked did not hear the answer.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(MODE)).map_err(failed)
}

fn remove(folder: &Path) -> Result<(), String> {
    files::remove_tree(folder).map_err(|error| error.to_string())
}
