//! ComponentStatus: an old view of what runs beside the API server; here it is all one process.

use crate::body::Body;
use crate::kinds::Resource;
use crate::negotiate::{Offer, accept};
use crate::read::respond_json;
use crate::render::Renderer;
use crate::request::Request;
use bytes::Bytes;
use gifee_base::{Object, Status};
use http::Response;
use serde_json::json;
use std::sync::Arc;

const COMPONENTS: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

fn component(name: &str) -> Result<Object, Status> {
    let value = json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": { "name": name },
        "conditions": [{ "type": "Healthy", "status": "True", "message": "ok" }],
    });
    Object::received(Bytes::from(value.to_string())).map_err(Status::internal)
}

/// Answers get and list.
pub async fn answer(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = accept(request.headers, request.query, Offer::Shapes)?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, &accept, request.query, now)?;
    let mut out = Vec::new();
    if request.info.verb == "get" {
        let name = &*request.info.name;
        if !COMPONENTS.contains(&name) {
            return Err(request.not_found(resource, name));
        }
        renderer.write_single(&component(name)?, &mut out);
        return Ok(respond_json(&accept, 200, out));
    }
    renderer.open_list(&mut out);
    renderer.open_items(&mut out, true);
    for (index, name) in COMPONENTS.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        renderer.write(&component(name)?, &mut out);
    }
    renderer.close_list(&mut out);
    Ok(respond_json(&accept, 200, out))
}
